// Where contacts and their keys are kept.

import type { Contact, Goodbye } from './contact.js';

/** All that is kept. */
export interface Stored {
  contacts: Contact[];
  goodbyes: Goodbye[];
}

/**
 * Where contacts and their keys are kept: IndexedDB in a browser, or something of the app's own. What it is given holds private keys:
 * it must be as safe as they have to be.
 */
export interface Storage {
  /** What keeps two clients from using it at once. Without it the app sees to that. */
  readonly lock?: Lock | undefined;
  /** Whether private keys must be extractable for it. IndexedDB keeps keys that nobody can read out. */
  readonly extractable: boolean;
  /** All that is kept. */
  load(): Promise<Stored>;
  /**
   * Makes durable what some contacts are now (`undefined`: all of it is to be deleted) and all goodbyes, whole or not at all.
   * If it rejects, nothing must have changed; it is called again with the state of then.
   */
  store(contacts: ReadonlyMap<string, Contact | undefined>, goodbyes: readonly Goodbye[]): Promise<void>;
}

/** Sees to it that one client at a time uses a storage: one of several tabs, or processes. */
export interface Lock {
  /**
   * Waits until nobody else uses the storage; `take`: asks whoever does to stop. What it gives ends the use. `asked` is called when
   * another client asks for it. `signal` ends the waiting: it rejects with the signal's reason.
   */
  request(take: boolean, asked: () => void, signal: AbortSignal): Promise<() => void>;
}
