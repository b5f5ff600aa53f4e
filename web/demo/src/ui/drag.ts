// An entry is dragged by its grip, with a mouse, a pen or a finger. Rows make room as it passes; near an edge the page scrolls.

import type { RefObject } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';

/** Begins to drag a row. */
export type Drag = (event: PointerEvent, item: string) => void;

/** How near to the top and the bottom of the screen it scrolls, and how far at most in a frame. Pixels. */
const EDGE = 112;
const SPEED = 14;

/** An entry's row, as it stands on the page. */
export interface Row {
  readonly item: string;
  readonly top: number;
  readonly height: number;
}

/** How far each row goes out of the way of one that is dragged by so much, and before which entry that comes. Nothing if it is gone. */
export function dragged(
  rows: readonly Row[],
  item: string,
  by: number,
): { shifts: number[]; before: string | undefined } | undefined {
  const at = rows.findIndex(row => row.item === item);
  const own = rows[at];
  if (!own) return undefined;
  const middle = own.top + by + own.height / 2;
  const shifts = rows.map(({ top, height }, index) => {
    const half = top + height / 2;
    if (index === at) return by;
    if (index < at && middle < half) return own.height;
    return index > at && middle > half ? -own.height : 0;
  });
  const next = rows.find((_, index) => (index < at ? shifts[index]! > 0 : index > at && shifts[index] === 0));
  return { shifts, before: next?.item };
}

/** Which one it is then of the entries, if it comes before another one, or last. Nothing if it is there already, or that one is gone. */
export function movedTo(
  items: readonly string[],
  item: string,
  before: string | undefined,
): number | undefined {
  const from = items.indexOf(item);
  if (from < 0 || items[from + 1] === before) return undefined;
  const rest = items.toSpliced(from, 1);
  const to = before === undefined ? rest.length : rest.indexOf(before);
  return to < 0 ? undefined : to;
}

/** `drop` hears before which other entry one was let go; `dropping` that it will be now. */
export function useDrag(
  box: RefObject<HTMLElement | null>,
  drop: (item: string, before: string | undefined) => void,
  dropping: () => void,
): Drag {
  const end = useRef<() => void>(undefined);
  useEffect(() => () => end.current?.(), []);
  return useMemo(
    () => (start, item) => {
      if (start.button !== 0 || !start.isPrimary) return;
      end.current?.();
      const grip = start.currentTarget as HTMLElement;
      const rows = () => [...(box.current?.querySelectorAll<HTMLElement>('.to-buy [data-item]') ?? [])];
      const scrolled = () => document.scrollingElement?.scrollTop ?? 0;
      const from = start.clientY + scrolled();
      let y = start.clientY;
      // An entry, not a place: others may add and delete while it is held.
      let place: { before: string | undefined } | undefined;
      let frame = 0;

      /** Puts each row where it would be if the entry was let go now. */
      const show = () => {
        const all = rows();
        const went = dragged(
          all.map(({ dataset, offsetTop, offsetHeight }) => ({
            item: dataset.item ?? '',
            top: offsetTop,
            height: offsetHeight,
          })),
          item,
          y + scrolled() - from,
        );
        // Somebody else deleted it, or ticked it off.
        if (!went) return stop();
        place = went;
        all.forEach((row, index) => {
          const by = went.shifts[index];
          row.style.transform = by ? `translateY(${by}px)` : '';
          row.classList.toggle('is-dragged', row.dataset.item === item);
        });
      };
      const scroll = () => {
        const above = EDGE - y;
        const below = y - (innerHeight - EDGE);
        const by = above > 0 ? -above : below > 0 ? below : 0;
        if (by) {
          scrollBy(0, Math.sign(by) * Math.min(SPEED, 3 + Math.abs(by) / 4));
          show();
        }
        frame = requestAnimationFrame(scroll);
      };
      const move = (event: PointerEvent) => {
        if (event.pointerId !== start.pointerId) return;
        y = event.clientY;
        show();
      };
      const stop = () => {
        cancelAnimationFrame(frame);
        document.documentElement.classList.remove('is-dragging');
        for (const row of box.current?.querySelectorAll<HTMLElement>('[data-item]') ?? []) {
          row.style.transform = '';
          row.classList.remove('is-dragged');
        }
        grip.removeEventListener('pointermove', move);
        grip.removeEventListener('pointerup', up);
        grip.removeEventListener('pointercancel', stop);
        grip.removeEventListener('lostpointercapture', stop);
        removeEventListener('keydown', key, true);
        end.current = undefined;
      };
      const up = () => {
        dropping();
        stop();
        if (place) drop(item, place.before);
      };
      const key = (event: KeyboardEvent) => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        stop();
      };

      grip.setPointerCapture(start.pointerId);
      grip.addEventListener('pointermove', move);
      grip.addEventListener('pointerup', up);
      grip.addEventListener('pointercancel', stop);
      grip.addEventListener('lostpointercapture', stop);
      addEventListener('keydown', key, true);
      document.documentElement.classList.add('is-dragging');
      end.current = stop;
      frame = requestAnimationFrame(scroll);
    },
    [drop],
  );
}
