// A list as a Yjs document: what is read out of it, and what people do with it.
//
//   meta   Y.Map  name: what the list is called
//   items  Y.Map  id -> Y.Map  text: Y.Text, done: boolean, at: order key, gone?: a mark of what it was when it was deleted
//
// Others write into the document, too, whatever they like: all that is read is checked, and what makes no sense is not there.

import { generateKeyBetween, generateNKeysBetween } from 'fractional-indexing';
import * as Y from 'yjs';
import { PIECE_MAX } from './allowed.js';
import { difference } from './difference.js';
import type { Full, Item } from './view.js';

/** The characters of an entry and of a list's name, as JavaScript counts them. */
export const TEXT_MAX = 500;
export const LIST_NAME_MAX = 80;

/** The bytes of a document, all that ever was in it. From fewer on nothing is added, and from a few more on nothing changed. */
export const DOCUMENT_MAX = 2 * 1024 * 1024;
const ADDED_MAX = 0.75 * DOCUMENT_MAX;
const CHANGED_MAX = 0.875 * DOCUMENT_MAX;

/** The entries that are shown: a list that somebody fills with rubbish must not stop the page. */
const ITEMS_MAX = 2000;

/** Longer order keys are made anew when something moves beside them. */
const KEY_MAX = 200;

/** What is deleted of an entry: who changed it meanwhile gets it back. */
interface State {
  text: string;
  done: boolean;
}

/** An entry that is shown, and its order key. */
interface Entry {
  readonly item: Item;
  readonly at: string;
}

/** A list takes nothing more. */
export class FullError extends Error {
  constructor(readonly code: Full) {
    super(code);
  }
}

/** A list. */
export class List {
  readonly doc = new Y.Doc();
  readonly #meta = this.doc.getMap('meta');
  readonly #items = this.doc.getMap('items');
  /** The entries that are shown, as far as nothing changed since they were read. */
  readonly #entries = new Map<string, Entry>();
  readonly #stale = new Set<string>();
  #order: readonly Entry[] = [];
  #shown: readonly Item[] = [];
  /** The bytes of all of it, or more. */
  #size = 0;

  /** `state`: that of a list that was kept. It may not be what it should: throws if it is no document. */
  constructor(
    readonly id: string,
    state?: Uint8Array,
  ) {
    this.#items.observeDeep(events => {
      for (const { path, changes } of events) {
        for (const id of path.length ? [path[0]] : changes.keys.keys()) {
          this.#stale.add(String(id));
        }
      }
    });
    this.doc.on('update', ({ length }) => {
      this.#size += length;
    });
    if (state) {
      Y.applyUpdate(this.doc, state);
    }
  }

  /** What it is called; nothing if nothing of it came yet. */
  get name(): string | undefined {
    const name = this.#meta.get('name');
    return (typeof name === 'string' && tidy(name, LIST_NAME_MAX)) || undefined;
  }

  /** The entries in their order: the same array as long as nothing changed, and the same entries where nothing did. */
  get items(): readonly Item[] {
    this.#read();
    return this.#shown;
  }

  /** How many more there are, which are not shown. */
  get hidden(): number {
    return this.items && this.#order.length - this.#shown.length;
  }

  /** All of it, to be kept. */
  get state(): Uint8Array<ArrayBuffer> {
    const state = Y.encodeStateAsUpdate(this.doc);
    this.#size = state.length;
    return state as Uint8Array<ArrayBuffer>;
  }

  rename(name: string): void {
    const tidied = tidy(name, LIST_NAME_MAX);
    if (tidied && tidied !== this.name) {
      this.#needRoom(ADDED_MAX);
      this.#meta.set('name', tidied);
    }
  }

  /** Adds an entry at the end, and gives its id. A text of blanks adds nothing: the id is empty. */
  add(text: string): string {
    const tidied = tidy(text, TEXT_MAX);
    const id = tidied && randomId();
    if (!id) {
      return id;
    }
    this.#needRoom(ADDED_MAX);
    if (this.items.length >= ITEMS_MAX) {
      throw new FullError('too-many');
    }
    this.doc.transact(() => {
      const item = new Y.Map();
      item.set('text', new Y.Text(tidied));
      item.set('done', false);
      this.#items.set(id, item);
      this.#put(id, undefined);
    });
    return id;
  }

  /** Changes a text where it differs: what somebody else changes elsewhere in it meanwhile stays. */
  edit(id: string, text: string): void {
    const to = tidy(text, TEXT_MAX);
    const item = this.#item(id);
    if (!item || !to) {
      return;
    }
    const there = item.get('text');
    const from = there instanceof Y.Text ? there.toString() : undefined;
    const change = difference(from ?? '', to);
    if (from !== undefined && tidy(from, PIECE_MAX) === to) {
      return;
    }
    this.#needRoom(ADDED_MAX);
    this.#revive(item, () => {
      if (!(there instanceof Y.Text) || from?.length !== there.length) {
        // No text, or one with something in it that is none.
        item.set('text', new Y.Text(to));
      } else if (change) {
        // In this order what is new stands before what it replaces, and not among what somebody else puts behind that.
        there.insert(change.from, change.text);
        there.delete(change.from + change.text.length, change.to - change.from);
      }
    });
  }

  tick(id: string, done: boolean): void {
    const item = this.#item(id);
    if (item && (item.get('done') === true) !== done) {
      this.#needRoom(CHANGED_MAX);
      this.#revive(item, () => item.set('done', done));
    }
  }

  /** Moves an entry before another one; to the end if there is none, or not any more. */
  move(id: string, before: string | undefined): void {
    if (this.#item(id) && id !== before) {
      this.#needRoom(CHANGED_MAX);
      this.doc.transact(() => this.#put(id, before));
    }
  }

  remove(ids: readonly string[]): void {
    this.#needRoom(CHANGED_MAX);
    this.doc.transact(() => {
      for (const id of ids) {
        const item = this.#item(id);
        const state = item && stateOf(item);
        if (state) {
          item.set('gone', markOf(state));
        }
      }
    });
  }

  /** Takes `remove` back. */
  restore(ids: readonly string[]): void {
    this.#needRoom(CHANGED_MAX);
    this.doc.transact(() => {
      for (const id of ids) {
        const item = this.#item(id);
        if (item) {
          this.#revive(item, () => {});
        }
      }
    });
  }

  /** Changes an entry, which is there then: a mark of before would hide it when it happens to be as it was once. */
  #revive(item: Y.Map<unknown>, change: () => void): void {
    this.doc.transact(() => {
      if (item.has('gone')) {
        item.delete('gone');
      }
      change();
    });
  }

  #needRoom(max: number): void {
    if (this.#size > max && this.state.length > max) {
      throw new FullError('too-large');
    }
  }

  #item(id: string): Y.Map<unknown> | undefined {
    const item = this.#items.get(id);
    return item instanceof Y.Map ? item : undefined;
  }

  /** Reads what changed. Those at the same place are in the order of their ids, which is the same everywhere. */
  #read(): void {
    if (!this.#stale.size) {
      return;
    }
    let isOther = false;
    for (const id of this.#stale) {
      const before = this.#entries.get(id);
      const now = entryOf(id, this.#item(id), before);
      if (now !== before) {
        isOther = true;
      }
      if (now) {
        this.#entries.set(id, now);
      } else {
        this.#entries.delete(id);
      }
    }
    this.#stale.clear();
    if (isOther) {
      this.#order = [...this.#entries.values()].sort(compare);
      this.#shown = this.#order.slice(0, ITEMS_MAX).map(({ item }) => item);
    }
  }

  /**
   * Gives an entry the order key of its new place. Where two have the same key, as two have who added something at the same place
   * while they were apart, or a key that is none, those behind it get new ones until there is room. The end is that of what is shown.
   */
  #put(id: string, before: string | undefined): void {
    this.#read();
    const others = this.#order.filter(({ item }) => item.id !== id);
    const found = others.findIndex(({ item }) => item.id === before);
    const place = found < 0 ? Math.min(others.length, ITEMS_MAX - 1) : found;
    let first = place;
    while (first > 0 && !isKey(others[first - 1]!.at)) {
      first -= 1;
    }
    const lower = others[first - 1]?.at;
    let end = place;
    while (end < others.length && !(isKey(others[end]!.at) && (!lower || lower < others[end]!.at))) {
      end += 1;
    }
    const put = (start: number, end: number, lower?: string, upper?: string) => {
      const ids = others.slice(start, end).map(({ item }) => item.id);
      ids.splice(place - start, 0, id);
      const keys = generateNKeysBetween(lower ?? null, upper ?? null, ids.length);
      ids.forEach((id, index) => {
        this.#item(id)?.set('at', keys[index]);
      });
    };
    try {
      put(first, end, lower, others[end]?.at);
    } catch {
      // Keys between which there is no room for all: only who means harm makes such.
      put(0, ITEMS_MAX);
    }
  }
}

/** A random id of 128 bits. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}

/**
 * A text on one line, without blanks around it, and not longer than this. Half a character at the cut goes, and what is not seen: it
 * turns what follows around, or has two names look the same. But joiners belong to words and emoji.
 */
export function tidy(text: string, length: number): string {
  const line = text
    .slice(0, 4 * length)
    .replace(/\s+/g, ' ')
    .replace(/(?!\u200c|\u200d)[\p{Cc}\p{Cf}]/gu, '')
    .normalize('NFC')
    .trim();
  return !line.replace(/\u200c|\u200d/g, '').trim()
    ? ''
    : line.length <= length
      ? line
      : line
          .slice(0, length)
          .replace(/[\uD800-\uDBFF]$/, '')
          .trim();
}

/**
 * What an entry is as of now: that of before, if it is the same. Nothing if it is none, or was deleted. One that two shortened until
 * nothing was left is there still, and empty: neither of them meant that.
 */
function entryOf(id: string, item: Y.Map<unknown> | undefined, before: Entry | undefined): Entry | undefined {
  const state = item && stateOf(item);
  if (!state || item.get('gone') === markOf(state)) {
    return undefined;
  }
  const text = tidy(state.text, PIECE_MAX);
  const { done } = state;
  const key = item.get('at');
  const at = typeof key === 'string' ? key : '';
  const was = before?.item;
  const same = was && was.text === text && was.done === done ? was : undefined;
  return same && before?.at === at ? before : { item: same ?? { id, text, done }, at };
}

function stateOf(item: Y.Map<unknown>): State | undefined {
  const text = item.get('text');
  return text instanceof Y.Text ? { text: text.toString(), done: item.get('done') === true } : undefined;
}

/** Short, and another one for whatever differs: FNV-1a, and the length. */
function markOf({ text, done }: State): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return `${done ? 1 : 0} ${text.length} ${hash >>> 0}`;
}

function compare(a: Entry, b: Entry): number {
  if (a.at !== b.at) {
    return a.at < b.at ? -1 : 1;
  }
  return a.item.id < b.item.id ? -1 : 1;
}

/** Whether there can be keys on both sides of it. */
function isKey(at: string): boolean {
  try {
    return at.length <= KEY_MAX && !!generateKeyBetween(at, null) && !!generateKeyBetween(null, at);
  } catch {
    return false;
  }
}
