// A dialog: from below on a phone, in the middle elsewhere. It closes by Escape, by its button and by a tap beside it. The focus goes
// into it, and back to where it was.

import type { ComponentChildren } from 'preact';
import { useId, useLayoutEffect, useRef } from 'preact/hooks';
import { Close } from './icons.js';
import { Announcer } from './Notices.js';

interface Props {
  readonly title: string;
  /** A class for what it looks like besides. `full` fills a phone's screen. */
  readonly look?: string;
  /** Whether it can be left by what it contains only. */
  readonly stays?: boolean;
  /** It is to be taken away. */
  readonly close: () => void;
  readonly children: ComponentChildren;
}

export function Dialog({ title, look = '', stays = false, close, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  const asked = useRef(close);
  asked.current = close;
  const heading = useId();

  useLayoutEffect(() => {
    const dialog = ref.current!;
    const before = document.activeElement;
    dialog.showModal();
    // A field that waits for words, else the title: no button is pressed by whoever was just typing.
    (dialog.querySelector<HTMLElement>('[autofocus]') ?? dialog.querySelector('h2'))?.focus();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);

  // At once, too: an Escape that comes before would close the dialog without a word to whoever shows it.
  useLayoutEffect(() => {
    const dialog = ref.current!;
    const ask = (event: Event) => {
      event.preventDefault();
      if (!stays) asked.current();
    };
    const key = (event: KeyboardEvent) => {
      // Chromium closes a dialog at a second Escape without asking.
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      ask(event);
    };
    const beside = (event: MouseEvent) => {
      if (event.target === dialog && !isWithin(event, dialog.getBoundingClientRect())) ask(event);
    };
    dialog.addEventListener('cancel', ask);
    dialog.addEventListener('keydown', key);
    dialog.addEventListener('click', beside);
    return () => {
      dialog.removeEventListener('cancel', ask);
      dialog.removeEventListener('keydown', key);
      dialog.removeEventListener('click', beside);
    };
  }, [stays]);

  return (
    <dialog
      ref={ref}
      class={`dialog ${look}`}
      aria-labelledby={heading}
      {...(stays ? { role: 'alertdialog' } : {})}
    >
      <div class="dialog-top">
        <h2 id={heading} tabIndex={-1}>
          {title}
        </h2>
        {!stays && (
          <button type="button" class="plain" aria-label="Close" onClick={() => asked.current()}>
            <Close />
          </button>
        )}
      </div>
      {children}
      <Announcer />
    </dialog>
  );
}

function isWithin({ clientX, clientY }: MouseEvent, { left, right, top, bottom }: DOMRect): boolean {
  return clientX >= left && clientX <= right && clientY >= top && clientY <= bottom;
}
