// A contact: the person and device on the other side, and all that is kept of them.
//
// What the fields mean is in the rules of `sessions/`; what is stored when is in docs/protocol.md 6.9. Everything here
// can be cloned into IndexedDB as it stands, with private keys that cannot be read out of it.

import type { Bytes } from './bytes.js';
import type { Connectoid } from './connectoid.js';
import { type BoxKey, generateBoxKey, generateSigningKey, type PublicKey, type SigningKey } from './keys.js';
import { isLoopback, type RelayUrl } from './relay-url.js';
import type { Turn } from './turn.js';

/** Who did something: this device, or the other one. */
export type Side = 'own' | 'peer';

/** What the two people said of the short authentication string. */
export type Verification = 'unverified' | 'verified' | 'mismatch';

/** How an attempt to connect ended without a session. */
export type Ended = 'link-used' | 'declined' | 'gave-up';

/** How far a link is. It never goes back. */
export type LinkState = 'open' | 'claimed' | 'connected' | 'retired' | 'closed';

/** A contact, with its keys. Never handed to an app. Times are Unix milliseconds. */
export interface Contact {
  /** The nickname; unique. */
  name: string;
  made: number;
  /** When the other side last proved to be there. */
  lastSeen?: number;
  verification: Verification;
  /** The short authentication string of the first session under the pinned keys: 8 bytes. */
  sas?: Bytes;
  /** Whether no app data may flow before the string was confirmed: the link had no secret, came in a query, or was used twice. */
  unproven: boolean;
  /** The own boxes for this contact, oldest first; the last is the one to write to. */
  boxes: OwnBox[];
  /** The link that was shared; none if it was the other side that shared one. */
  link?: SharedLink;
  signer: Signer;
  /** Who is on the other side, as far as it is known. */
  peer?: Peer;
  /** An attempt to connect that goes on. `byItself`: the app did not ask for it. */
  connecting?: { since: number; tries: number; byItself?: boolean | undefined };
  /** Whether the connection is made again by itself: it was made, and nobody ended it on purpose. */
  wanted?: boolean;
  /** When the own box was last replaced. */
  rekeyed?: number;
  /** Why there is no attempt to connect any more, until the next. */
  ended?: Ended;
  /** Who ended this contact, if it is over: what is left is to delete its boxes at the relays, and then all keys. */
  leaving?: Side;
  /** The counters of those who wrote notes to the link, against replay. */
  seen: { ik: PublicKey; n: number[] }[];
  /** Notes received and not handed over yet. */
  inbox: InboxNote[];
}

/** A mailbox of one's own. */
export interface OwnBox {
  key: BoxKey;
  /** 32 bytes; none for a link without a secret. */
  secret?: Bytes | undefined;
  relays: RelayUrl[];
  ext?: string | undefined;
  /** When the other side said that it will write here from now on. */
  confirmed?: number;
  /** Whether the other side wrote here. */
  used: boolean;
}

/** A link that was shared, and what became of it. */
export interface SharedLink {
  /** When it stops being answered if nobody used it; never, if absent. */
  expires?: number | undefined;
  state: LinkState;
  /** Since when it is retired, if it is. */
  retired?: number;
  claimed?: number;
  /** The offers answered before a proof succeeded. */
  answered: number;
  /** When somebody else was first seen to use it. */
  usedTwice?: number;
  /** Hashes of the offers of others that were refused: at most eight, each once. */
  refused: string[];
}

/** A signing key, made when it is first needed, and its counter. */
export interface Signer {
  key?: SigningKey;
  n: number;
}

/** The other side. */
export interface Peer {
  /** Where to write to. */
  connectoid: Connectoid;
  /** The highest counter of an offer or answer that counted, or seen at a move. */
  saidAt: number;
  /** Boxes that were written to before, the latest last. */
  replaced: PublicKey[];
  /** The signing key of the other side; none before its first message. */
  ik?: PublicKey;
  /** Whether a proof under `ik` succeeded; until then it is provisional. */
  pinned: boolean;
  /** The 64 highest counters seen, ascending. */
  seen: number[];
  /** An offer that is not answered yet: its payload as signed, the own box it came to, and when. */
  unanswered?: { payload: Bytes; to: PublicKey; came: number };
}

/** A note on its way from the relay to the user. */
export interface InboxNote {
  relay: RelayUrl;
  /** Who signed it; proves no more than possession of the link, unless it is the contact's pinned key. */
  ik: PublicKey;
  n: number;
  /** When it was sealed as its sender says. */
  ts: number;
  note: Bytes;
}

/** What is left of a contact that was unshared: a sealed `bye`, which is sent again for a while. */
export interface Goodbye {
  to: PublicKey;
  relays: RelayUrl[];
  ext?: string | undefined;
  data: Bytes;
  made: number;
  sent: number;
  last?: number;
}

/** The counters kept per signer: of each signer the 64 highest seen; anything below all of them is refused. */
const COUNTER_WINDOW = 64;

/** The signers of notes remembered per link. Beyond, new ones are refused: to forget one would let the relay replay its notes. */
const NOTE_SIGNERS = 1024;

/** The notes an inbox holds, and their bytes. More stay at the relay until it is emptied. */
const INBOX_NOTES = 256;
const INBOX_BYTES = 1024 * 1024;

/** The boxes of the other side that were replaced and are remembered, so that an old offer cannot bring one back. */
const REPLACED_MAX = 16;

/** How long somebody who claimed a link goes on trying to connect: 48 hours. */
const CLAIM_LIFE = 48 * 3_600_000;

/** Why a note was not taken. */
export type NotTaken = 'repeated' | 'unknown-signer' | 'inbox-full' | 'too-many-signers';

/** A contact of whom nothing is known yet but its own box. */
function newContact(name: string, own: OwnBox, unproven: boolean, made: number): Contact {
  return {
    name,
    made,
    verification: 'unverified',
    unproven,
    boxes: [own],
    signer: { n: 0 },
    seen: [],
    inbox: [],
  };
}

/** Somebody a link to `own` was made for, which is answered until `expires`. */
export function sharedContact(name: string, own: OwnBox, expires: number, made: number): Contact {
  const link: SharedLink = {
    expires: expires < Infinity ? expires : undefined,
    state: 'open',
    answered: 0,
    refused: [],
  };
  return { ...newContact(name, own, !own.secret, made), link };
}

/** Somebody whose link is used. `seen`: others saw the link on its way, in a query for instance. */
export function linkedContact(
  name: string,
  own: OwnBox,
  link: Connectoid,
  seen: boolean,
  made: number,
): Contact {
  return { ...newContact(name, own, seen || !link.secret, made), peer: peerAt(link) };
}

/** A fresh box. */
export async function generateBox(
  turn: Turn & { extractable: boolean },
  relays: RelayUrl[],
  ext: string | undefined,
): Promise<OwnBox> {
  const key = await generateBoxKey(turn.extractable);
  return { key, secret: turn.random(32), relays, ext, used: false };
}

/** All that one needs to write to a box. */
export function connectoidOf({ key, relays, ext, secret }: OwnBox): Connectoid {
  return { key: key.pub, relays, ext, secret };
}

/** The key that signs for a contact, made when it is first needed. */
export async function signingKey({ signer }: Contact, extractable: boolean): Promise<SigningKey> {
  signer.key ??= await generateSigningKey(extractable);
  return signer.key;
}

/** The own box of this key. */
export function ownBox(contact: Contact, key: PublicKey): OwnBox | undefined {
  return contact.boxes.find(own => own.key.pub === key);
}

/** The box of the link that was shared, while it is kept. */
export function linkBox({ link, boxes }: Contact): OwnBox | undefined {
  return link && link.state !== 'closed' ? boxes[0] : undefined;
}

/** Whether nobody proved yet to have used a link. */
export function isUnconnected({ state }: SharedLink): boolean {
  return state === 'open' || state === 'claimed';
}

/**
 * Whether the link has expired before anybody connected by it. Whoever claimed it has 48 hours to connect, as long as he tries.
 */
export function hasExpired(contact: Contact, now: number): boolean {
  const { expires = Infinity, claimed = -Infinity } = contact.link ?? {};
  return !pinned(contact) && now >= Math.max(expires, claimed + CLAIM_LIFE);
}

/** The boxes to read: none once the link closed before anybody connected. */
export function readBoxes(contact: Contact): OwnBox[] {
  const closed = contact.link?.state === 'closed' && !pinned(contact);
  return contact.leaving || closed ? [] : contact.boxes;
}

/**
 * Whether a connectoid of the other side has relays on this machine, though one's own are elsewhere: what posts to them would post
 * to whatever runs here.
 */
export function isLedHereBy(contact: Contact, connectoid: Connectoid): boolean {
  const ownHere = contact.boxes.every(own => own.relays.every(isLoopback));
  return !ownHere && connectoid.relays.some(isLoopback);
}

/**
 * Whether app data may flow in a session: the other side proved who it is, and the link was safe and used once, or the two people
 * compared the string.
 */
export function mayExchange(contact: Contact): boolean {
  return !!pinned(contact) && !mustVerify(contact);
}

/** Whether no app data may flow before the two people compared the string, and said that it is the same. */
export function mustVerify({ verification, unproven }: Contact): boolean {
  return verification === 'mismatch' || (unproven && verification !== 'verified');
}

/** The signing key of the other side, once a proof under it succeeded. */
export function pinned({ peer }: Contact): PublicKey | undefined {
  return peer?.pinned ? peer.ik : undefined;
}

/**
 * Takes a note that came out of the own box `to` into the inbox, once. Anyone may write one to a link that is kept, elsewhere only
 * the pinned key. What finds no room is not counted.
 */
export function takeNote(contact: Contact, to: PublicKey, note: InboxNote): NotTaken | undefined {
  const { inbox, peer, seen } = contact;
  const held = inbox.reduce((bytes, { note }) => bytes + note.length, note.note.length);
  if (inbox.length >= INBOX_NOTES || held > INBOX_BYTES) return 'inbox-full';
  const toLink = linkBox(contact)?.key.pub === to;
  let counters: number[];
  if (peer?.ik === note.ik && (toLink || peer.pinned)) {
    counters = peer.seen;
  } else if (toLink) {
    // Somebody who is not the contact for all that is known.
    let signer = seen.find(({ ik }) => ik === note.ik);
    if (!signer) {
      if (seen.length >= NOTE_SIGNERS) return 'too-many-signers';
      signer = { ik: note.ik, n: [] };
      seen.push(signer);
    }
    counters = signer.n;
  } else {
    return 'unknown-signer';
  }
  if (!count(counters, note.n)) return 'repeated';
  inbox.push(note);
  return undefined;
}

/**
 * Takes a signing key for the other side's, provisionally, with the counters of the notes it signed. A key that is known already keeps
 * its counters.
 */
export function peerSignsWith({ seen, peer }: Contact, ik: PublicKey): void {
  const index = seen.findIndex(notes => notes.ik === ik);
  const [notes] = index < 0 ? [] : seen.splice(index, 1);
  if (!peer) return;
  if (peer.ik !== ik) {
    Object.assign(peer, { ik, pinned: false, saidAt: 0, seen: [] });
    delete peer.unanswered;
  }
  for (const n of notes?.n ?? []) count(peer.seen, n);
}

/** Somebody of whom only a connectoid is known. */
export function peerAt(connectoid: Connectoid): Peer {
  return { connectoid, saidAt: 0, replaced: [], pinned: false, seen: [] };
}

/** Whether this box is or was the other side's, as far as it is remembered. */
export function wasAt(peer: Peer, key: PublicKey): boolean {
  return peer.connectoid.key === key || peer.replaced.includes(key);
}

/** The other side answers with counter `n`: offers that it made before do not count any more. */
export function answersWith(peer: Peer, n: number): void {
  peer.saidAt = Math.max(peer.saidAt, n);
}

/**
 * An offer with counter `n` says that this is where to write to. Whether that counts: not for an offer older than the latest, nor
 * from a box that was replaced, since a relay can deliver an offer late.
 */
export function offersFrom(peer: Peer, connectoid: Connectoid, n: number): boolean {
  if (n <= peer.saidAt || peer.replaced.includes(connectoid.key)) return false;
  peer.saidAt = n;
  replace(peer, connectoid);
  return true;
}

/** The other side moved, as it said on a channel that was proven. */
export function movesTo(peer: Peer, connectoid: Connectoid): void {
  answersWith(peer, peer.seen.at(-1) ?? 0);
  replace(peer, connectoid);
}

function replace(peer: Peer, connectoid: Connectoid): void {
  if (connectoid.key === peer.connectoid.key) return;
  peer.replaced = [...peer.replaced, peer.connectoid.key].slice(-REPLACED_MAX);
  peer.connectoid = connectoid;
}

/** Counts `n` among the highest seen; false if it was seen, or is below all that are remembered. */
export function count(seen: number[], n: number): boolean {
  const place = seen.findIndex(other => other >= n);
  if (seen[place] === n || (place === 0 && seen.length >= COUNTER_WINDOW)) return false;
  seen.splice(place < 0 ? seen.length : place, 0, n);
  if (seen.length > COUNTER_WINDOW) seen.shift();
  return true;
}
