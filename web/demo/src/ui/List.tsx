// A list: what is to buy, in its order, and below what was bought.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { App, Item as Entry, ListView } from '../view.js';
import { isLost, isolated, wordsOfError } from '../words.js';
import { Callouts } from './Callouts.js';
import { Composer } from './Composer.js';
import { movedTo, useDrag } from './drag.js';
import { type Editing, editingOf, withEdited } from './edited.js';
import { useGlide } from './glide.js';
import { type Acts, Item } from './Item.js';
import { Share as ShareIcon } from './icons.js';
import { ListMenu } from './ListMenu.js';
import { useOthers } from './others.js';
import { standingOf } from './standing.js';
import { announce, say, useApp, useOnline, useView } from './use.js';

interface Props {
  readonly list: ListView;
  readonly wide: boolean;
  readonly share: () => void;
  readonly showRelay: () => void;
}

/** A part of an entry's row that shall have the focus once the row is on the screen. */
interface Focus {
  readonly item: string;
  readonly part: 'tick' | 'text' | 'grip';
}

export function List({ list, wide, share, showRelay }: Props) {
  const app = useApp();
  const view = useView();
  const standing = standingOf(list, view, useOnline());
  const [editing, setEditing] = useState<Editing>();
  const box = useRef<HTMLDivElement>(null);
  const composer = useRef<HTMLInputElement>(null);
  const focus = useRef<Focus | undefined>(undefined);
  const others = useOthers(list);

  const lost = isLost(list);
  const items = withEdited(list.items, editing);
  const open = items.filter(item => !item.done);
  const bought = items.filter(item => item.done);
  const glide = useGlide(box, `${ids(open)}/${ids(bought)}`);

  // What is done with rows, for as long as the list is shown: rows that did not change are not made again.
  const now = useRef({ open, bought, list });
  now.current = { open, bought, list };
  const acts = useMemo((): Acts => {
    const change = own(app, others);
    /** Where the focus goes when a row leaves its place: to the next one, or to the last, or to where entries are added. */
    const leave = (item: string, part: Focus['part']) => {
      const { open, bought } = now.current;
      const rows = open.some(({ id }) => id === item) ? open : bought;
      const at = rows.findIndex(({ id }) => id === item);
      const next = rows[at + 1] ?? rows[at - 1];
      if (next) focus.current = { item: next.id, part };
      else composer.current?.focus();
    };
    const move = (item: string, before: string | undefined) => {
      const { open } = now.current;
      const to = movedTo(
        open.map(({ id }) => id),
        item,
        before,
      );
      if (to === undefined) return;
      if (change.move(item, before))
        announce(`${open.find(({ id }) => id === item)?.text}: now ${to + 1} of ${open.length}`);
    };
    return {
      tick(item, isByKey) {
        if (isByKey) leave(item.id, 'tick');
        if (!change.tick(item.id, !item.done)) return false;
        announce(item.done ? `${item.text}: to buy again` : `${item.text}: bought`);
        return true;
      },
      edit(item) {
        setEditing(editingOf(now.current.list.items, item));
      },
      save(item, text, isByKey) {
        if (text !== undefined) {
          if (text.trim() === '') {
            acts.remove(item);
          } else {
            change.edit(item.id, text);
          }
        }
        if (isByKey) focus.current = { item: item.id, part: 'text' };
        setEditing(editing => (editing?.item.id === item.id ? undefined : editing));
      },
      remove(item) {
        leave(item.id, 'text');
        setEditing(editing => (editing?.item.id === item.id ? undefined : editing));
        if (!change.remove([item.id])) return;
        say({
          words: `“${isolated(short(item.text))}” deleted`,
          undo: () => {
            focus.current = { item: item.id, part: 'text' };
            change.restore([item.id]);
          },
        });
      },
      moveTo: move,
      moveBy(item, by) {
        const { open } = now.current;
        const from = open.findIndex(({ id }) => id === item);
        const to = Math.max(0, Math.min(from + by, open.length - 1));
        focus.current = { item, part: 'grip' };
        move(item, open[to < from ? to : to + 1]?.id);
      },
    };
  }, [app, others]);
  const drag = useDrag(box, acts.moveTo, glide.keep);

  // After each change: what was to have the focus gets it, also if its row was put elsewhere meanwhile.
  useLayoutEffect(() => {
    const { current } = focus;
    if (!current) return;
    const row = box.current?.querySelector(`[data-item="${CSS.escape(current.item)}"]`);
    const part = row?.querySelector<HTMLElement>(`.${current.part}`);
    if (!part) return;
    focus.current = undefined;
    part.focus();
  });

  useFocusIf(list.items.length === 0, composer);

  const clear = () => {
    const gone = bought.map(({ id }) => id);
    const change = own(app, others);
    if (!change.remove(gone)) return;
    composer.current?.focus({ preventScroll: true });
    say({
      words: gone.length === 1 ? 'One bought entry cleared' : `${gone.length} bought entries cleared`,
      undo: () => change.restore(gone),
    });
  };

  const row = (item: Entry, canMove: boolean) => (
    <Item
      key={item.id}
      item={item}
      isEditing={editing?.item.id === item.id}
      canMove={canMove}
      acts={acts}
      drag={drag}
    />
  );

  return (
    <article class="list">
      <header class="list-head">
        <div class="list-title">
          <h1 dir="auto" tabIndex={-1}>
            {list.name}
          </h1>
          <p class={`standing ${standing.mark}`}>
            <span class={`mark ${standing.mark}`} />
            <span class="standing-words">{standing.words}</span>
          </p>
        </div>
        {wide && (
          <div class="list-acts">
            {!lost && (
              <button type="button" class="with-words" onClick={share}>
                <ShareIcon /> Share
              </button>
            )}
            <ListMenu list={list} wide={wide} showRelay={showRelay} />
          </div>
        )}
      </header>
      <Callouts list={list} />

      {/* Of a list that never comes nothing is shown, unless something was added meanwhile. */}
      <div class="items" ref={box} hidden={lost && items.length === 0}>
        <section class="to-buy" aria-label="To buy">
          {open.length > 0 ? (
            <ul>{open.map(item => row(item, open.length > 1))}</ul>
          ) : list.isAwaited && list.people.length > 0 ? (
            <div class="awaited" aria-hidden="true">
              <i />
              <i />
              <i />
            </div>
          ) : (
            <p class="nothing">
              {bought.length > 0
                ? 'All bought.'
                : list.isAwaited
                  ? 'Nothing of it came.'
                  : 'Nothing on it yet. What do you need?'}
            </p>
          )}
          <Composer
            input={composer}
            add={texts => {
              const change = own(app, others);
              const added: string[] = [];
              try {
                for (const text of texts) added.push(change.add(text));
                announce(added.length === 1 ? `${texts[0]}: added` : `${added.length} entries added`);
              } catch (error) {
                const some = added.length > 0 ? `${added.length} of ${texts.length} were added. ` : '';
                say(some + wordsOfError(error, ''));
              }
              return added.at(-1);
            }}
          />
        </section>
        {bought.length > 0 && (
          <section class="bought" aria-labelledby="bought">
            <div class="bought-head">
              <h2 id="bought">
                Bought <span class="count">{bought.length}</span>
              </h2>
              <button type="button" class="plain with-words" onClick={clear}>
                Clear bought
              </button>
            </div>
            <ul>{bought.map(item => row(item, false))}</ul>
          </section>
        )}
      </div>
      {list.hidden > 0 && <p class="nothing">… and {list.hidden} more that are not shown.</p>}
      <p id="grip-help" hidden>
        Arrow keys move it
      </p>
    </article>
  );

  /** What this side does to the list: it is not read out as the doing of others. */
  function own(app: App, others: { mine(...items: string[]): void }) {
    const { id } = list;
    /** A list that is full takes no change at all. */
    const tried = (does: () => void) => {
      try {
        does();
        return true;
      } catch (error) {
        say(wordsOfError(error, ''));
        return false;
      }
    };
    return {
      add(text: string) {
        const item = app.add(id, text);
        others.mine(item);
        return item;
      },
      edit(item: string, text: string) {
        others.mine(item);
        return tried(() => app.edit(id, item, text));
      },
      tick(item: string, done: boolean) {
        others.mine(item);
        return tried(() => app.tick(id, item, done));
      },
      move(item: string, before: string | undefined) {
        others.mine(item);
        return tried(() => app.move(id, item, before));
      },
      remove(items: readonly string[]) {
        others.mine(...items);
        return tried(() => app.remove(id, items));
      },
      restore(items: readonly string[]) {
        others.mine(...items);
        app.restore(id, items);
      },
    };
  }
}

const ids = (items: readonly Entry[]) => items.map(({ id }) => id).join(' ');

const short = (text: string) => (text.length > 40 ? `${text.slice(0, 39)}…` : text);

/** Who opens an empty list writes; but on a phone a keyboard would cover it. */
function useFocusIf(isEmpty: boolean, field: { readonly current: HTMLElement | null }) {
  useEffect(() => {
    if (isEmpty && matchMedia('(hover: hover) and (pointer: fine)').matches) field.current?.focus();
  }, []);
}
