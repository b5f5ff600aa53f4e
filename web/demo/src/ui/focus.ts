// Where the focus goes when what had it is gone: else a screen reader begins at the top of the page again.

import type { RefObject } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';

/** Gets the focus as soon as `comes`: what stood there before, and had it, is gone. */
export function useFocusAs<T extends HTMLElement>(comes: boolean): RefObject<T> {
  const it = useRef<T>(null);
  useEffect(() => {
    if (comes) it.current?.focus();
  }, [comes]);
  return it as RefObject<T>;
}

/** Gets the focus when what had it in there is gone. */
export function useKeptFocus(): RefObject<HTMLDivElement> {
  const box = useRef<HTMLDivElement>(null);
  const last = useRef<EventTarget | null>(null);
  useLayoutEffect(() => {
    const around = box.current!;
    const note = ({ target }: Event) => {
      last.current = target;
    };
    around.addEventListener('focusin', note);
    return () => around.removeEventListener('focusin', note);
  }, []);
  useLayoutEffect(() => {
    if (
      last.current instanceof Node &&
      !last.current.isConnected &&
      document.activeElement === document.body
    ) {
      box.current?.focus();
    }
  });
  return box as RefObject<HTMLDivElement>;
}
