// What an app is told: the events of the sessions, and those of their connections, the storage and the tabs.

import type { ConnectoidError } from './errors.js';
import type { Event } from './sessions/output.js';

/** All that an app is told. */
export type ClientEvent =
  | Event
  /** The other side opened a data channel; it is open. App data may flow. */
  | { type: 'channel'; contact: string; channel: RTCDataChannel }
  /** As `channel`, with a label of the command line's tools: it begins with `connectoid.` */
  | { type: 'tool-channel'; contact: string; channel: RTCDataChannel }
  /** No packets get through any more; a new path is searched for 90 seconds. Channels stay, and wait. */
  | { type: 'interrupted'; contact: string }
  /** Packets get through again. */
  | { type: 'resumed'; contact: string }
  /** An attempt to connect came as far as both sides' addresses, and found no path. Trying goes on. */
  | { type: 'no-path'; contact: string }
  /** This client runs the contacts now: no other tab does. */
  | { type: 'active' }
  /** Another tab of this app took over; this one does nothing until `takeOver`, or until the other is closed. */
  | { type: 'inactive' }
  /** Something in `Client.contacts` changed. Until then that is the same array. */
  | { type: 'changed' }
  /**
   * Something could not be stored. It is tried again; what depends on it waits. Told once until it succeeded. With the code `deleted`
   * there is nothing left to go on with.
   */
  | { type: 'error'; error: ConnectoidError };

/** The event of one type. */
export type EventOf<T extends ClientEvent['type']> = Extract<ClientEvent, { type: T }>;

/** What hears the events of one type. What it throws is reported as uncaught, and changes nothing. */
export type Listener<T extends ClientEvent['type']> = (event: EventOf<T>) => void;

/** Listeners by the types of their events. */
export type Listeners = { [T in ClientEvent['type']]?: Listener<T> };
