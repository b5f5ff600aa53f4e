/**
 * Contacts that are forgotten with the program: for tests, and for bots that need no memory.
 *
 * @module connectoid/memory
 */

import type { Contact, Goodbye } from './contact.js';
import type { Storage } from './storage.js';

/** Keeps contacts and keys until the program ends. The same one may be given to one client after the other. */
export function memory(): Storage {
  const contacts = new Map<string, Contact>();
  let goodbyes: readonly Goodbye[] = [];
  return {
    extractable: false,
    // Copies: what a client does with its own is not stored before it says so.
    load: async () => structuredClone({ contacts: [...contacts.values()], goodbyes: [...goodbyes] }),
    store: async (changed, now) => {
      for (const [name, contact] of changed) {
        if (contact) {
          contacts.set(name, structuredClone(contact));
        } else {
          contacts.delete(name);
        }
      }
      goodbyes = structuredClone(now);
    },
  };
}
