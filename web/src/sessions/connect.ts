// Offers and answers: from the wish to connect to a proven channel.

import { type Bytes, equal } from '../bytes.js';
import {
  type Contact,
  connectoidOf,
  type Ended,
  isUnconnected,
  mayExchange,
  ownBox,
  signingKey,
} from '../contact.js';
import { fail } from '../errors.js';
import { type Frame, formatFrame, parseFrame } from '../frame.js';
import { compressedBytes, type PublicKey } from '../keys.js';
import { fingerprintOf } from '../sdp.js';
import { type Content, hashOf, readOffer, sealMessage } from '../seal/message.js';
import { sasCommit, sasOf, transcript } from '../seal/transcript.js';
import {
  type Answer,
  begin,
  CANDIDATE_MESSAGES_MAX,
  deadline,
  handshakeFrame,
  hello,
  isJoined,
  type Stage,
  stageOf,
} from './channel.js';
import { type Letter, type Message, post, recallOffers } from './outbox.js';
import type { SessionId } from './output.js';
import { boxConfirmed, peerMoves, rekey } from './rekey.js';
import { alarm, HOUR, type Live, lives, MINUTE, type State, storeOf, tell } from './state.js';

/** When offers are made, after the wish to connect; then every hour. */
const TRIES = [0, 5 * MINUTE, 15 * MINUTE, 50 * MINUTE];

/** How long offers are made. */
const GIVE_UP = 48 * HOUR;

/** How long after a relay took a message an answer is waited for there, rather than looked for once a minute. */
const EXPECTING = 2 * MINUTE;

/** How long one's own offer stands against an incoming one. */
const OFFER_STANDS = MINUTE;

/** How old an offer may be that was stored and not answered: later its sender has made another. */
const OFFER_ANSWERABLE = 5 * MINUTE;

/** The answers to offers on a link of which no proof came; then the link closes. */
export const ANSWERS_MAX = 50;

/** The offers made by now, if so many were made and so much time passed: those that were missed are not made up for. */
export function triesBy(tries: number, passed: number): number {
  while (tries && afterTries(tries) <= passed) tries++;
  return tries;
}

/** When the offer after so many is due, after the wish to connect. */
export function afterTries(tries: number): number {
  return TRIES[tries] ?? 50 * MINUTE + (tries - 3) * HOUR;
}

/** Seals a message to the box of the other side, with the next counter: it must be stored before the message is sent. */
export async function seal(s: State, contact: Contact, content: Content) {
  const to = contact.peer?.connectoid;
  const key = await signingKey(contact, s.extractable);
  const sealed = to && (await sealMessage(to.key, to.secret, key, ++contact.signer.n, s.now, content));
  return sealed && { ...sealed, to };
}

/**
 * Sends a message to the other side, after its counter was stored, and what `then` changes. An offer or answer that is too big ends
 * its session; the next try makes another.
 */
export async function send(
  s: State,
  live: Live,
  letter: Letter,
  content: Content,
  then?: (payload: Bytes) => void | Promise<void>,
): Promise<Message> {
  const sealed = await seal(s, live.contact, content);
  if (!sealed) {
    if (letter === 'offer' || letter === 'answer') dropPending(s, live);
    tooBig();
  }
  await then?.(sealed.payload);
  storeOf(s, live);
  return post(s, live, letter, sealed.to.key, sealed.to, sealed.data);
}

export function tooBig(): never {
  fail('too-big');
}

/** The session of this id, if the app may do now what it wants to. */
function waiting<A extends Stage['at']>(s: State, id: SessionId, ...ats: A[]) {
  const live = pendingOf(s, id);
  const { contact, pending } = live ?? {};
  const stage = ats.map(at => stageOf(live, at)).find(stage => stage);
  const peer = contact?.peer;
  if (!live || !contact || !pending || !stage || !peer) fail('over');
  return { live, contact, pending, stage, peer };
}

/** The fingerprint of an SDP of this side. Without one the session is over; the next try makes another. */
function ownFingerprint(s: State, live: Live, sdp: string): Bytes {
  const fingerprint = fingerprintOf(sdp);
  if (fingerprint) return fingerprint;
  dropPending(s, live);
  fail('fingerprint');
}

/** The offer of a peer connection that `make-offer` asked for. */
export async function localOffer(s: State, id: SessionId, sdp: string): Promise<void> {
  const { live, contact, pending, peer } = waiting(s, id, 'making-offer');
  const own = ownFingerprint(s, live, sdp);
  const box = contact.boxes.at(-1);
  if (!box) return;
  const connectoid = connectoidOf(box);
  const rO = s.random(32);
  const { pub } = await signingKey(contact, s.extractable);
  const commit = await sasCommit(rO, connectoid.key, pub);
  const { secret } = peer.connectoid;
  await send(s, live, 'offer', { typ: 'offer', connectoid, sasCommit: commit, sdp }, async payload => {
    const hash = await hashOf(payload);
    pending.stage = { at: 'offered', hash, payload, rO, secretO: secret, own, since: s.elapsed };
  });
}

/** The answer of a peer connection that `make-answer` asked for. */
export async function localAnswer(s: State, id: SessionId, sdp: string): Promise<void> {
  const { live, contact, pending, stage, peer } = waiting(s, id, 'making-answer');
  const own = ownFingerprint(s, live, sdp);
  const rA = s.random(32);
  const { secret } = peer.connectoid;
  await send(s, live, 'answer', { typ: 'answer', re: stage.hash, sasNonce: rA, sdp }, async payload => {
    // An offer's connectoid has a secret.
    const joint = await transcript(stage.payload, payload, stage.secretO, secret ?? new Uint8Array());
    pending.stage = { ...stage, at: 'joined', transcript: joint, rA, own, since: s.elapsed };
    delete peer.unanswered;
    if (contact.link) contact.link.answered++;
  });
}

/** Candidates that came after the offer or answer was handed over. Of the messages with them, those above three are not sent. */
export async function localCandidates(
  s: State,
  id: SessionId,
  candidates: RTCIceCandidateInit[],
): Promise<void> {
  const { live, pending, stage } = waiting(s, id, 'offered', 'joined');
  if (pending.candidatesSent++ >= CANDIDATE_MESSAGES_MAX) return;
  await send(s, live, 'candidates', { typ: 'candidate', re: stage.hash, candidates });
}

/** The app does not want this session: the offer that it was asked to answer is refused. */
export async function decline(s: State, id: SessionId): Promise<void> {
  const { live, stage, peer } = waiting(s, id, 'making-answer');
  await send(s, live, 'refusal', { typ: 'refuse', re: stage.hash, reason: 'declined' }, () => {
    delete peer.unanswered;
  });
  dropPending(s, live);
}

/** The data channel `connectoid` of a session is open, and this is the certificate of its other end as far as it shows. */
export function channelOpen(s: State, id: SessionId, certificate: Bytes | undefined): void {
  const live = pendingOf(s, id);
  const joined = stageOf(live, 'joined');
  if (!live) {
    close(s, id);
  } else if (!joined) {
    dropPending(s, live);
  } else if (certificate && !equal(certificate, joined.peer)) {
    alarm(s, live, 'foreign-certificate');
    dropPending(s, live);
  } else if (!joined.handshake) {
    sendFrame(s, id, hello(s, joined));
  }
}

/** A text frame came on the data channel `connectoid` of a session. */
export async function frameCame(s: State, id: SessionId, text: string): Promise<void> {
  const parsed = parseFrame(text);
  const frame = typeof parsed === 'object' ? parsed : undefined;
  const live = pendingOf(s, id);
  const open = openOf(s, id);
  if (live) {
    const joined = stageOf(live, 'joined');
    const next = joined && frame && (await handshakeFrame(joined, frame));
    if (next instanceof Uint8Array) {
      await proven(s, live, next);
    } else if (typeof next === 'object') {
      sendFrame(s, id, next);
    } else {
      if (next) alarm(s, live, next);
      dropPending(s, live);
    }
  } else if (open) {
    if (frame?.t === 'rekey') peerMoves(s, open, frame.connectoid);
    else if (frame?.t === 'rekey-ok') boxConfirmed(s, open, frame.pub);
    // One of a type after this version is ignored.
    else if (parsed !== 'type') closeSessions(s, open);
  }
}

/** The peer connection or its data channel ended, or could not be made. `onPurpose`: the other side ended the session. */
export function channelClosed(s: State, id: SessionId, onPurpose?: boolean): void {
  const pending = pendingOf(s, id);
  // The offer may still be answered with another try of the other side; a joined session cannot.
  if (pending) dropPending(s, pending);
  const open = openOf(s, id);
  if (open) sessionEnded(s, open, onPurpose);
}

/** When the next offer of a contact is due, if it is connecting. */
export function planNextTry(s: State, live: Live): void {
  const { connecting } = live.contact;
  if (!connecting) return;
  const passed = Math.max(s.now - connecting.since, 0);
  connecting.tries = triesBy(connecting.tries, passed);
  live.nextTry = s.elapsed + Math.max(afterTries(connecting.tries) - passed, 0);
}

/**
 * While the device slept its steady clock may have stood still: a try that the time of day says was missed is due now. What the
 * library tries by itself begins anew with it.
 */
export function tryNowIfMissed(s: State, live: Live): void {
  const { connecting } = live.contact;
  wantAgain(live);
  if (!connecting || afterTries(connecting.tries) > s.now - connecting.since) return;
  live.nextTry = s.elapsed;
  if (connecting.byItself) Object.assign(connecting, { since: s.now, tries: 0 });
}

/** That it was given up does not hold any more where a connection is wanted: somebody may be there by now. */
export function wantAgain({ contact }: Live): void {
  if (contact.wanted) delete contact.ended;
}

/**
 * An attempt at a session, or a session, came to nothing: who goes on trying does so at once, until a session is proven only the first
 * time. `isAwaited`: the other side lost the session, and waits for an offer.
 */
export function tryAtOnce(s: State, name: string, isAwaited?: boolean): void {
  const live = s.contacts.get(name);
  if (!live || live.open || live.pending || live.retried) return;
  live.retried = true;
  if (isAwaited && !live.contact.connecting) tryNow(s, live, s.keeps);
  if (live.contact.connecting) live.nextTry = s.elapsed;
}

/** Makes an offer, unless one is under way, and goes on with others. If a channel is on its way, as soon as that comes to nothing. */
export function tryNow(s: State, live: Live, byItself?: boolean): void {
  const { contact, brief } = live;
  // What breaks again and again is not made anew at once.
  const tries = isUnderWay(s, live) ? 1 : byItself && brief ? brief - 1 : 0;
  contact.connecting = { since: s.now, tries, byItself };
  delete contact.ended;
  storeOf(s, live);
  planNextTry(s, live);
}

/** Asks for an offer if one is due; gives up after 48 hours, but not before a try that was missed is made. */
export function tryAgain(s: State, live: Live): void {
  const { connecting, name } = live.contact;
  // An answer came: what is under way is not thrown away for another offer.
  if (!connecting || live.nextTry > s.elapsed || isJoined(live)) return;
  dropPending(s, live);
  if (Math.min(s.now - connecting.since, afterTries(connecting.tries)) >= GIVE_UP) {
    endTrying(s, live, 'gave-up');
    return;
  }
  // Counted and planned now: whatever becomes of this offer, another follows.
  connecting.tries++;
  planNextTry(s, live);
  const session = begin(s, live, { at: 'making-offer' });
  // While a session is open, an offer is made only to find it another way.
  s.outputs.push({ do: 'make-offer', session, contact: name, renews: live.open?.id });
}

/** An attempt to connect came to an end without a session. One that nobody answered may be made again by itself, at the next start. */
export function endTrying(s: State, live: Live, ended: Ended): void {
  const { contact } = live;
  contact.ended = ended;
  if (ended !== 'gave-up') delete contact.wanted;
  stopTrying(s, live);
  storeOf(s, live);
  tell(s, live, ended);
}

/** No more offers are made, by itself neither. Stores the contact, if any were to be made. */
export function giveUp(s: State, live: Live): void {
  const { contact } = live;
  if (contact.wanted) storeOf(s, live);
  delete contact.wanted;
  stopTrying(s, live);
}

/** No more offers are made; one on its way is recalled. Stores the contact, if any were to be made. */
export function stopTrying(s: State, live: Live): void {
  const { contact } = live;
  if (contact.connecting) storeOf(s, live);
  delete contact.connecting;
  live.nextTry = Infinity;
  recallOffers(s, live);
}

/** Whether an offer or answer of this contact is on its way, which the next offer must wait for. */
export function isUnderWay(s: State, live: Live): boolean {
  return !!live.pending && !isJoined(live) && (!stageOf(live, 'offered') || isFresh(s, live));
}

/** Whether there is an outstanding offer that stands against an incoming one. */
function isFresh(s: State, live: Live): boolean {
  const offered = stageOf(live, 'offered');
  return !!offered && s.elapsed - offered.since < OFFER_STANDS;
}

/** Has the stored offer of a contact answered, if it has one that can still be. */
export async function answer(s: State, live: Live): Promise<void> {
  const { contact } = live;
  const { peer } = contact;
  if (!peer?.unanswered) return;
  const { payload, to, came } = peer.unanswered;
  const own = ownBox(contact, to);
  const offer = readOffer(payload);
  const fingerprint = offer && fingerprintOf(offer.sdp);
  const { ik } = peer;
  if (!own || !ik || !fingerprint || s.now - came > OFFER_ANSWERABLE) {
    delete peer.unanswered;
    return;
  }
  const hash = await hashOf(payload);
  dropPending(s, live);
  recallOffers(s, live);
  const { sdp } = offer;
  const stage = {
    at: 'making-answer',
    hash,
    payload,
    offer,
    ik,
    secretO: own.secret,
    peer: fingerprint,
  } as const;
  const session = begin(s, live, stage);
  s.outputs.push({ do: 'make-answer', session, contact: contact.name, sdp });
}

/** Whether an incoming offer of this key gives way to the own one: both offered at once, and the lower key answers. */
export function ownOfferStands(s: State, live: Live, ik: PublicKey): boolean {
  const { key } = live.contact.signer;
  return !!key && isFresh(s, live) && inOrder(ik) < inOrder(key.pub);
}

/** A text that sorts as the bytes of a key do. */
function inOrder(key: PublicKey): string {
  return String.fromCharCode(...compressedBytes(key));
}

/** The answer to the outstanding offer came, to this own box. */
export async function join(
  s: State,
  live: Live,
  to: PublicKey,
  ik: PublicKey,
  payload: Bytes,
  { sasNonce, sdp }: Answer,
): Promise<void> {
  const { pending } = live;
  const offered = stageOf(live, 'offered');
  const secretA = ownBox(live.contact, to)?.secret;
  const peer = fingerprintOf(sdp);
  if (!pending || !offered || !secretA || !peer) return;
  const joint = await transcript(offered.payload, payload, offered.secretO, secretA);
  pending.stage = { ...offered, at: 'joined', transcript: joint, ik, rA: sasNonce, peer, since: s.elapsed };
  recallOffers(s, live);
  s.outputs.push({ do: 'accept-answer', session: pending.id, sdp });
}

/** The other side proved that it made the offer or answer: its key is pinned, the session open. */
async function proven(s: State, live: Live, sas: Bytes): Promise<void> {
  const { contact, pending, open: before } = live;
  const { peer, link } = contact;
  const joined = stageOf(live, 'joined');
  if (!joined || !pending || peer?.ik !== joined.ik) {
    // Another key took its place while the channel was made.
    dropPending(s, live);
    return;
  }
  const { id } = pending;
  peer.pinned = true;
  contact.sas ??= sas;
  contact.lastSeen = s.now;
  contact.wanted = s.keeps;
  delete contact.connecting;
  delete contact.ended;
  if (link) {
    link.answered = 0;
    if (isUnconnected(link)) link.state = 'connected';
  }
  live.nextTry = Infinity;
  live.retried = false;
  live.pending = undefined;
  live.open = { id, moves: 0, since: s.elapsed };
  storeOf(s, live);
  tell(s, live, 'connected', {
    session: id,
    sas: sasOf(contact.sas),
    mayExchange: mayExchange(contact),
    offerer: !joined.offer,
  });
  if (before) close(s, before.id);
  await rekey(s, live, id);
}

/**
 * Closes a link that is answered again and again without anybody proving to be there: somebody guesses strings. Whether it is
 * closed.
 */
export function tooManyOffers(s: State, live: Live): boolean {
  const { link, peer } = live.contact;
  if (!link || !isUnconnected(link) || link.answered < ANSWERS_MAX) return false;
  link.state = 'closed';
  // Nor after a restart.
  delete peer?.unanswered;
  storeOf(s, live);
  alarm(s, live, 'too-many-offers');
  dropPending(s, live);
  return true;
}

/** Gives up a channel on which the other side does not prove itself in time. */
export function giveUpHandshake(s: State, live: Live): void {
  if (deadline(live) <= s.elapsed) dropPending(s, live);
}

/** Answers or offers may come any moment. */
export function expect(s: State, live: Live): void {
  live.expecting = s.elapsed + EXPECTING;
}

export function closeSessions(s: State, live: Live): void {
  dropPending(s, live);
  if (!live.open) return;
  close(s, live.open.id);
  sessionEnded(s, live, true);
}

/** Packets get through again in an open session: no other path is needed. */
export function resumed(s: State, name: string): void {
  const live = s.contacts.get(name);
  if (live?.open) stopTrying(s, live);
}

function sessionEnded(s: State, live: Live, onPurpose?: boolean): void {
  live.brief = !onPurpose && s.elapsed - (live.open?.since ?? 0) < MINUTE ? live.brief + 1 : 0;
  live.open = undefined;
  live.contact.lastSeen = s.now;
  // Whoever ends it, for whatever reason, does not want it made again at once.
  if (onPurpose) giveUp(s, live);
  tell(s, live, 'disconnected');
}

export function dropPending(s: State, live: Live): void {
  if (live.pending) close(s, live.pending.id);
  live.pending = undefined;
}

function close(s: State, session: SessionId): void {
  s.outputs.push({ do: 'close', session });
}

export function sendFrame(s: State, session: SessionId, frame: Frame): void {
  s.outputs.push({ do: 'frame', session, text: formatFrame(frame) });
}

function pendingOf(s: State, id: SessionId): Live | undefined {
  return lives(s).find(({ pending }) => pending?.id === id);
}

function openOf(s: State, id: SessionId): Live | undefined {
  return lives(s).find(({ open }) => open?.id === id);
}
