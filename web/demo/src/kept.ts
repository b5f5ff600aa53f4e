// What is kept on the device beside the contacts, which the library keeps: the lists, and how the user is called.
//
// A list is kept whole, as one record: each change of it is one write, which happens or does not. What another tab stored there
// meanwhile is not written over: both become one.

import * as Y from 'yjs';

const DATABASE = 'shopping-list';
const LISTS = 'lists';
const ABOUT = 'about';

/** How long the disk may take, in milliseconds, as below. */
const PATIENCE = 10_000;

/** The pause after something could not be stored, doubled each time up to the longest. */
const RETRY_FIRST = 1000;
const RETRY_MAX = 30_000;

/** A list as it is kept. */
export interface KeptList {
  readonly id: string;
  /** When it was made or joined here, Unix milliseconds: their order. */
  readonly made: number;
  /** What it was called by the link, for as long as nothing of it came. */
  readonly name: string;
  /** The document. */
  readonly state: Uint8Array<ArrayBuffer>;
  /** That it is being deleted: nobody knows of it any more once it ended with everybody. */
  readonly leaving?: boolean;
}

/** All that is kept. */
export interface Kept {
  readonly me: string;
  readonly lists: readonly KeptList[];
}

/** Reads all. What is no list is left out, and stays where it is. */
export async function load(factory: IDBFactory): Promise<Kept> {
  const [lists, me] = await transact(factory, 'readonly', (lists, about) => [
    lists.getAll() as IDBRequest<KeptList[]>,
    about.get('me') as IDBRequest<unknown>,
  ]);
  return {
    me: typeof me.result === 'string' ? me.result : '',
    lists: lists.result
      .filter(({ id, made, name, state }) => isText(id) && isText(name) && made >= 0 && isBytes(state))
      .sort((a, b) => a.made - b.made),
  };
}

/** Stores what changed, one write after the other, until it is stored. */
export interface Keeper {
  /** This list changed, or the user's name. Stored at once, with whatever else changes until then. */
  changed(what: string | typeof ME): void;
  /** Fulfilled when the next try to store all that changed is over: whether it is stored. */
  stored(): Promise<boolean>;
  /** Another tab runs the app: what waits yet is added to what that one stores, and nothing else is written any more. */
  stop(): void;
  /** Tries for the last time. */
  close(): Promise<boolean>;
}

/** The user's name, beside ids of lists. */
export const ME = Symbol('me');

/** Whether something could not be stored; `deleted`: it never will, as the data of the site were deleted under the page. */
export type Failed = boolean | 'deleted';

/**
 * `loaded` are the ids of the lists that were loaded. `list` gives a list as of now, or nothing if it is to be deleted; `me` the user's
 * name. `told` is called when it changes whether something could not be stored.
 */
export function keeper(
  factory: IDBFactory,
  loaded: Iterable<string>,
  list: (id: string) => KeptList | undefined,
  me: () => string,
  told: (failed: Failed) => void,
): Keeper {
  /** The lists that are on the disk, unless another tab deleted them. */
  const there = new Set(loaded);
  /** Each list as it was last written here. */
  const written = new Map<string, Uint8Array>();
  const waiting = new Set<string | typeof ME>();
  let writing: Promise<boolean> | undefined;
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  let isClosed = false;

  /** Writes until nothing waits, or something fails. */
  async function write(): Promise<boolean> {
    // What changes in one go is one write.
    await undefined;
    clearTimeout(timer);
    while (waiting.size) {
      const changes = [...waiting];
      waiting.clear();
      try {
        await transact(factory, 'readwrite', (lists, about) => {
          for (const change of changes) {
            if (change !== ME) {
              writeList(lists, change);
            } else if (!isStopped) {
              about.put(me(), 'me');
            }
          }
        });
        for (const change of changes) {
          if (change !== ME) {
            list(change) ? there.add(change) : there.delete(change);
          }
        }
      } catch (error) {
        for (const change of changes) {
          waiting.add(change);
        }
        if (error === DELETED) {
          isClosed = true;
          told('deleted');
          return false;
        }
        tell(failures + 1);
        if (!isClosed) {
          timer = setTimeout(start, Math.min(RETRY_FIRST * 2 ** (failures - 1), RETRY_MAX));
        }
        return false;
      }
    }
    tell(0);
    return true;
  }

  /** What another tab wrote stays in it, and what another tab deleted stays deleted. */
  function writeList(lists: IDBObjectStore, id: string): void {
    const now = list(id);
    if (!now) {
      lists.delete(id);
      return;
    }
    const request = lists.get(id) as IDBRequest<KeptList | undefined>;
    request.onsuccess = () => {
      const before = request.result;
      if (before ? !(before.leaving && isStopped) : !there.has(id)) {
        const state = now.leaving ? now.state : both(before?.state, now.state, written.get(id));
        lists.put({ ...now, state });
        written.set(id, now.state);
      }
    };
  }

  function tell(now: number): void {
    const before = failures;
    failures = now;
    if (!before !== !now) {
      told(!!now);
    }
  }

  function start(): Promise<boolean> {
    writing ??= write().finally(() => {
      writing = undefined;
      // What changed at the last moment.
      if (waiting.size && !failures && !isClosed) {
        void start();
      }
    });
    return writing;
  }

  return {
    changed(what) {
      if (!isStopped) {
        waiting.add(what);
        // Something that fails is tried again with each change.
        void start();
      }
    },
    stored: start,
    stop() {
      isStopped = true;
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      return (await start()) || start();
    },
  };
}

/** Two states as one. Nothing is to be added if it is what was `written` here; what cannot be read is of no use. */
function both(
  there: Uint8Array | undefined,
  own: KeptList['state'],
  written: Uint8Array | undefined,
): KeptList['state'] {
  if (!there || (there.length === written?.length && there.every((byte, at) => byte === written[at]))) {
    return own;
  }
  try {
    return Y.mergeUpdates([there, own]) as KeptList['state'];
  } catch {
    return own;
  }
}

const DELETED = Error('the data of the site were deleted');

/** All of it or nothing, on the disk when it is fulfilled. Opened anew each time: what stays open is in the way of who clears site data. */
function transact<T>(
  factory: IDBFactory,
  mode: IDBTransactionMode,
  work: (lists: IDBObjectStore, about: IDBObjectStore) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      reject(Error('IndexedDB is stuck'));
    }, PATIENCE);
    const done = (error?: unknown) => {
      clearTimeout(late);
      reject(error);
    };
    const request = factory.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      if (mode === 'readwrite') {
        // It was there: what its user deleted is not written back.
        done(DELETED);
        request.transaction?.abort();
        return;
      }
      request.result.createObjectStore(LISTS, { keyPath: 'id' });
      request.result.createObjectStore(ABOUT);
    };
    request.onerror = () => done(request.error);
    request.onsuccess = () => {
      const database = request.result;
      try {
        if (isLate) {
          return;
        }
        const transaction = database.transaction([LISTS, ABOUT], mode, { durability: 'strict' });
        transaction.onabort = () => done(transaction.error);
        const result = work(transaction.objectStore(LISTS), transaction.objectStore(ABOUT));
        transaction.oncomplete = () => {
          clearTimeout(late);
          resolve(result);
        };
      } catch (error) {
        done(error);
      } finally {
        // Once the transaction is over.
        database.close();
      }
    };
  });
}

const isText = (it: unknown) => typeof it === 'string';
const isBytes = (it: unknown) => it instanceof Uint8Array;
