// One attempt at a session, from its offer to a proven data channel.

import { type Bytes, equal } from '../bytes.js';
import type { Frame } from '../frame.js';
import type { PublicKey } from '../keys.js';
import type { Content } from '../seal/message.js';
import { sasCommit, type Transcript } from '../seal/transcript.js';
import type { Alarm, SessionId } from './output.js';
import { type Live, MINUTE, SECOND, type State } from './state.js';

/** How long hello and proof may take, from the channel's opening. */
const HANDSHAKE_TIME = 10 * SECOND;

/** How long the channel may take to open, from the answer on. The other side may look for the answer once a minute only. */
const JOIN_TIME = 5 * MINUTE;

/** The candidate messages of one side to one offer. */
export const CANDIDATE_MESSAGES_MAX = 3;

/** An attempt at a session. */
export interface Session {
  id: SessionId;
  stage: Stage;
  /** The candidate messages that were sent and taken. */
  candidatesSent: number;
  candidatesTaken: number;
}

/** How far it is. `hash` is that of the offer it rests on, once there is one. */
export type Stage = { at: 'making-offer'; hash?: never } | Offered | Answering | Joined;

/** What an offer says. */
export type Offer = Extract<Content, { typ: 'offer' }>;

/** What an answer says. */
export type Answer = Extract<Content, { typ: 'answer' }>;

/** An offer that is outstanding. */
export interface Offered {
  at: 'offered';
  hash: string;
  payload: Bytes;
  /** What `sasCommit` commits to. */
  rO: Bytes;
  /** Of the box it was sealed to. */
  secretO: Bytes | undefined;
  own: Bytes;
  since: number;
}

/** An offer that the app makes an answer to. */
export interface Answering {
  at: 'making-answer';
  hash: string;
  payload: Bytes;
  offer: Offer;
  ik: PublicKey;
  /** Of the own box it came to. */
  secretO: Bytes | undefined;
  peer: Bytes;
}

/** Offer and answer are exchanged; the peer connection and then the channel are to come. */
export interface Joined {
  at: 'joined';
  hash: string;
  transcript: Transcript;
  /** The other side's key, which the proof pins. */
  ik: PublicKey;
  /** One's own, or the other side's once its `hello` revealed it. */
  rO?: Bytes;
  rA: Bytes;
  /** The other side's offer, which committed to its rO; none if this side offered. */
  offer?: Offer;
  /** The fingerprints in the two SDPs. */
  own: Bytes;
  peer: Bytes;
  since: number;
  /** The first frames of the channel. */
  handshake?: { nonce: Bytes; peerNonce?: Bytes; until: number };
}

/** Begins an attempt. */
export function begin(s: State, live: Live, stage: Stage): SessionId {
  const id = ++s.lastId;
  live.pending = { id, stage, candidatesSent: 0, candidatesTaken: 0 };
  return id;
}

/** How far the session of a contact is, if it is there. */
export function stageOf<A extends Stage['at']>(
  live: Live | undefined,
  at: A,
): Extract<Stage, { at: A }> | undefined {
  const stage = live?.pending?.stage;
  return stage?.at === at ? (stage as Extract<Stage, { at: A }>) : undefined;
}

/** Whether offer and answer are exchanged, so that no other offer is made until that came to something. */
export function isJoined(live: Live): boolean {
  return deadline(live) < Infinity;
}

/** Until when the channel must be open or, once it is, proven; never, if it is not on its way. */
export function deadline(live: Live): number {
  const stage = stageOf(live, 'joined');
  return stage ? (stage.handshake?.until ?? stage.since + JOIN_TIME) : Infinity;
}

/** The channel is open. Gives the first frame. */
export function hello(s: State, joined: Joined): Frame {
  const { offer, rO } = joined;
  const nonce = s.random(32);
  joined.handshake = { nonce, until: s.elapsed + HANDSHAKE_TIME };
  return { t: 'hello', nonce, r: offer ? undefined : rO };
}

/**
 * Takes a frame of a channel that is not proven yet. Gives the frame to reply with, or the short authentication string if the other
 * side proved itself. Anything but one `hello` and then one `proof` closes the channel, for a reason if people should hear of it.
 */
export async function handshakeFrame(
  joined: Joined,
  frame: Frame,
): Promise<Frame | Bytes | Alarm | undefined> {
  const { handshake, offer, transcript, ik, own, peer, rO, rA } = joined;
  const { nonce, peerNonce } = handshake ?? {};
  const [role, prover] = offer ? (['A', 'O'] as const) : (['O', 'A'] as const);
  if (!handshake || !nonce) return undefined;
  if (frame.t === 'hello' && !peerNonce) {
    const { r } = frame;
    if (offer) {
      if (!r || !equal(await sasCommit(r, offer.connectoid.key, ik), offer.sasCommit))
        return 'broken-commitment';
      joined.rO = r;
    }
    handshake.peerNonce = frame.nonce;
    return { t: 'proof', mac: await transcript.proof(role, frame.nonce, nonce, own, peer) };
  }
  if (frame.t === 'proof' && peerNonce && rO) {
    const mac = await transcript.proof(prover, nonce, peerNonce, peer, own);
    return equal(mac, frame.mac) ? transcript.sas(rO, rA) : 'no-proof';
  }
  return undefined;
}
