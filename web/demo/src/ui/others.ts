// What the others do to a list, read out to who does not see it: once they pause, not at each letter.

import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Item, ListView } from '../view.js';
import { announce } from './use.js';

/** A pause. Milliseconds. */
const PAUSE = 1500;
/** More than so many are counted instead of named. */
const NAMED = 2;

/** `mine` says which entries were changed on this side. */
export function useOthers({ items, isAwaited }: ListView): { mine(...items: string[]): void } {
  const read = useRef(items);
  const own = useRef(new Set<string>());
  const wasAwaited = useRef(isAwaited);
  useEffect(() => {
    if (items === read.current) return;
    const timer = setTimeout(() => {
      const before = read.current;
      read.current = items;
      const words = changes(before, items, own.current);
      own.current.clear();
      if (wasAwaited.current)
        announce(`The list is here: ${items.length} ${items.length === 1 ? 'entry' : 'entries'}`);
      else if (words.length > NAMED) announce(`${words.length} entries were changed by others`);
      else if (words.length > 0) announce(words.join('. '));
      wasAwaited.current = isAwaited;
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [items, isAwaited]);
  return useMemo(
    () => ({
      mine(...items) {
        for (const item of items) own.current.add(item);
      },
    }),
    [],
  );
}

function changes(before: readonly Item[], after: readonly Item[], own: ReadonlySet<string>): string[] {
  const was = new Map(before.map(item => [item.id, item]));
  const is = new Set(after.map(({ id }) => id));
  const changed = after.flatMap(({ id, text, done }) => {
    const old = was.get(id);
    if (own.has(id)) return [];
    if (!old) return [`New: ${text}`];
    if (old.done !== done) return [done ? `${text}: bought` : `${text}: to buy again`];
    return old.text === text ? [] : [`${old.text} is now ${text}`];
  });
  const deleted = before
    .filter(({ id }) => !is.has(id) && !own.has(id))
    .map(({ text }) => `${text}: deleted`);
  return [...changed, ...deleted];
}
