// Sealed messages on their way to all relays of a box: the same bytes again until each relay took them or will not.

import type { Bytes } from '../bytes.js';
import type { Connectoid } from '../connectoid.js';
import type { Goodbye } from '../contact.js';
import type { NoReply } from '../exchange.js';
import { readDone, sendBody } from '../exchange.js';
import type { PublicKey } from '../keys.js';
import type { RelayUrl } from '../relay-url.js';
import { expect } from './connect.js';
import { ask, cancel, PASSING, pauseAfter, type Read, soonest } from './requests.js';
import { HOUR, type Live, type State, tell } from './state.js';
import { goodbyeSent } from './unshare.js';

/** How long a message is sent again at most: as long as a relay keeps it. */
const SEND_LIFE = HOUR;

/** What the next offer or answer makes pointless. */
const OF_AN_OFFER = ['offer', 'answer', 'candidates'] as const;

/** What a message is, for what happens when it was delivered or replaced. */
export type Letter = (typeof OF_AN_OFFER)[number] | 'refusal' | 'note' | 'goodbye';

/** A sealed message on its way to one relay. */
export interface Outgoing {
  message: Message;
  relay: RelayUrl;
  tries: number;
  /** Never, while a reply is awaited. */
  due: number;
  asked?: number;
}

export interface Message {
  letter: Letter;
  /** Whom it concerns; nobody any more, if it is a goodbye; nobody at all, if it goes to a link. */
  of: Live | Goodbye | undefined;
  body: string;
  until: number;
  delivered: boolean;
  /** Why a relay did not take it. */
  failed?: NoReply;
}

/** Sends sealed bytes to every relay of a box, from now on. */
export function post(
  s: State,
  of: Live | Goodbye | undefined,
  letter: Letter,
  to: PublicKey,
  { relays, ext }: Pick<Connectoid, 'relays' | 'ext'>,
  data: Bytes,
): Message {
  if (letter === 'offer' || letter === 'answer') recall(s, of, OF_AN_OFFER);
  const body = sendBody(to, ext, data);
  const message: Message = { letter, of, body, until: s.elapsed + SEND_LIFE, delivered: false };
  s.outgoing.push(...relays.map(relay => ({ message, relay, tries: 0, due: s.elapsed })));
  return message;
}

/** Stops sending offers, answers and candidates of a contact: there is a newer one, or none is wanted any more. */
export function recallOffers(s: State, live: Live): void {
  recall(s, live, OF_AN_OFFER);
}

/** Stops sending messages of a contact, of some kinds only or all. */
export function recall(s: State, of: Message['of'], letters?: readonly Letter[]): void {
  s.outgoing = s.outgoing.filter(({ message, asked }) => {
    const stays = message.of !== of || (letters && !letters.includes(message.letter));
    if (!stays) cancel(s, asked);
    return stays;
  });
}

/** Makes all that waits to be sent again due. */
export function sendNow(s: State): void {
  for (const leg of s.outgoing) if (leg.due < Infinity) leg.due = soonest(s, leg.relay);
}

export function sendDue(s: State): void {
  s.outgoing = s.outgoing.filter(({ message }) => message.until > s.elapsed);
  for (const leg of s.outgoing) {
    if (leg.due > s.elapsed) continue;
    leg.due = Infinity;
    leg.asked = ask(s, leg.relay, leg.message.body, readDone, read => sent(s, leg, read));
  }
}

function sent(s: State, leg: Outgoing, read: Read): void {
  const { message, relay } = leg;
  const { of } = message;
  if (!s.outgoing.includes(leg)) return;
  const isRefused = read.failure === 'refused' && !PASSING.includes(read.error);
  if (read.failure) message.failed = read;
  if (read.failure && !isRefused) {
    leg.due = soonest(s, relay, pauseAfter(leg.tries++));
    return;
  }
  s.outgoing = s.outgoing.filter(other => other !== leg);
  if (of && 'contact' in of) {
    if (isRefused) tell(s, of, 'not-sent', { relay, why: read.why });
    // The other side may answer any moment.
    else if (!message.delivered) expect(s, of);
  } else if (
    of &&
    !message.delivered &&
    !(isRefused && s.outgoing.some(other => other.message === message))
  ) {
    // One that no relay takes was tried: the next is due in its time, not at once.
    goodbyeSent(s, of);
  }
  message.delivered ||= !isRefused;
}
