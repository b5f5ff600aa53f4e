/**
 * Send a link; two pages connect: `import { Client } from 'connectoid'`.
 *
 * @module connectoid
 */

export type { Bytes } from './bytes.js';
export type { ContactInfo, ContactState, Options, ShareOptions } from './client.js';
export { Client } from './client.js';
export type { Connectoid } from './connectoid.js';
export type {
  Contact,
  Ended,
  Goodbye,
  InboxNote,
  LinkState,
  OwnBox,
  Peer,
  SharedLink,
  Side,
  Signer,
  Verification,
} from './contact.js';
export type { ErrorCode } from './errors.js';
export { ConnectoidError } from './errors.js';
export type { ClientEvent, EventOf, Listener, Listeners } from './events.js';
export type { BoxKey, PublicKey, SigningKey } from './keys.js';
export type { LinkInfo } from './link-of.js';
export { linkOf, withoutConnectoid } from './link-of.js';
export type { RelayUrl } from './relay-url.js';
export type { Junk } from './seal/message.js';
export type { Sas } from './seal/transcript.js';
export type { Alarm, Event as SessionEvent, Misbehaviour, SessionId, Skip } from './sessions/output.js';
export type { Lock as StorageLock, Storage as ContactStorage, Stored } from './storage.js';
