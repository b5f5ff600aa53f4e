// Rows glide from where they were to where they are.

import type { RefObject } from 'preact';
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';

/** Longer lists change at once: to measure them takes longer than the eye waits. */
const ROWS_MAX = 200;
/** Who flies further is not followed by the eye; the row appears in its place instead. */
const FAR = 600;
const LASTS = 180;

type Places = Map<string, number>;

/** Where `order` is another text than before, the rows in `box` glide. `keep()` notes where they are now, before somebody moves them. */
export function useGlide(box: RefObject<HTMLElement | null>, order: string): { keep(): void } {
  const last = useRef(order);
  const before = useRef<Places | undefined>(undefined);
  // The screen still shows the rows as they were.
  if (order !== last.current && !before.current) before.current = places(box.current);
  last.current = order;

  useLayoutEffect(() => {
    const from = before.current;
    before.current = undefined;
    const to = from && places(box.current);
    if (!from || !to) return;
    for (const row of rowsOf(box.current)) {
      const id = row.dataset.item ?? '';
      const was = from.get(id);
      const by = (was ?? 0) - to.get(id)!;
      if (was === undefined || Math.abs(by) > FAR) row.animate({ opacity: [0, 1] }, LASTS);
      else if (Math.abs(by) >= 1) {
        row.animate({ transform: [`translateY(${by}px)`, 'none'] }, { duration: LASTS, easing: 'ease-out' });
      }
    }
  }, [order]);

  return useMemo(
    () => ({
      keep() {
        before.current = places(box.current);
        // If nothing comes of it, it is of no use at the next change.
        setTimeout(() => {
          before.current = undefined;
        });
      },
    }),
    [],
  );
}

const rowsOf = (box: HTMLElement | null) => box?.querySelectorAll<HTMLElement>('[data-item]') ?? [];

function places(box: HTMLElement | null): Places | undefined {
  const rows = rowsOf(box);
  if (!box || rows.length > ROWS_MAX || matchMedia('(prefers-reduced-motion: reduce)').matches)
    return undefined;
  const { top } = box.getBoundingClientRect();
  const places: Places = new Map();
  for (const row of rows) places.set(row.dataset.item ?? '', row.getBoundingClientRect().top - top);
  return places;
}
