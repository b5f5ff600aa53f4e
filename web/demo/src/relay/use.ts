// What the view of the relay stands on: the log as it goes, and looks into the boxes while somebody is there to see them.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { InspectedBox } from '../../../src/inspect.js';
import { useApp, useView } from '../ui/use.js';
import type { ListView } from '../view.js';
import { type Logged, openRelayLog, pauseOf } from './log.js';
import { lastChange } from './words.js';

/** After a change, so that what it brings is stored. Milliseconds. */
const SETTLING = 500;

const log = openRelayLog();

/** The log, again after each change, but once in a frame. */
export function useLogged(): Logged {
  const [logged, setLogged] = useState(log.logged);
  useEffect(() => {
    let frame = 0;
    const show = () => {
      frame = 0;
      setLogged(log.logged());
    };
    show();
    const remove = log.subscribe(() => {
      frame ||= requestAnimationFrame(show);
    });
    return () => {
      remove();
      cancelAnimationFrame(frame);
    };
  }, []);
  return logged;
}

export interface Look {
  /** As of the last look; none before the first. */
  readonly boxes: readonly InspectedBox[] | undefined;
  readonly when: number;
  readonly isLooking: boolean;
  /** Why the last look came to nothing. */
  readonly failed?: string | undefined;
  readonly again: () => void;
}

/** Looks into the boxes of a list, or of all, at once, and again when `after` is another text. */
export function useLook(list: string | undefined, after: string): Look {
  const app = useApp();
  const { relay, lists } = useView();
  const pause = pauseOf(lists.flatMap(({ people }) => people).length);
  // The relay of this app says what it is before there is a box.
  useEffect(() => void log.ask(relay), [relay]);
  const [found, setFound] = useState<Omit<Look, 'isLooking' | 'again'>>({ boxes: undefined, when: 0 });
  const [isLooking, setLooking] = useState(false);
  const going = useRef<AbortController | undefined>(undefined);
  const last = useRef(-Infinity);
  /** Whether the last look asked nothing. */
  const isCheap = useRef(false);

  const again = useCallback(async () => {
    going.current?.abort();
    const mine = new AbortController();
    going.current = mine;
    const { signal } = mine;
    last.current = performance.now();
    isCheap.current = false;
    setLooking(true);
    try {
      const boxes = await log.look(() => app.inspect(list, signal));
      if (!signal.aborted) {
        setFound({ boxes, when: Date.now() });
        isCheap.current = boxes.length === 0;
        for (const relay of new Set(boxes.map(({ relay }) => relay))) {
          void log.ask(relay);
        }
      }
    } catch (error) {
      if (!signal.aborted) {
        setFound(before => ({ ...before, failed: error instanceof Error ? error.message : String(error) }));
      }
    } finally {
      if (going.current === mine) {
        setLooking(false);
      }
    }
  }, [app, list]);

  // `after` is only what a look comes after.
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      clearTimeout(timer);
      if (!document.hidden) {
        const wait = last.current + (isCheap.current ? 0 : pause) - performance.now();
        timer = setTimeout(again, last.current === -Infinity ? 0 : Math.max(wait, SETTLING));
      }
    };
    soon();
    document.addEventListener('visibilitychange', soon);
    return () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', soon);
    };
  }, [again, after, pause]);
  // Another list's boxes, and nobody's once this is closed.
  useEffect(
    () => () => {
      going.current?.abort();
      last.current = -Infinity;
      setFound({ boxes: undefined, when: 0 });
    },
    [again],
  );

  return { ...found, isLooking, again };
}

export interface Change {
  readonly words: string;
  readonly when: number;
  /** How many there were since the view was opened. */
  readonly count: number;
}

/** What changed last in a list since this is shown. */
export function useChange(list: ListView | undefined): Change | undefined {
  const before = useRef(list);
  const [change, setChange] = useState<Change | undefined>(undefined);
  useEffect(() => {
    const old = before.current;
    before.current = list;
    if (old?.id !== list?.id) {
      setChange(undefined);
      return;
    }
    const words = old && list && lastChange(old, list);
    if (words) {
      setChange(last => ({ words, when: Date.now(), count: (last?.count ?? 0) + 1 }));
    }
  }, [list]);
  return change;
}
