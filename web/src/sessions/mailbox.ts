// The own boxes at a relay: check, open the question, receive, hand on, acknowledge.
//
// All boxes at one relay are asked about in one check: once a minute, or waiting at the relay while something is expected. What a
// relay says is believed only as far as it does no harm: `at` is a hint, and every half hour all is asked for again.

import { type OwnBox, ownBox, readBoxes } from '../contact.js';
import {
  BOXES_MAX,
  type CheckedMany,
  checkManyBody,
  deleteBody,
  type NoReply,
  type Page,
  readCheckedMany,
  readDone,
  readReceived,
  receiveBody,
} from '../exchange.js';
import type { PublicKey } from '../keys.js';
import type { RelayUrl } from '../relay-url.js';
import { openQuestion } from '../seal/question.js';
import { type Taken, take } from './inbox.js';
import type { Misbehaviour } from './output.js';
import { ask, cancel, misbehaves, PAGE_FAULTS, PAUSE_FIRST, pauseAfter, soonest } from './requests.js';
import { HOUR, type Live, lives, MINUTE, SECOND, type State } from './state.js';

/** The time between two checks while nothing is expected. */
const CHECK_EVERY = MINUTE;

/** The time between two checks while something is expected of a relay that lets nobody wait. */
const SHORT_PAUSE = 5 * SECOND;

/** How long a check may wait at the relay, in seconds. */
const CHECK_WAIT = 25;

/** How often all is asked for again, whatever the cursors say. */
const CURSOR_RESET = 30 * MINUTE;

/** How far ahead of this device's clock a cursor may be, in milliseconds. Further, it would hide what comes. */
const CURSOR_AHEAD = 24 * HOUR;

/** How many checks in a row that find something new follow each other at once. */
const IN_A_ROW = 8;

/** The messages in one reply. */
const LIMIT_MAX = 32;

/** The most replies read from one box in one go. One that never ends must not keep us for ever. */
const REPLIES_MAX = 64;

/** All boxes at one relay that are asked about with one `ext`. Times are on the clock of `Turn.elapsed`. */
export interface Relay {
  url: RelayUrl;
  ext: string | undefined;
  boxes: Mailbox[];
  checking?: { id: number; boxes: Mailbox[]; since: number; waits: boolean } | undefined;
  /** When the next check is due. */
  due: number;
  /** The failures, or the checks that found nothing new after all, since the last that was of use. */
  vain: number;
  /** The checks in a row that found something new. */
  inARow: number;
  /** From which box on the next check asks: only relevant above a hundred. */
  next: number;
}

/** One box at one relay. */
interface Mailbox {
  key: PublicKey;
  live: Live;
  /** What was received already, as this relay says. */
  at: number;
  /** When all is to be asked for again. */
  fromStart: number;
  receiving?: Receiving | undefined;
}

/** What comes of one go. */
interface Receiving extends Taken {
  answer: string;
  /** The cursor within this go, which may be one that is not believed. */
  at: number;
  replies: number;
}

/** When the next checks are due. */
export function checksDueAt(s: State): number[] {
  return s.relays.filter(relay => isReady(s, relay, Math.max(relay.due, s.elapsed))).map(({ due }) => due);
}

/** Whether a check can be made at this time. While nobody is there, only where a connection is wanted. */
function isReady(s: State, { checking, boxes }: Relay, elapsed: number): boolean {
  const isWanted = !s.idle || boxes.some(({ live }) => live.contact.connecting || live.expecting > elapsed);
  return !checking && !!boxes.length && isWanted && !boxes.some(({ receiving }) => receiving);
}

/** Whether anything is awaited at a relay, so that waiting there is worth it. */
function isExpecting(s: State, { boxes }: Relay): boolean {
  return (s.foreground && !s.idle) || boxes.some(({ live }) => live.expecting > s.elapsed);
}

/** Whether a check is of all boxes at a relay. */
function fitsIntoOne({ boxes }: Relay): boolean {
  return boxes.length <= BOXES_MAX;
}

/**
 * The pause until the next check, if one that waits at the relay does not go at once. A relay takes 600 boxes a minute; above a
 * hundred boxes there is no waiting, so more of them are looked for less often.
 */
function pause({ boxes }: Relay, expecting: boolean): number {
  const short = Math.max(SHORT_PAUSE, (boxes.length / 8) * SECOND);
  return expecting ? Math.min(short, CHECK_EVERY) : CHECK_EVERY;
}

/** Backs off after something that was of no use. */
function inVain(s: State, relay: Relay): void {
  relay.due = soonest(s, relay.url, pauseAfter(relay.vain++));
}

/** Sends the checks that are due, after looking which boxes there are by now. */
export function checkDue(s: State): void {
  gatherBoxes(s);
  for (const relay of s.relays) {
    const expecting = isExpecting(s, relay);
    const { checking } = relay;
    // A wait that does not know of a box would not be woken by it.
    const misses = checking?.waits && relay.boxes.some(mailbox => !checking.boxes.includes(mailbox));
    if (misses && fitsIntoOne(relay)) dropCheck(s, relay);
    if (expecting && !relay.vain && relay.due > s.elapsed + pause(relay, true)) relay.due = s.elapsed;
    if (relay.due <= s.elapsed && isReady(s, relay, s.elapsed)) check(s, relay, expecting);
  }
}

/** Drops the checks under way, whose connections may be dead, and makes all due, but at relays that want to be left alone. */
export function checkNow(s: State): void {
  for (const relay of s.relays) {
    dropCheck(s, relay);
    if (relay.due <= s.elapsed) relay.vain = 0;
  }
}

function dropCheck(s: State, relay: Relay): void {
  cancel(s, relay.checking?.id);
  relay.checking = undefined;
  relay.due = soonest(s, relay.url);
}

function check(s: State, relay: Relay, expecting: boolean): void {
  const { url, ext } = relay;
  const since = s.elapsed;
  const waits = expecting && fitsIntoOne(relay);
  if (relay.next >= relay.boxes.length || fitsIntoOne(relay)) relay.next = 0;
  const boxes = relay.boxes.slice(relay.next, relay.next + BOXES_MAX);
  for (const mailbox of boxes) {
    if (since < mailbox.fromStart) continue;
    mailbox.at = 0;
    mailbox.fromStart = since + CURSOR_RESET;
  }
  relay.next += boxes.length;
  const wait = waits ? CHECK_WAIT : 0;
  const body = checkManyBody(boxes, ext, url, wait);
  const id = ask(s, url, body, readCheckedMany, read => checked(s, relay, read), wait);
  relay.checking = { id, boxes, since, waits };
}

/** Makes the list of boxes at each relay what the contacts have by now. */
function gatherBoxes(s: State): void {
  if (!s.boxesChanged) return;
  s.boxesChanged = false;
  for (const relay of s.relays) {
    relay.boxes = relay.boxes.filter(({ key, live }) =>
      readBoxes(live.contact).some(own => own.key.pub === key),
    );
  }
  for (const live of lives(s)) {
    for (const { key, relays, ext } of readBoxes(live.contact)) {
      for (const url of relays) {
        let relay = s.relays.find(relay => relay.url === url && relay.ext === ext);
        if (!relay) {
          relay = { url, ext, boxes: [], due: s.elapsed, vain: 0, inARow: 0, next: 0 };
          s.relays.push(relay);
        }
        if (relay.boxes.some(mailbox => mailbox.key === key.pub)) continue;
        relay.boxes.push({ key: key.pub, live, at: 0, fromStart: s.elapsed });
        if (!relay.vain) relay.due = s.elapsed;
      }
    }
  }
  s.relays = s.relays.filter(({ boxes, checking }) => boxes.length || checking);
}

async function checked(s: State, relay: Relay, read: CheckedMany | NoReply): Promise<void> {
  const { checking, url } = relay;
  if (!checking) return;
  relay.checking = undefined;
  if ('failure' in read) {
    inVain(s, relay);
    return;
  }
  if (!read.found && !read.boxes.length) {
    const expecting = isExpecting(s, relay);
    relay.vain = relay.inARow = 0;
    // At once, if it waited, or if there are more boxes, or if the next one waits.
    const atOnce = checking.waits
      ? s.elapsed >= checking.since + SHORT_PAUSE
      : relay.next < relay.boxes.length || (expecting && fitsIntoOne(relay));
    relay.due = s.elapsed + (atOnce ? 0 : checking.waits ? SHORT_PAUSE : pause(relay, expecting));
    return;
  }
  // Until something came of it.
  relay.due = s.elapsed + CHECK_EVERY;
  const found = new Map(
    read.boxes.map(({ key, question }) => [checking.boxes.find(mailbox => mailbox.key === key), question]),
  );
  // Each was asked about, and is named once.
  if (!read.found || !found.size || found.size < read.boxes.length || found.has(undefined)) {
    misbehaved(s, relay, 'no-question');
    return;
  }
  const goes: [Mailbox, Receiving][] = [];
  for (const [mailbox, question] of found) {
    // It may be gone by now.
    const own = mailbox && relay.boxes.includes(mailbox) && ownBox(mailbox.live.contact, mailbox.key);
    if (!own) continue;
    const { answer, what } = await answerTo(own, url, read.relay, question);
    if (what) {
      misbehaved(s, relay, what);
      return;
    }
    const { at } = mailbox;
    goes.push([mailbox, { answer, at, replies: 0, complete: true, news: false, junk: false }]);
  }
  for (const [mailbox, receiving] of goes) receive(s, relay, mailbox, receiving);
}

/** The answer to the question of a relay about a box. If that is another relay's, or none about this box, nothing is answered. */
export async function answerTo(
  own: OwnBox,
  relay: RelayUrl,
  named: string | undefined,
  question: string | undefined,
): Promise<{ answer: string; what?: undefined } | { what: Misbehaviour; answer?: undefined }> {
  // Only the URL that was contacted counts: another relay's question must not be answered here.
  if ((named ?? relay) !== relay) return { what: 'other-relay' };
  if (question === undefined) return { what: 'no-question' };
  const answer = await openQuestion(own.key, relay, question).catch(() => undefined);
  return answer === undefined ? { what: 'foreign-question' } : { answer };
}

/** Asks for the next messages of a box. */
function receive(s: State, relay: Relay, mailbox: Mailbox, receiving: Receiving): void {
  const { answer, at } = receiving;
  mailbox.receiving = receiving;
  const body = receiveBody(mailbox.key, relay.ext, answer, at, LIMIT_MAX);
  ask(
    s,
    relay.url,
    body,
    reply => readReceived(reply, at, LIMIT_MAX),
    read => received(s, relay, mailbox, receiving, read),
  );
}

async function received(
  s: State,
  relay: Relay,
  mailbox: Mailbox,
  receiving: Receiving,
  read: Page | NoReply,
): Promise<void> {
  const { key, live } = mailbox;
  const { url } = relay;
  mailbox.receiving = undefined;
  if (!relay.boxes.includes(mailbox)) return;
  if ('failure' in read) {
    if (read.failure === 'misbehaves' && PAGE_FAULTS.includes(read.what)) leaveAlone(s, relay);
    else inVain(s, relay);
    return;
  }
  const { at, messages, more } = read;
  if (messages.length) {
    await take(s, live, key, url, messages, receiving);
    receiving.at = at;
    receiving.replies++;
    if (at > (s.now + CURSOR_AHEAD) * 1000) misbehaves(s, url, 'cursor-ahead');
    else mailbox.at = at;
  }
  if (!more) receivedAll(s, relay, mailbox, receiving);
  else if (receiving.replies >= REPLIES_MAX) misbehaved(s, relay, 'no-end');
  else receive(s, relay, mailbox, receiving);
}

/** Everything that a box held was taken and stored: the relay need not keep it. */
function receivedAll(s: State, relay: Relay, { key }: Mailbox, receiving: Receiving): void {
  const { answer, at, replies, complete, news, junk } = receiving;
  if (news) {
    // Again at once, for more may have come, but not for ever: each message costs a write to the disk.
    relay.vain = 0;
    relay.due = s.elapsed + (++relay.inARow % IN_A_ROW ? 0 : PAUSE_FIRST);
  } else {
    inVain(s, relay);
    // A stranger's junk must not hold up what is awaited.
    if (junk && isExpecting(s, relay)) relay.due = Math.min(relay.due, s.elapsed + SHORT_PAUSE);
  }
  if (complete && replies) {
    ask(s, relay.url, deleteBody(key, relay.ext, answer, at), readDone, () => {});
  }
}

/** Names what a relay did, and leaves it alone for a minute. */
function misbehaved(s: State, relay: Relay, what: Misbehaviour): void {
  misbehaves(s, relay.url, what);
  leaveAlone(s, relay);
}

function leaveAlone(s: State, relay: Relay): void {
  relay.vain++;
  relay.due = s.elapsed + CHECK_EVERY;
}
