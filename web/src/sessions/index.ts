// All sessions of an app as one state machine: share, connect, reconnect, rekey, verify, unshare.
//
// No I/O, no clock, and no randomness but WebCrypto's for keys. Whoever drives it does one `step` at a time (each awaited before the
// next begins, since WebCrypto is asynchronous), with one of the functions below or of `connect.ts`, and after each carries out
// `outputs`, **in that order**: what follows a `store` must not happen before the store is durable.

import { type Connectoid, RELAYS_MAX } from '../connectoid.js';
import {
  type Contact,
  connectoidOf,
  generateBox,
  hasExpired,
  linkedContact,
  mayExchange,
  pinned,
  sharedContact,
  wasAt,
} from '../contact.js';
import { fail } from '../errors.js';
import type { FoundLink } from '../link.js';
import { isLoopback, type RelayUrl } from '../relay-url.js';
import type { Turn } from '../turn.js';
import { deadline, isJoined } from './channel.js';
import {
  ANSWERS_MAX,
  answer,
  closeSessions,
  giveUp,
  giveUpHandshake,
  planNextTry,
  stopTrying,
  tryAgain,
  tryNow,
  tryNowIfMissed,
  wantAgain,
} from './connect.js';
import { checkDue, checkNow, checksDueAt } from './mailbox.js';
import { sendDue, sendNow } from './outbox.js';
import type { Output, Reply } from './output.js';
import { dropOldBoxes } from './rekey.js';
import { tellReachable } from './requests.js';
import { alarm, isOwn, type Live, liveOf, lives, MINUTE, type State, store, storeOf, tell } from './state.js';
import { deleteBoxes, deleteDue, endContact, sendGoodbyes } from './unshare.js';

/** How often what is planned in the time of day is looked at, if nothing else is to be done. */
const LOOK_EVERY = 10 * MINUTE;

/** How a link is shared. */
export interface Sharing {
  relays: RelayUrl[];
  ext: string | undefined;
  /** Milliseconds; never, if `Infinity`. */
  expiresIn: number;
  withoutSecret: boolean;
}

/** The characters of a name, as JavaScript counts them. */
const NAME_MAX = 256;

/** What a step does, and then what is due: nothing else, if it is called because that is all. */
export async function step<T>(s: State, turn: Turn, take: (s: State) => T | Promise<T>): Promise<T> {
  Object.assign(s, turn);
  const done = await take(s);
  for (const live of lives(s)) {
    dropOldBoxes(s, live);
    expire(s, live);
    giveUpHandshake(s, live);
    keepUp(s, live);
    tryAgain(s, live);
  }
  deleteDue(s);
  sendGoodbyes(s);
  sendDue(s);
  checkDue(s);
  return done;
}

/** Takes out what must not wait for a store that fails: what ends sessions, and alarms. */
export function pollUrgent(s: State): Output[] {
  const waiting = s.outputs;
  s.outputs = [];
  return waiting.filter(output => {
    const isUrgent = output.do === 'close' || (output.do === 'event' && output.event.type === 'alarm');
    if (!isUrgent) s.outputs.push(output);
    return isUrgent;
  });
}

/** When the next step is due, on the clock of `Turn.elapsed`, if nothing happens before; `Infinity` if nothing is planned. */
export function wakeAt(s: State): number {
  return Math.min(
    ...lives(s).map(live => (isJoined(live) ? deadline(live) : live.nextTry)),
    ...checksDueAt(s),
    ...[...s.outgoing, ...s.deletions].map(({ due }) => due),
    s.goodbyes.length ? s.elapsed + LOOK_EVERY : Infinity,
  );
}

/**
 * Takes up what was on its way when the program ended. Once, before anything else. Says again what the app may not have heard
 * before that end, as far as it still holds.
 */
export async function start(s: State): Promise<void> {
  for (const live of lives(s)) {
    const { contact } = live;
    const { connecting, leaving, rekeyed } = contact;
    // What was tried by itself begins anew, if it is wanted still.
    if (connecting?.byItself) stopTrying(s, live);
    wantAgain(live);
    sayAgain(s, live);
    // The clock may have been set back since.
    if (rekeyed !== undefined) contact.rekeyed = Math.min(rekeyed, s.now);
    if (connecting) connecting.since = Math.min(connecting.since, s.now);
    if (leaving) {
      deleteBoxes(s, live);
      continue;
    }
    await answer(s, live);
    if (live.pending) planNextTry(s, live);
    // The peer connection of an offer that was made before is gone: another one at once.
    else if (contact.connecting) live.nextTry = s.elapsed;
  }
}

/**
 * The device woke up, or has a network again: relays are asked anew and now, what could not be sent is sent now, and a try that
 * was missed meanwhile is made.
 */
export function wokeUp(s: State): void {
  for (const live of lives(s)) tryNowIfMissed(s, live);
  checkNow(s);
  sendNow(s);
}

/** Makes a link for somebody. It is stored before the event `shared`. Throws a `ConnectoidError`, as do the next. */
export async function share(
  s: State,
  name: string,
  { relays, ext, expiresIn, withoutSecret }: Sharing,
): Promise<Connectoid> {
  const free = newName(s, name);
  if (!relays.length || relays.length > RELAYS_MAX) fail('relays', '1 to 4 relays');
  const own = await generateBox(s, relays, ext);
  if (withoutSecret) delete own.secret;
  const live = add(s, sharedContact(free, own, s.now + expiresIn, s.now));
  tell(s, live, 'shared');
  return connectoidOf(own);
}

/**
 * Connects to whoever shared a link, and goes on trying for 48 hours. The own box is at the relays of the link, with its `ext`. If it
 * is the link of the contact of this name, as in a page that is loaded again, it is connected to again.
 */
export async function connect(s: State, { connectoid, place }: FoundLink, name: string): Promise<void> {
  const { key, relays, ext } = connectoid;
  if (isOwn(s, key)) fail('own-link');
  const taken = lives(s).find(({ contact: { peer } }) => peer && wasAt(peer, key));
  if (taken) {
    const other = taken.contact.name;
    if (other === trimmed(name)) return reconnect(s, other);
    fail('link-taken', `the link is that of ${other}`);
  }
  const free = newName(s, name);
  needElsewhere(connectoid);
  const contact = linkedContact(
    free,
    await generateBox(s, relays, ext),
    connectoid,
    place === 'query',
    s.now,
  );
  contact.connecting = { since: s.now, tries: 0 };
  planNextTry(s, add(s, contact));
}

/**
 * Connects to a contact again, and goes on trying for 48 hours from now. An offer that is under way stands; nothing happens if it
 * is connected.
 */
export function reconnect(s: State, name: string): void {
  const live = named(s, name);
  const { contact, open } = live;
  needPeer(contact, !contact.link || !!pinned(contact));
  if (!open) tryNow(s, live);
}

/**
 * Makes a session again that is open, but whose packets do not get through any more: a new offer is made, for the same peer
 * connection (an ICE restart) or another. The open session stays until the new one is proven, or the app closes it.
 */
export function renew(s: State, name: string, byItself?: boolean): void {
  const live = named(s, name);
  if (!live.open) notConnected();
  tryNow(s, live, byItself);
}

/** Ends the session with a contact, and any attempt to make one. It can be made again. */
export function disconnect(s: State, name: string): void {
  const live = named(s, name);
  giveUp(s, live);
  closeSessions(s, live);
}

/** Records what the two people said of the short authentication string. If it differs the session ends. */
export function verify(s: State, name: string, same: boolean): void {
  const live = named(s, name);
  const { contact, open } = live;
  if (!contact.sas) fail('nothing-to-compare');
  const held = !mayExchange(contact);
  contact.verification = same ? 'verified' : 'mismatch';
  storeOf(s, live);
  if (!same) {
    alarm(s, live, 'strings-differ');
    giveUp(s, live);
    closeSessions(s, live);
  } else if (held && open) {
    tell(s, live, 'may-exchange');
  }
}

/** Ends a contact: the other side is told, the boxes are deleted at the relays, then every key. It cannot be undone. */
export function unshare(s: State, name: string): Promise<void> {
  return endContact(s, named(s, name));
}

/** Gives a contact another name, also in what is still to be carried out. Gives that name. */
export function rename(s: State, from: string, wanted: string): string {
  const live = named(s, from);
  const { name } = live.contact;
  if (trimmed(wanted) === name) return name;
  const to = newName(s, wanted);
  s.contacts.delete(name);
  s.contacts.set(to, live);
  live.contact.name = to;
  for (const output of s.outputs) {
    // Both, so that there is one contact after each store, under one of the names.
    if (output.do === 'store' && output.contacts.includes(name)) output.contacts.push(to);
    const of: { contact?: string } = output.do === 'event' ? output.event : (output as object);
    if (of.contact === name) of.contact = to;
  }
  store(s, name, to);
  return to;
}

/** What a relay replied to a request, or why it did not. */
export function replied(s: State, id: number, reply: Reply): void | Promise<void> {
  const then = s.asked.get(id);
  s.asked.delete(id);
  // None if it was cancelled meanwhile.
  return then?.(reply);
}

/** What is stored was told, unless the program ended in between. */
function sayAgain(s: State, live: Live): void {
  const { contact } = live;
  const { leaving, inbox, ended, link, made } = contact;
  if (leaving === 'peer') tell(s, live, 'unshared', { by: leaving });
  if (inbox.length) tell(s, live, 'note');
  if (ended) tell(s, live, ended);
  if (link?.usedTwice !== undefined && !mayExchange(contact)) {
    const first = link.claimed ?? made;
    alarm(s, live, 'link-used-twice', { first, second: link.usedTwice });
  }
  if (link?.state === 'closed' && !pinned(contact)) {
    if (link.answered < ANSWERS_MAX) tell(s, live, 'link-expired');
    else alarm(s, live, 'too-many-offers');
  }
}

function add(s: State, contact: Contact): Live {
  const live = liveOf(contact);
  s.contacts.set(contact.name, live);
  tellReachable(s);
  storeOf(s, live);
  return live;
}

/** Closes a link by which nobody connected in time, and says so once. */
function expire(s: State, live: Live): void {
  const { link } = live.contact;
  if (!link || link.state === 'closed' || !hasExpired(live.contact, s.now)) return;
  link.state = 'closed';
  storeOf(s, live);
  tell(s, live, 'link-expired');
}

/** Connects by itself to whom a connection is wanted, unless nobody is there to see it. An open session is renewed in any case. */
function keepUp(s: State, live: Live): void {
  const { connecting, wanted, ended } = live.contact;
  if (live.open) return;
  const isWanted = wanted && s.keeps && !s.idle;
  if (!isWanted && connecting?.byItself) {
    stopTrying(s, live);
  } else if (isWanted && !connecting && !ended) {
    tryNow(s, live, true);
  }
}

/** The contact of this name. */
export function named(s: State, name: string): Live {
  return s.contacts.get(trimmed(name)) ?? fail('no-contact');
}

/** A name without blanks around it; an empty one, if there is none. */
export function trimmed(name: string | undefined): string {
  return `${name ?? ''}`.trim();
}

export function notConnected(): never {
  fail('not-connected');
}

/** A name for a contact: without blanks around it, and nobody else's. */
function newName(s: State, text: string): string {
  const name = trimmed(text);
  if (!name) fail('no-name');
  if (name.length > NAME_MAX) fail('argument', 'too long');
  if (s.contacts.has(name)) fail('name-taken');
  return name;
}

/** The other side must be known. */
export function needPeer({ peer, leaving }: Contact, isProven: boolean): void {
  if (!peer || leaving || !isProven) fail('nobody-there');
}

/** A link must not lead to whatever runs on this machine. */
export function needElsewhere({ relays }: Connectoid): void {
  if (relays.some(isLoopback) && !relays.every(isLoopback)) {
    fail('this-machine', 'leads to this machine');
  }
}
