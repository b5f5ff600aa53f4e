// The end of a contact: a sealed goodbye, the boxes deleted at the relays, then all keys.

import { type Goodbye, type OwnBox, pinned, type Side } from '../contact.js';
import { type Checked, checkBody, deleteBody, type NoReply, readChecked, readDone } from '../exchange.js';
import type { RelayUrl } from '../relay-url.js';
import { closeSessions, giveUp, seal } from './connect.js';
import { answerTo } from './mailbox.js';
import { post, recall } from './outbox.js';
import { ask, misbehaves, pauseAfter } from './requests.js';
import { HOUR, type Live, type State, store, storeOf, tell } from './state.js';

/** When a goodbye is sent, after it was sealed. A relay keeps it for an hour each time. */
const BYE_TIMES = [0, HOUR, 24 * HOUR];

/** When it is given up. */
const BYE_LIFE = 48 * HOUR;

/** How often a relay is asked to delete a box. What it does not delete expires there. */
const DELETE_TRIES = 3;

/** A box that is to be deleted at a relay. */
export interface Deletion {
  live: Live;
  own: OwnBox;
  relay: RelayUrl;
  tries: number;
  /** When the relay is to be asked for a question; never, while a reply is awaited. */
  due: number;
}

/** Ends a contact: the other side is told, the boxes are deleted at the relays, then every key. It cannot be undone. */
export async function endContact(s: State, live: Live): Promise<void> {
  const { contact } = live;
  if (contact.leaving) return;
  const sealed = pinned(contact) && (await seal(s, contact, { typ: 'bye' }));
  if (sealed) {
    const { key, relays, ext } = sealed.to;
    s.goodbyes.push({ to: key, relays, ext, data: sealed.data, made: s.now, sent: 0 });
  }
  leave(s, live, 'own');
}

/** One of the two ended the contact. */
export function leave(s: State, live: Live, by: Side): void {
  live.contact.leaving = by;
  giveUp(s, live);
  closeSessions(s, live);
  recall(s, live);
  storeOf(s, live);
  if (by === 'peer') tell(s, live, 'unshared', { by });
  deleteBoxes(s, live);
}

/** Deletes all boxes of a contact at their relays, and then the contact. */
export function deleteBoxes(s: State, live: Live): void {
  for (const own of live.contact.boxes) {
    for (const relay of own.relays) s.deletions.push({ live, own, relay, tries: 0, due: s.elapsed });
  }
}

/** Asks for the questions that are due. */
export function deleteDue(s: State): void {
  for (const deletion of s.deletions) {
    const { own, relay, due } = deletion;
    if (due > s.elapsed) continue;
    deletion.tries++;
    deletion.due = Infinity;
    const body = checkBody(own.key.pub, own.ext, 0, relay, true);
    ask(s, relay, body, readChecked, read => asked(s, deletion, read));
  }
}

/** The relay was asked for a question: it is answered with the delete. */
async function asked(s: State, deletion: Deletion, read: Checked | NoReply): Promise<void> {
  const { own, relay } = deletion;
  if ('failure' in read) {
    ended(s, deletion, false);
    return;
  }
  const { answer, what } = await answerTo(own, relay, read.relay, read.question);
  if (what) {
    misbehaves(s, relay, what);
    ended(s, deletion, false);
  } else {
    const body = deleteBody(own.key.pub, own.ext, answer, 'all');
    ask(s, relay, body, readDone, ({ failure }) => ended(s, deletion, !failure));
  }
}

/** One try to delete a box ended. A contact is deleted with all its keys once there is nothing left to delete at the relays. */
function ended(s: State, deletion: Deletion, done: boolean): void {
  const { live, tries } = deletion;
  const { name, leaving } = live.contact;
  if (!done && tries < DELETE_TRIES) {
    deletion.due = s.elapsed + pauseAfter(tries);
    return;
  }
  s.deletions = s.deletions.filter(other => other !== deletion);
  if (s.deletions.some(other => other.live === live)) return;
  s.contacts.delete(name);
  store(s, name);
  if (leaving === 'own') tell(s, live, 'unshared', { by: leaving });
}

/** Sends the goodbyes that are due. */
export function sendGoodbyes(s: State): void {
  const { now, goodbyes } = s;
  s.goodbyes = goodbyes.filter(goodbye => {
    // The clock may have been set back since.
    goodbye.made = Math.min(goodbye.made, now);
    if (goodbye.last !== undefined) goodbye.last = Math.min(goodbye.last, now);
    return goodbye.sent < BYE_TIMES.length && now - goodbye.made < BYE_LIFE;
  });
  if (s.goodbyes.length < goodbyes.length) store(s);
  for (const goodbye of s.goodbyes) {
    const { to, data, made, sent, last } = goodbye;
    // Within the hour the relay would know it, and keep it no longer.
    const rested = now - (last ?? -Infinity) >= HOUR;
    const isOnItsWay = s.outgoing.some(({ message }) => message.of === goodbye);
    if (rested && !isOnItsWay && now - made >= (BYE_TIMES[sent] ?? 0)) {
      post(s, goodbye, 'goodbye', to, goodbye, data);
    }
  }
}

/** A relay took a goodbye. */
export function goodbyeSent(s: State, goodbye: Goodbye): void {
  goodbye.sent++;
  goodbye.last = s.now;
  store(s);
}
