// The conversations with those a list is shared with: opened as soon as somebody is there, and again when one ended although they are.

import { type Client, ConnectoidError, type EventOf } from '../../src/index.js';
import { split } from './contact.js';
import type { Lists } from './lists.js';
import { converse, hold, LABEL } from './sync.js';
import type { Trouble } from './view.js';

/** The conversations that there may be with one person at a time. One is what it needs. */
const CONVERSATIONS_MAX = 4;

/** The pause before a conversation is opened again, doubled each time up to the longest, until one lasted that long. Milliseconds. */
const PAUSE_FIRST = 1000;
const PAUSE_MAX = 60_000;

/** A conversation with somebody. */
interface Talk {
  end: () => void;
  /** Since when both have the same, on the clock of `performance.now`. */
  since?: number;
}

/** What is known of somebody beside what the library knows. */
export interface Acquaintance {
  readonly troubles: Set<Trouble>;
  ownName?: string | undefined;
  readonly talks: Set<Talk>;
  /** Whether this side opens the channels: that whose offer was taken. */
  opens: boolean;
  /** The channels that are being opened. */
  opening: number;
  failures: number;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

export type Talks = ReturnType<typeof talksOf>;

/** `refresh` is called when something changed. */
export function talksOf(client: Client, lists: Lists, refresh: () => void) {
  const acquaintances = new Map<string, Acquaintance>();
  let isClosed = false;

  function known(contact: string): Acquaintance {
    let known = acquaintances.get(contact);
    if (!known) {
      known = { troubles: new Set(), talks: new Set(), opens: false, opening: 0, failures: 0 };
      acquaintances.set(contact, known);
    }
    return known;
  }

  /** What the contact of somebody is called by now. */
  function contactOf(known: Acquaintance): string {
    return [...acquaintances].find(([, other]) => other === known)?.[0] ?? '';
  }

  function connected({ contact, offerer }: EventOf<'connected'>): void {
    const here = known(contact);
    here.troubles.clear();
    here.opens = offerer;
    here.failures = 0;
    if (offerer) {
      void open(here);
    }
  }

  /** Waits until data may flow. What comes to nothing is told by events. */
  async function open(known: Acquaintance): Promise<void> {
    clearTimeout(known.timer);
    known.opening += 1;
    let channel: RTCDataChannel | undefined;
    try {
      channel = await client.open(contactOf(known), LABEL);
    } catch (error) {
      if (!(error instanceof ConnectoidError)) {
        throw error;
      }
    } finally {
      known.opening -= 1;
    }
    if (channel) {
      talk(contactOf(known), channel, hold(channel), true);
    } else {
      openLater(known);
    }
  }

  /** Whoever is there and talks no more is talked to again. */
  function openLater(known: Acquaintance): void {
    clearTimeout(known.timer);
    if (known.opens && isThere(known) && !isClosed) {
      known.timer = setTimeout(
        () => {
          if (isThere(known) && !known.opening && !known.talks.size) {
            void open(known);
          }
        },
        Math.min(PAUSE_FIRST * 2 ** known.failures++, PAUSE_MAX),
      );
    }
  }

  function isThere(known: Acquaintance): boolean {
    return client.contact(contactOf(known))?.state === 'connected';
  }

  function talk(contact: string, channel: RTCDataChannel, held: MessageEvent[], opened: boolean): void {
    const [id] = split(contact);
    const shelf = lists.shelves.get(id);
    const here = known(contact);
    if (isClosed || channel.label !== LABEL || !shelf || here.talks.size >= CONVERSATIONS_MAX) {
      channel.close();
      return;
    }
    const talk: Talk = { end() {} };
    here.talks.add(talk);
    talk.end = converse(channel, held, {
      doc: shelf.list.doc,
      list: id,
      me: lists.me,
      opened,
      who: here,
      greeted(name) {
        here.ownName = name || undefined;
        refresh();
      },
      flows() {
        talk.since = performance.now();
        here.troubles.clear();
        refresh();
      },
      ended(trouble) {
        here.talks.delete(talk);
        // Who takes what is sent and ends it at once is not sent it again and again.
        if (performance.now() - (talk.since ?? Infinity) > PAUSE_MAX) {
          here.failures = 0;
        }
        if (trouble) {
          here.troubles.add(trouble);
        } else {
          openLater(here);
        }
        refresh();
      },
    });
  }

  function end(known: Acquaintance): void {
    for (const talk of [...known.talks]) {
      talk.end();
    }
    clearTimeout(known.timer);
  }

  function flows({ talks }: Acquaintance): boolean {
    return [...talks].some(({ since }) => since !== undefined);
  }

  return {
    of: (contact: string) => acquaintances.get(contact),
    known,
    flows,
    connected,
    talk,
    /** Ends all with somebody. */
    end(contact: string): void {
      const here = acquaintances.get(contact);
      if (here) {
        end(here);
      }
    },
    forget(contact: string): void {
      acquaintances.delete(contact);
    },
    /** Somebody is there, but nothing flows: begins anew. */
    again(contact: string): void {
      const here = known(contact);
      here.troubles.delete('no-path');
      if (isThere(here) && !here.opening && !flows(here)) {
        here.troubles.clear();
        here.failures = 0;
        end(here);
        void open(here);
      }
    },
    renamed(contact: string, to: string): void {
      const here = known(contact);
      acquaintances.delete(contact);
      acquaintances.set(to, here);
      if (here.opens && !here.talks.size && isThere(here)) {
        // Whoever waits for a contact of the name before waits in vain.
        void open(here);
      }
    },
    close(): void {
      isClosed = true;
      for (const { timer } of acquaintances.values()) {
        clearTimeout(timer);
      }
    },
  };
}
