// An entry of a list: ticked by its circle, edited by its text, moved by its grip.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { TEXT_MAX } from '../list.js';
import type { Item as Entry } from '../view.js';
import { isolated } from '../words.js';
import type { Drag } from './drag.js';
import { Bin, Grip } from './icons.js';
import { merged } from './merged.js';

/** What can be done with an entry. */
export interface Acts {
  /** Gives whether it took effect. */
  tick(item: Entry, isByKey: boolean): boolean;
  edit(item: Entry): void;
  /** Ends editing. `text`: what it became; none if it stays as it was. */
  save(item: Entry, text: string | undefined, isByKey: boolean): void;
  remove(item: Entry): void;
  moveBy(item: string, by: number): void;
  /** Before this other one among those to buy; to their end if there is none. */
  moveTo(item: string, before: string | undefined): void;
}

interface Props {
  readonly item: Entry;
  readonly isEditing: boolean;
  readonly canMove: boolean;
  readonly acts: Acts;
  readonly drag: Drag;
}

export function Item({ item, isEditing, canMove, acts, drag }: Props) {
  const { id, text, done } = item;
  // A list may have hundreds: only what changed is made again.
  return useMemo(
    () => (
      <li class={`item ${done ? 'is-done' : ''} ${isEditing ? 'is-edited' : ''}`} data-item={id}>
        <label class="tick-box">
          <input
            type="checkbox"
            class="tick"
            checked={done}
            aria-label={text}
            onChange={event => {
              // What the browser says of it stands until the list says otherwise.
              const { currentTarget } = event;
              if (!acts.tick(item, currentTarget.matches(':focus-visible'))) currentTarget.checked = done;
            }}
          />
        </label>
        {isEditing ? (
          <Editor item={item} acts={acts} />
        ) : (
          <button type="button" class="text" aria-label={`Edit ${text}`} onClick={() => acts.edit(item)}>
            <span dir="auto">{text}</span>
          </button>
        )}
        <button
          type="button"
          class="plain delete"
          aria-label={`Delete ${text}`}
          // The field of an entry that is being edited keeps the focus: or it would be saved, and this button gone.
          onMouseDown={event => event.preventDefault()}
          onClick={() => acts.remove(item)}
        >
          <Bin />
        </button>
        {!done && (
          <button
            type="button"
            class="plain grip"
            aria-label={`Move ${text}`}
            aria-describedby="grip-help"
            hidden={!canMove}
            onPointerDown={event => drag(event, id)}
            onKeyDown={event => {
              const by = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key];
              if (by === undefined) return;
              event.preventDefault();
              acts.moveBy(id, by);
            }}
          >
            <Grip />
          </button>
        )}
      </li>
    ),
    [id, text, done, isEditing, canMove, acts, drag],
  );
}

/** The field in which an entry is edited. What others change meanwhile comes in as far as it leaves alone what was typed. */
function Editor({ item, acts }: { item: Entry; acts: Acts }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const base = useRef(item.text);
  const [draft, setDraft] = useState(item.text);
  const [theirs, setTheirs] = useState<string>();
  const isOver = useRef(false);

  const end = (isKept: boolean, isByKey: boolean) => {
    if (isOver.current) return;
    isOver.current = true;
    const text = draft.replace(/\s+/g, ' ').trim();
    acts.save(item, isKept && text !== base.current ? text : undefined, isByKey);
  };
  const latest = useRef(end);
  latest.current = end;

  useLayoutEffect(() => {
    const { current } = field;
    current?.focus();
    current?.setSelectionRange(current.value.length, current.value.length);
  }, []);

  useLayoutEffect(() => {
    if (item.text === base.current) return;
    const { current } = field;
    const both = merged(base.current, draft, item.text, [
      current?.selectionStart ?? 0,
      current?.selectionEnd ?? 0,
    ]);
    base.current = item.text;
    if (!both) {
      setTheirs(item.text);
      return;
    }
    setDraft(both.text);
    if (current) {
      current.value = both.text;
      current.setSelectionRange(...both.marks);
    }
  }, [item.text]);

  // Where the browser does not let a field grow with its words.
  useLayoutEffect(() => {
    const { current } = field;
    if (!current || CSS.supports('field-sizing', 'content')) return;
    current.style.height = 'auto';
    current.style.height = `${current.scrollHeight}px`;
  }, [draft]);

  // A row that the list puts elsewhere loses the focus for a moment; that is no end.
  useEffect(() => {
    const leave = (event: FocusEvent) => {
      const row = field.current?.closest('.item');
      if (event.relatedTarget instanceof Node && row?.contains(event.relatedTarget)) return;
      setTimeout(() => {
        if (!document.hasFocus() || document.activeElement === field.current) return;
        if (document.activeElement === document.body && isMoved) field.current?.focus();
        else latest.current(true, false);
        isMoved = false;
      });
    };
    let isMoved = false;
    const watch = new MutationObserver(changes => {
      const row = field.current?.closest('.item');
      if (row && changes.some(({ removedNodes }) => [...removedNodes].includes(row as ChildNode)))
        isMoved = true;
    });
    const rows = field.current?.closest('ul');
    if (rows) watch.observe(rows, { childList: true });
    const current = field.current;
    current?.addEventListener('blur', leave);
    return () => {
      watch.disconnect();
      current?.removeEventListener('blur', leave);
    };
  }, []);

  return (
    <span class="editor">
      <textarea
        ref={field}
        rows={1}
        aria-label={`Edit ${item.text}`}
        aria-describedby={theirs === undefined ? undefined : 'theirs'}
        maxLength={TEXT_MAX}
        autocomplete="off"
        enterkeyhint="done"
        dir="auto"
        value={draft}
        onInput={event => setDraft(event.currentTarget.value)}
        onKeyDown={event => {
          // Enter also ends what an input method is composing: that is not for us.
          if (event.isComposing) return;
          if (event.key === 'Enter' || event.key === 'Escape') {
            event.preventDefault();
            end(event.key === 'Enter', true);
          }
        }}
      />
      {theirs !== undefined && (
        <span class="theirs" id="theirs" role="status">
          Somebody else changed it to “{isolated(theirs)}” meanwhile. If you save, yours stays.
        </span>
      )}
    </span>
  );
}
