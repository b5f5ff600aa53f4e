// What comes out of an own box: opened, counted, and what it leads to.

import type { Bytes } from '../bytes.js';
import {
  answersWith,
  count,
  isLedHereBy,
  linkBox,
  mayExchange,
  offersFrom,
  peerAt,
  peerSignsWith,
  pinned,
  readBoxes,
  takeNote,
} from '../contact.js';
import { generateSigningKey, type PublicKey } from '../keys.js';
import type { RelayUrl } from '../relay-url.js';
import { hashOf, type Junk, type Opened, openMessage, sealMessage } from '../seal/message.js';
import { type Answer, CANDIDATE_MESSAGES_MAX, type Offer, stageOf } from './channel.js';
import {
  answer,
  closeSessions,
  dropPending,
  endTrying,
  join,
  ownOfferStands,
  tooManyOffers,
} from './connect.js';
import { post } from './outbox.js';
import type { Skip } from './output.js';
import { boxUsed } from './rekey.js';
import { alarm, isOwn, type Live, type State, storeOf, tell } from './state.js';
import { leave } from './unshare.js';

/** The offers of others on one link that are refused; more get no reply. */
const REFUSALS_MAX = 8;

/** What became of messages, of these and those before. */
export interface Taken {
  /** Whether all were understood, so that the relay need not keep them. */
  complete: boolean;
  /** Whether anything was new. */
  news: boolean;
  /** Whether anything was sealed by somebody who may not, which is not the relay's fault. */
  junk: boolean;
}

/** An offer that was opened. */
type Incoming = Omit<Opened, 'content'> & { content: Offer };

/** Where messages come from: an own box of a contact, at a relay. */
interface Source {
  live: Live;
  key: PublicKey;
  relay: RelayUrl;
}

/** Takes messages out of the box `key` of a contact, in the order of their cursors; `taken` says what became of them. */
export async function take(
  s: State,
  live: Live,
  key: PublicKey,
  relay: RelayUrl,
  messages: { data: Bytes }[],
  taken: Taken,
): Promise<void> {
  const from: Source = { live, key, relay };
  const offers: Incoming[] = [];
  // Candidates may come with the offer they belong to, whose signer is not known before that is taken.
  const later: Bytes[] = [];
  const takeOne = async (data: Bytes, isFirst: boolean) => {
    const opened = await open(from, data);
    if (!opened) {
      // WebCrypto failed, which passes: it stays at the relay.
      taken.complete = false;
    } else if (opened === 'signer' && isFirst) {
      later.push(data);
    } else if (typeof opened === 'string') {
      // What is for a newer program stays at the relay.
      taken.junk ||= opened !== 'link-closed';
      taken.complete &&= opened !== 'version' && opened !== 'type';
      skipped(s, from, opened);
    } else if (isOffer(opened)) {
      // Whether it is new is seen below.
      offers.push(opened);
    } else {
      const why = await use(s, from, opened);
      if (why) skipped(s, from, why);
      else taken.news = true;
      // What finds no room now stays there, too.
      taken.complete &&= why !== 'inbox-full';
    }
  };
  for (const { data } of messages) await takeOne(data, true);
  if (await takeOffers(s, from, offers)) taken.news = true;
  for (const data of later) await takeOne(data, false);
}

function isOffer(opened: Opened): opened is Incoming {
  return opened.content.typ === 'offer';
}

function skipped(s: State, { live, relay }: Source, why: Skip): void {
  tell(s, live, 'skipped', { relay, why });
}

async function open({ live, key }: Source, data: Bytes): Promise<Opened | Junk | 'link-closed' | undefined> {
  const { contact, pending } = live;
  // Not those of a link that closed while this was on its way.
  const own = readBoxes(contact).find(own => own.key.pub === key);
  if (!own) return 'link-closed';
  const known = (re: string | undefined) =>
    re === undefined ? pinned(contact) : re === pending?.stage.hash ? contact.peer?.ik : undefined;
  return openMessage(own.key, own.secret, known, data).catch(() => undefined);
}

/** Does what a message says that is no offer; or says why not. */
async function use(s: State, from: Source, opened: Opened): Promise<Skip | undefined> {
  const { live, key, relay } = from;
  const { contact, pending } = live;
  const { ik, n, ts, content } = opened;
  switch (content.typ) {
    case 'answer':
      return takeAnswer(s, from, opened, content);
    case 'candidate': {
      const why = counted(live, ik, n);
      if (why) return why;
      boxUsed(s, live, key);
      storeOf(s, live);
      if (pending && pending.candidatesTaken < CANDIDATE_MESSAGES_MAX) {
        pending.candidatesTaken++;
        s.outputs.push({ do: 'add-candidates', session: pending.id, candidates: content.candidates });
      }
      return undefined;
    }
    case 'refuse': {
      if (!isOutstanding(live, content.re)) return 'no-such-offer';
      if ((pinned(contact) ?? ik) !== ik) return 'unknown-signer';
      dropPending(s, live);
      endTrying(s, live, content.reason);
      return undefined;
    }
    case 'bye': {
      const why = counted(live, ik, n);
      if (!why) leave(s, live, 'peer');
      return why;
    }
    case 'note': {
      const why = takeNote(contact, key, { relay, ik, n, ts, note: content.note });
      if (why) return why;
      if (contact.peer?.ik === ik) boxUsed(s, live, key);
      storeOf(s, live);
      tell(s, live, 'note');
      return undefined;
    }
    case 'offer':
      // Taken before.
      return undefined;
  }
}

async function takeAnswer(
  s: State,
  { live, key }: Source,
  { ik, n, payload }: Opened,
  content: Answer,
): Promise<Skip | undefined> {
  const { contact } = live;
  const known = pinned(contact);
  if (known && known !== ik) return 'unknown-signer';
  if (!isOutstanding(live, content.re)) {
    // Counted all the same, if its signer is known: it cannot become right later.
    const why = known && counted(live, ik, n);
    if (known && !why) storeOf(s, live);
    return why || 'no-such-offer';
  }
  peerSignsWith(contact, ik);
  const why = counted(live, ik, n);
  if (why) return why;
  if (contact.peer) answersWith(contact.peer, n);
  boxUsed(s, live, key);
  storeOf(s, live);
  await join(s, live, key, ik, payload, content);
  return undefined;
}

/** Whether this is the own offer that waits for an answer. */
function isOutstanding(live: Live, re: string): boolean {
  return stageOf(live, 'offered')?.hash === re;
}

/** Counts a message of the other side, if `ik` is its key; or says why not. */
function counted({ contact: { peer } }: Live, ik: PublicKey, n: number): Skip | undefined {
  if (peer?.ik !== ik) return 'unknown-signer';
  return count(peer.seen, n) ? undefined : 'repeated';
}

/**
 * Takes the offers of one batch: the first claims an open link, and of each sender only the latest counts. Whether any was new.
 */
async function takeOffers(s: State, from: Source, offers: Incoming[]): Promise<boolean> {
  const { live, key } = from;
  const { contact } = live;
  const wasOpen = contact.link?.state === 'open';
  let latest: Incoming | undefined;
  for (const incoming of offers) {
    const why = await admitOffer(s, from, incoming);
    if (why) skipped(s, from, why);
    else if (!latest || incoming.n > latest.n) latest = incoming;
  }
  const { peer } = contact;
  if (!latest || !peer) return false;
  const { ik, n, payload, content } = latest;
  if (!offersFrom(peer, content.connectoid, n)) {
    storeOf(s, live);
    skipped(s, from, 'overtaken');
    return true;
  }
  const stands = ownOfferStands(s, live, ik);
  if (stands) delete peer.unanswered;
  else peer.unanswered = { payload, to: key, came: s.now };
  boxUsed(s, live, key);
  storeOf(s, live);
  if (wasOpen && contact.link?.state === 'claimed') tell(s, live, 'claimed');
  if (!stands && !tooManyOffers(s, live)) await answer(s, live);
  return true;
}

/** Whether an offer may be answered: it is counted then. Claims an open link. */
async function admitOffer(s: State, { live, key }: Source, incoming: Incoming): Promise<Skip | undefined> {
  const { contact } = live;
  const { link, peer } = contact;
  const { ik, n, content } = incoming;
  const { connectoid } = content;
  if (isOwn(s, connectoid.key)) return 'own-box';
  if (contact.leaving) return 'link-closed';
  if (isLedHereBy(contact, connectoid)) return 'this-machine';
  // Counters begin at 1.
  if (!n) return 'repeated';
  if (link && linkBox(contact)?.key.pub === key) {
    if (peer?.ik !== ik) {
      if (link.state !== 'open') return refuse(s, live, incoming);
      // What does not count must not claim.
      const notes = contact.seen.find(notes => notes.ik === ik);
      if (notes && !count([...notes.n], n)) return 'repeated';
      link.state = 'claimed';
      link.claimed = s.now;
      contact.peer = peerAt(connectoid);
      peerSignsWith(contact, ik);
    }
  } else if (!link && peer && !peer.ik) {
    // Who knows the secret of a box that awaits its first answer has it from the offer.
    peerSignsWith(contact, ik);
  }
  return counted(live, ik, n);
}

/** Somebody else uses a link that is taken: both are told. */
async function refuse(s: State, live: Live, { payload, content }: Incoming): Promise<Skip> {
  const { contact } = live;
  const { link } = contact;
  const re = await hashOf(payload);
  if (!link || link.refused.includes(re)) return 'repeated';
  if (link.refused.length >= REFUSALS_MAX) return 'unknown-signer';
  const couldExchange = mayExchange(contact);
  const isFirst = link.usedTwice === undefined;
  link.refused.push(re);
  link.usedTwice ??= s.now;
  contact.unproven = true;
  storeOf(s, live);
  if (isFirst) {
    const first = link.claimed ?? contact.made;
    alarm(s, live, 'link-used-twice', { first, second: s.now });
  }
  // Who is in the open session may be the wrong one.
  if (couldExchange && !mayExchange(contact)) closeSessions(s, live);
  // Signed by a key made for this alone: the stranger learns nothing that holds for the contact.
  const { connectoid } = content;
  const { key, secret } = connectoid;
  const refusal = { typ: 'refuse', re, reason: 'link-used' } as const;
  const sealed = await generateSigningKey(false)
    .then(throwAway => sealMessage(key, secret, throwAway, 1, s.now, refusal))
    .catch(() => undefined);
  if (sealed) post(s, live, 'refusal', key, connectoid, sealed.data);
  return 'unknown-signer';
}
