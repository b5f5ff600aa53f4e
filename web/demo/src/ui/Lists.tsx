// The lists, and how one makes the first.

import { useState } from 'preact/hooks';
import { LIST_NAME_MAX } from '../list.js';
import type { ListView } from '../view.js';
import { isLost, namesOf } from '../words.js';
import { Plus } from './icons.js';
import { ToRead } from './ToRead.js';
import { go, useApp, useMedia } from './use.js';

interface Props {
  readonly lists: readonly ListView[];
  readonly chosen: string | undefined;
  /** Whether they are all that is on the screen. */
  readonly isPage: boolean;
}

export function Lists({ lists, chosen, isPage }: Props) {
  return (
    <>
      {isPage ? <h1 class="side-title">Lists</h1> : <h2 class="side-title">Lists</h2>}
      <ul class="lists">
        {lists.map(list => (
          <li key={list.id}>
            <a href={`#/list/${list.id}`} aria-current={list.id === chosen ? 'page' : undefined}>
              <span class="lists-name" dir="auto">
                {list.name}
              </span>
              <span class="lists-about">{summary(list)}</span>
              <ToRead list={list} />
            </a>
          </li>
        ))}
      </ul>
      <NewList />
    </>
  );
}

/** What there is to buy, and with whom. */
function summary(list: ListView): string {
  const { items, people, isAwaited } = list;
  const open = items.filter(item => !item.done).length;
  const what = isAwaited
    ? people.length > 0 && !isLost(list)
      ? 'Not here yet'
      : 'Nothing of it came'
    : items.length === 0
      ? 'Empty'
      : open === 0
        ? 'All bought'
        : `${open} to buy`;
  return people.length === 0 ? what : `${what} · ${namesOf(people)}`;
}

function NewList() {
  const make = useMakeList();
  const [name, setName] = useState('');
  return (
    <form
      class="new-list"
      onSubmit={event => {
        event.preventDefault();
        if (name.trim()) make(name);
        setName('');
      }}
    >
      <input
        aria-label="Name of a new list"
        placeholder="New list"
        maxLength={LIST_NAME_MAX}
        autocomplete="off"
        enterkeyhint="done"
        dir="auto"
        value={name}
        onInput={event => setName(event.currentTarget.value)}
      />
      <button type="submit" class="plain" aria-label="Make the list">
        <Plus />
      </button>
    </form>
  );
}

/** What somebody sees who has no list yet. */
export function FirstList() {
  const make = useMakeList();
  const [name, setName] = useState('');
  // On a phone a keyboard would cover what there is to read.
  const hasKeyboard = useMedia('(hover: hover) and (pointer: fine)');
  return (
    <div class="first">
      <svg class="first-picture" viewBox="0 0 200 120" aria-hidden="true" focusable="false">
        <g class="first-paper">
          <rect x="20" y="14" width="66" height="92" rx="8" />
          <rect x="114" y="14" width="66" height="92" rx="8" />
        </g>
        <g class="first-lines">
          <path d="M46 36h26M46 56h20M46 76h24M140 36h26M140 56h20M140 76h24" />
        </g>
        <g class="first-ticks">
          <path d="m31 36 3 3 5-6M31 56l3 3 5-6M125 36l3 3 5-6M125 56l3 3 5-6" />
          <path class="first-way" d="M90 60h20" />
        </g>
        <g class="first-lines">
          <circle cx="35" cy="76" r="4" />
          <circle cx="129" cy="76" r="4" />
        </g>
      </svg>
      <h1>What do you need?</h1>
      <p class="lead">Make a list, and share it by a link with whoever shops with you.</p>
      <form
        onSubmit={event => {
          event.preventDefault();
          make(name.trim() || SUGGESTED);
        }}
      >
        <label for="first-name">Name of the list</label>
        <input
          id="first-name"
          placeholder={SUGGESTED}
          maxLength={LIST_NAME_MAX}
          autocomplete="off"
          enterkeyhint="go"
          dir="auto"
          ref={input => {
            if (hasKeyboard && document.activeElement === document.body) input?.focus();
          }}
          value={name}
          onInput={event => setName(event.currentTarget.value)}
        />
        <button type="submit" class="main">
          Make the list
        </button>
      </form>
    </div>
  );
}

const SUGGESTED = 'Groceries';

function useMakeList(): (name: string) => void {
  const app = useApp();
  return name => go(`#/list/${app.makeList(name.trim())}`);
}
