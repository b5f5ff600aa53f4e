// What the state machine holds, and the few things that all of its parts do with it.

import { type Contact, type Goodbye, ownBox } from '../contact.js';
import type { PublicKey } from '../keys.js';
import type { RelayUrl } from '../relay-url.js';
import type { Turn } from '../turn.js';
import type { Session } from './channel.js';
import type { Relay } from './mailbox.js';
import type { Outgoing } from './outbox.js';
import type { Alarm, Event, Output, Reply, SessionId } from './output.js';
import type { Deletion } from './unshare.js';

/** All of it, with the time and randomness of the step that runs. Changed in place; steps come one at a time. */
export interface State extends Turn {
  /** By name. */
  contacts: Map<string, Live>;
  goodbyes: Goodbye[];
  /** Whether the private keys that are made here can be read out. */
  extractable: boolean;
  /** Whether connections that were made are made again by themselves. */
  keeps: boolean;
  relays: Relay[];
  outgoing: Outgoing[];
  deletions: Deletion[];
  /** What is done with the reply to a request. */
  asked: Map<number, (reply: Reply) => void | Promise<void>>;
  /** Why relays were of no use when they were last asked, for a reason that lasts. */
  down: Map<RelayUrl, string | undefined>;
  /** Until when relays want to be left alone. */
  rests: Map<RelayUrl, number>;
  /** Whether boxes may have come or gone since the relays' lists of them were made. */
  boxesChanged: boolean;
  lastId: number;
  /** What is to be done, in this order. Whoever does it takes it from here. */
  outputs: Output[];
}

/** A contact, and what is known of it only while the program runs. Times are on the clock of `Turn.elapsed`. */
export interface Live {
  contact: Contact;
  /** A session on its way to a proven channel. */
  pending?: Session | undefined;
  /** A session that is proven, and the boxes the other side moved to in it. */
  open?: { id: SessionId; moves: number; since: number } | undefined;
  /** The sessions in a row that ended within a minute. */
  brief: number;
  /** Whether an offer was made at once because an attempt failed, since the last session. */
  retried: boolean;
  /** When the next offer is due; never, if none is to be made. */
  nextTry: number;
  /** Until when an answer or an offer may come any moment, so that waiting for it is worth a long poll. */
  expecting: number;
  /** Why no relay is of use, if that was said. */
  toldDown?: string | undefined;
}

/**
 * `extractable`: whether the private keys that it makes can be read out, for a storage that needs that. `keeps`: whether connections
 * that were made are made again by themselves.
 */
export function newState(
  contacts: Contact[],
  goodbyes: Goodbye[],
  extractable: boolean,
  keeps = true,
): State {
  // Time and randomness come with each turn.
  return {
    contacts: new Map(contacts.map(contact => [contact.name, liveOf(contact)])),
    goodbyes,
    extractable,
    keeps,
    relays: [],
    outgoing: [],
    deletions: [],
    asked: new Map(),
    down: new Map(),
    rests: new Map(),
    boxesChanged: true,
    lastId: 0,
    outputs: [],
  } as unknown as State;
}

export const SECOND = 1000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;

export function liveOf(contact: Contact): Live {
  return { contact, nextTry: Infinity, expecting: 0, brief: 0, retried: false };
}

/** All contacts. */
export function lives(s: State): Live[] {
  return [...s.contacts.values()];
}

/** Whether a box is one's own, of any contact. */
export function isOwn(s: State, key: PublicKey): boolean {
  return lives(s).some(({ contact }) => ownBox(contact, key));
}

/** Has the state of contacts stored (of none: of the goodbyes alone) before what follows. */
export function store(s: State, ...contacts: string[]): void {
  s.boxesChanged = true;
  s.outputs.push({ do: 'store', contacts });
}

/** Has the state of a contact stored before what follows. */
export function storeOf(s: State, { contact }: Live): void {
  store(s, contact.name);
}

type Of<T> = Omit<Extract<Event, { type: T; contact: string }>, 'type' | 'contact'>;

/** Tells the app of a contact. */
export function tell<T extends Event['type']>(s: State, { contact }: Live, type: T, more?: Of<T>): void {
  s.outputs.push({ do: 'event', event: { type, contact: contact.name, ...more } as unknown as Event });
}

/** Tells the app what people should hear of. */
export function alarm(s: State, live: Live, alarm: Alarm, more?: { first: number; second: number }): void {
  tell(s, live, 'alarm', { alarm, ...more });
}
