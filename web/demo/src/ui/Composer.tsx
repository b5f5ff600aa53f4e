// Where entries are added: one after the other without leaving the field, or many at once by pasting lines.

import type { RefObject } from 'preact';
import { useState } from 'preact/hooks';
import { TEXT_MAX } from '../list.js';
import { Plus } from './icons.js';
import { linesOf } from './lines.js';

interface Props {
  readonly input: RefObject<HTMLInputElement | null>;
  /** Gives the id of the last entry; nothing if none was taken. */
  readonly add: (texts: readonly string[]) => string | undefined;
}

export function Composer({ input, add }: Props) {
  const [text, setText] = useState('');
  const enter = (texts: readonly string[]) => {
    if (texts.length === 0) return;
    const last = add(texts);
    if (last) setText('');
    input.current?.focus();
    // The entry comes on the screen with the next view.
    requestAnimationFrame(() => {
      if (last)
        document.querySelector(`[data-item="${CSS.escape(last)}"]`)?.scrollIntoView({ block: 'nearest' });
    });
  };
  return (
    <form
      class="composer"
      onSubmit={event => {
        event.preventDefault();
        enter(linesOf(text));
      }}
    >
      <span class="composer-plus">
        <Plus />
      </span>
      <input
        ref={input}
        aria-label="Add an entry"
        placeholder="Add an entry"
        maxLength={TEXT_MAX}
        autocomplete="off"
        autocapitalize="sentences"
        enterkeyhint="enter"
        dir="auto"
        value={text}
        onInput={event => setText(event.currentTarget.value)}
        onPaste={event => {
          const pasted = event.clipboardData?.getData('text/plain') ?? '';
          if (!/[\r\n]/.test(pasted.trim())) return;
          event.preventDefault();
          const { value, selectionStart, selectionEnd } = event.currentTarget;
          enter(
            linesOf(value.slice(0, selectionStart ?? 0) + pasted + value.slice(selectionEnd ?? value.length)),
          );
        }}
      />
      {/* The field keeps the focus, and a phone its keyboard. */}
      <button type="submit" class="add" disabled={!text.trim()} onMouseDown={event => event.preventDefault()}>
        Add
      </button>
    </form>
  );
}
