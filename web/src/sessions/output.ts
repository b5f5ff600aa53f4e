// What the state machine gives: requests, frames, steps for WebRTC, stores and events.

import type { Side } from '../contact.js';
import type { RelayUrl } from '../relay-url.js';
import type { Junk } from '../seal/message.js';
import type { Sas } from '../seal/transcript.js';

/** Names an attempt at a session, from its offer to its end. */
export type SessionId = number;

/** What is to be done, in the order given. */
export type Output =
  /** Make durable what the contacts of these names and the goodbyes are now, before anything that follows. */
  | { do: 'store'; contacts: string[] }
  /** POST `body` to `relay` and hand what comes back to `replied`; give up after `patience` milliseconds. */
  | { do: 'request'; id: number; relay: RelayUrl; body: string; patience: number }
  /** The reply to this request is not waited for any more. */
  | { do: 'cancel'; id: number }
  | { do: 'event'; event: Event }
  | Step;

/** What is to be done with peer connections. */
export type Step =
  /** Make a peer connection with a data channel `connectoid`, gather candidates for up to a second, call `localOffer`. */
  | { do: 'make-offer'; session: SessionId; contact: string; renews: SessionId | undefined }
  /** Make a peer connection for this offer, gather for up to a second, call `localAnswer`. `sdp` is to be used unchanged. */
  | { do: 'make-answer'; session: SessionId; contact: string; sdp: string }
  /** Give the peer connection this answer, unchanged. */
  | { do: 'accept-answer'; session: SessionId; sdp: string }
  /** Give the peer connection these candidates: objects of the form RTCIceCandidateInit. */
  | { do: 'add-candidates'; session: SessionId; candidates: RTCIceCandidateInit[] }
  /** Send a text frame on the data channel `connectoid`. */
  | { do: 'frame'; session: SessionId; text: string }
  /** Close the peer connection and forget it. */
  | { do: 'close'; session: SessionId };

/** What a relay does that an honest one does not. */
export type Misbehaviour =
  | 'not-the-protocol'
  | 'status'
  | 'redirect'
  | 'too-large'
  | 'other-relay'
  | 'no-question'
  | 'foreign-question'
  | 'not-a-list'
  | 'cursor'
  | 'cursor-ahead'
  | 'no-end';

/** Why a message was not used. */
export type Skip =
  | Junk
  | 'repeated'
  | 'unknown-signer'
  | 'no-such-offer'
  | 'overtaken'
  | 'own-box'
  | 'this-machine'
  | 'link-closed'
  | 'inbox-full'
  | 'too-many-signers';

/** What people should hear of. */
export type Alarm =
  /**
   * Two people used the same link. A session that is open was closed; no app data may flow before the strings were compared. Said
   * again at each start until then.
   */
  | 'link-used-twice'
  /** So many offers came to a link without anybody proving to have made them that it was closed. */
  | 'too-many-offers'
  /** The short authentication strings differ: somebody stands in the middle. */
  | 'strings-differ'
  /** The other side of the channel did not reveal what its offer committed to. */
  | 'broken-commitment'
  /** The other side of the channel has another certificate than the one that was signed. */
  | 'foreign-certificate'
  /** The other side of the channel could not prove to have made the offer or answer. */
  | 'no-proof';

/** What an app is told. Times are Unix milliseconds. */
export type Event =
  /** A link was made and stored. */
  | { type: 'shared'; contact: string }
  /** Somebody used the link; the connection is on its way. */
  | { type: 'claimed'; contact: string }
  /** A session is open, and the other side proved who it is. `offerer`: whether this side's offer made it. */
  | {
      type: 'connected';
      contact: string;
      session: SessionId;
      sas: Sas;
      mayExchange: boolean;
      offerer: boolean;
    }
  /** App data may flow now: the strings are the same. */
  | { type: 'may-exchange'; contact: string }
  /** A session ended. */
  | { type: 'disconnected'; contact: string }
  /** Somebody else used the link before. */
  | { type: 'link-used'; contact: string }
  /** The other side does not want to connect. */
  | { type: 'declined'; contact: string }
  /** Nobody answered for 48 hours. A connection that was there before is tried again at the next start. */
  | { type: 'gave-up'; contact: string }
  /** The link was not used in time. */
  | { type: 'link-expired'; contact: string }
  /** The contact is over. If this side ended it, its keys are deleted by now; if the other did, they will be. */
  | { type: 'unshared'; contact: string; by: Side }
  /** A note came; it is among the contact's notes until it is taken. */
  | { type: 'note'; contact: string }
  /** Something that people should hear of. */
  | { type: 'alarm'; contact: string; alarm: Exclude<Alarm, 'link-used-twice'> }
  /** Two people used the same link: `first` and `second` are when each was seen. */
  | { type: 'alarm'; contact: string; alarm: 'link-used-twice'; first: number; second: number }
  /** A message was not used. */
  | { type: 'skipped'; contact: string; relay: RelayUrl; why: Skip }
  /** A relay does not do what the protocol says. It is asked again later, within a minute. */
  | { type: 'misbehaves'; relay: RelayUrl; what: Misbehaviour }
  /** A relay did not take a message, for a reason that will not pass. `why` is what it said, on one line. */
  | { type: 'not-sent'; contact: string; relay: RelayUrl; why: string }
  /** No relay of this contact is of use; trying goes on. `why`: 'unreachable', its misbehaviour, or what it said, on one line. */
  | { type: 'relays-down'; contact: string; why: string }
  /** A relay of this contact is of use again. */
  | { type: 'relays-back'; contact: string };

/** What a relay replied: the status and the body as text, or why there is neither. */
export type Reply =
  | { status: number; body: string }
  /** Not reached, or no reply in time. */
  | 'unreachable'
  /** More than 1 MiB. */
  | 'too-large'
  /** A status from 300 to 399, which is not followed. */
  | 'redirect';
