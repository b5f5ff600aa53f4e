// Contacts in IndexedDB, with keys that no script can read out.

import type { Contact, Goodbye } from '../contact.js';
import { ConnectoidError, missing } from '../errors.js';
import type { Storage } from '../storage.js';
import { tabLock } from './locks.js';

/** The one object store: contacts by their names, which are texts, and all goodbyes under a number. */
const STORE = 'connectoid';
const GOODBYES = 0;

/** How long opening it may take, in milliseconds. */
const PATIENCE = 10_000;

/** The database of this name, which one tab at a time writes. */
export function indexedDb(name: string): Storage {
  const factory = globalThis.indexedDB;
  if (!factory) {
    missing('IndexedDB');
  }
  const lock = tabLock(name);
  let isEmpty = false;

  /** All of it or nothing, on the disk when it is fulfilled. Opened anew each time: what stays open is in the way of who clears site data. */
  const transact = <T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => T): Promise<T> =>
    new Promise((resolve, reject) => {
      let isLate = false;
      const late = setTimeout(() => {
        isLate = true;
        reject(new ConnectoidError('unsupported', 'it hangs'));
      }, PATIENCE);
      const request = factory.open(name, 1);
      request.onupgradeneeded = () => {
        if (mode === 'readonly') {
          request.result.createObjectStore(STORE);
        } else {
          // It was there: what its user deleted is not written back.
          reject(new ConnectoidError('deleted', 'reload the page'));
          request.transaction?.abort();
        }
      };
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const database = request.result;
        // What is rejected must not be done later: once it is begun, it is waited for.
        clearTimeout(late);
        if (isLate) {
          // What was to be stored has changed meanwhile.
          database.close();
          return;
        }
        let transaction: IDBTransaction | undefined;
        try {
          transaction = database.transaction(STORE, mode, { durability: 'strict' });
          const result = work(transaction.objectStore(STORE));
          transaction.oncomplete = () => resolve(result);
          transaction.onabort = () => reject(transaction?.error);
        } catch (error) {
          // What was put before it is taken back.
          transaction?.abort();
          reject(error);
        }
        // Once the transaction is over.
        database.close();
      };
    });

  return {
    extractable: false,
    lock,
    async load() {
      const [contacts, goodbyes] = await transact('readonly', store => [
        store.getAll(IDBKeyRange.lowerBound('')) as IDBRequest<Contact[]>,
        store.get(GOODBYES) as IDBRequest<Goodbye[] | undefined>,
      ]);
      isEmpty = contacts.result.length === 0;
      return { contacts: contacts.result, goodbyes: goodbyes.result ?? [] };
    },
    async store(contacts, goodbyes) {
      await transact('readwrite', store => {
        for (const [name, contact] of contacts) {
          if (contact) {
            store.put(contact, name);
          } else {
            store.delete(name);
          }
        }
        store.put(goodbyes, GOODBYES);
      });
      if (isEmpty) {
        isEmpty = false;
        // Some browsers ask their user, whose answer nothing waits for.
        globalThis.navigator.storage?.persist?.().catch(() => {});
      }
    },
  };
}
