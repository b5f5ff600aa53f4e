// The lists of this device: those that are there, those that are being deleted, and how the user is called.

import { ConnectoidError } from '../../src/index.js';
import { NAME_MAX } from './invitation.js';
import { type Failed, type KeptList, keeper, load, ME } from './kept.js';
import { LIST_NAME_MAX, List, randomId, tidy } from './list.js';

/** A list, and what is kept beside its document. */
export interface Shelf {
  readonly list: List;
  readonly made: number;
  readonly name: string;
}

export type Lists = Awaited<ReturnType<typeof openLists>>;

/** Reads them. `changed` is called when a list did, `told` with whether something could not be stored. */
export async function openLists(indexedDB: IDBFactory, changed: () => void, told: (failed: Failed) => void) {
  const shelves = new Map<string, Shelf>();
  /** Lists that are being deleted. */
  const leaving = new Set<string>();
  const kept = await load(indexedDB);
  let me = tidy(kept.me, NAME_MAX);
  const keep = keeper(
    indexedDB,
    kept.lists.map(({ id }) => id),
    record,
    () => me,
    told,
  );
  for (const { id, made, name, state, leaving: isLeaving } of kept.lists) {
    if (isLeaving) {
      leaving.add(id);
    } else {
      put(read(id, state), made, name);
    }
  }

  /** A document as it was kept. One that cannot be read is begun anew: the others have theirs. */
  function read(id: string, state: Uint8Array): List {
    try {
      return new List(id, state);
    } catch {
      return new List(id);
    }
  }

  /** What is kept of a list; of one that is being deleted what stands for it: the app may be closed before. */
  function record(id: string): KeptList | undefined {
    const shelf = shelves.get(id);
    if (shelf) {
      const { list, made, name } = shelf;
      return { id, made, name, state: list.state };
    }
    return leaving.has(id) ? { id, made: 0, name: '', state: new Uint8Array(), leaving: true } : undefined;
  }

  function put(list: List, made: number, name: string): void {
    leaving.delete(list.id);
    shelves.set(list.id, { list, made, name });
    list.doc.on('update', () => {
      if (shelves.get(list.id)?.list === list) {
        keep.changed(list.id);
        changed();
      }
    });
  }

  /** The time, and later than any list was made: it is their order. */
  function now(): number {
    return Math.max(Date.now(), ...[...shelves.values()].map(({ made }) => made + 1));
  }

  return {
    shelves,
    leaving,
    keep,
    get me() {
      return me;
    },
    callMe(name: string): void {
      me = tidy(name, NAME_MAX);
      keep.changed(ME);
      changed();
    },
    /** Makes an empty list. */
    make(name: string): string {
      const list = new List(randomId());
      // It was awaited from somebody if it had none.
      list.rename(tidy(name, LIST_NAME_MAX) || 'List');
      put(list, now(), '');
      keep.changed(list.id);
      changed();
      return list.id;
    },
    /** A list that comes from somebody else. */
    await(id: string, name: string, made = now()): void {
      put(new List(id), made, tidy(name, LIST_NAME_MAX));
      keep.changed(id);
    },
    /** Takes a list away. `forget` it once it ended with everybody. */
    async leave(id: string): Promise<void> {
      const shelf = shelves.get(id);
      shelves.delete(id);
      leaving.add(id);
      keep.changed(id);
      shelf?.list.doc.destroy();
      changed();
      await keep.stored();
    },
    async forget(id: string): Promise<void> {
      leaving.delete(id);
      keep.changed(id);
      await keep.stored();
    },
    /** What a contact needs is stored before it: a contact whose list is not there would be of no use. */
    async needStored(): Promise<void> {
      if (!(await keep.stored())) {
        throw new ConnectoidError('storage', 'the list could not be stored');
      }
    },
    destroy(): void {
      for (const { list } of shelves.values()) {
        list.doc.destroy();
      }
    },
  };
}
