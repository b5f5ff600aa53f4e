// What can be done with a list as a whole.

import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { LIST_NAME_MAX } from '../list.js';
import type { ListView } from '../view.js';
import { isolated, namesOf, wordsOfError } from '../words.js';
import { Dialog } from './Dialog.js';
import { More } from './icons.js';
import { go, say, useApp } from './use.js';

interface Props {
  readonly list: ListView;
  readonly wide: boolean;
  readonly showRelay: () => void;
}

export function ListMenu({ list, wide, showRelay }: Props) {
  const [isOpen, setOpen] = useState(false);
  const [asks, setAsks] = useState<'rename' | 'delete'>();
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useId();

  useEffect(() => {
    if (!isOpen) return;
    const beside = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== 'Escape') return;
      setOpen(false);
      button.current?.focus();
    };
    addEventListener('keydown', key);
    addEventListener('pointerdown', beside);
    addEventListener('focusin', beside);
    return () => {
      removeEventListener('keydown', key);
      removeEventListener('pointerdown', beside);
      removeEventListener('focusin', beside);
    };
  }, [isOpen]);

  /** The menu goes first: the focus comes back to its button from what it opened. */
  const then = (open: () => void) => () => {
    button.current?.focus();
    setOpen(false);
    open();
  };

  return (
    <div class="menu-box" ref={box}>
      <button
        type="button"
        class="plain"
        ref={button}
        aria-label="More about this list"
        aria-expanded={isOpen}
        aria-controls={menu}
        onClick={() => setOpen(!isOpen)}
      >
        <More />
      </button>
      <ul class="menu" id={menu} hidden={!isOpen}>
        <li>
          <button type="button" onClick={then(() => setAsks('rename'))}>
            Rename the list
          </button>
        </li>
        {!wide && (
          <>
            <li>
              <button type="button" onClick={then(showRelay)}>
                What the relay sees
              </button>
            </li>
            <li>
              <button type="button" onClick={then(() => go('#/about'))}>
                About
              </button>
            </li>
          </>
        )}
        <li>
          <button type="button" class="wrong" onClick={then(() => setAsks('delete'))}>
            Delete the list
          </button>
        </li>
      </ul>
      {asks === 'rename' && <Rename list={list} close={() => setAsks(undefined)} />}
      {asks === 'delete' && <Delete list={list} close={() => setAsks(undefined)} />}
    </div>
  );
}

interface AskProps {
  readonly list: ListView;
  readonly close: () => void;
}

function Rename({ list, close }: AskProps) {
  const app = useApp();
  const [name, setName] = useState(list.name);
  const field = useId();
  return (
    <Dialog title="Rename the list" close={close}>
      <form
        class="ask"
        onSubmit={event => {
          event.preventDefault();
          close();
          try {
            if (name.trim()) app.renameList(list.id, name.trim());
          } catch (error) {
            say(wordsOfError(error, ''));
          }
        }}
      >
        <label for={field}>Name</label>
        <input
          id={field}
          autofocus
          autocomplete="off"
          maxLength={LIST_NAME_MAX}
          dir="auto"
          value={name}
          onFocus={event => event.currentTarget.select()}
          onInput={event => setName(event.currentTarget.value)}
        />
        {list.people.length > 0 && <p class="hint">The others see the new name, too.</p>}
        <div class="ask-ways">
          <button type="submit" class="main">
            Rename
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Delete({ list, close }: AskProps) {
  const app = useApp();
  const name = isolated(list.name);
  const others = namesOf(list.people);
  return (
    <Dialog title="Delete the list?" close={close}>
      <div class="ask">
        <p>
          <strong>{name}</strong> goes from this device, with all that is on it. That cannot be taken back.
        </p>
        {others && !list.isAwaited && (
          <p>
            {others} {list.people.length === 1 ? 'keeps' : 'keep'} what is on it by now, but nothing goes
            between you any more.
          </p>
        )}
        <div class="ask-ways">
          <button
            type="button"
            class="danger"
            onClick={() => {
              close();
              go('#/', true);
              app.deleteList(list.id).then(
                () => say(`“${name}” is deleted`),
                () => say(`“${name}” could not be deleted. Try it again.`),
              );
            }}
          >
            Delete
          </button>
          <button type="button" onClick={close}>
            Keep it
          </button>
        </div>
      </div>
    </Dialog>
  );
}
