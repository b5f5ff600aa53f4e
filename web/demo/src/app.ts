// The app behind the screen: the library's client, and what it tells to the lists, the people and the conversations with them.

import { Client, type Options } from '../../src/index.js';
import { inspectBoxes } from '../../src/inspect.js';
import { callsOf, isError } from './calls.js';
import { split } from './contact.js';
import type { List } from './list.js';
import { openLists, type Shelf } from './lists.js';
import { peopleOf } from './people.js';
import { type Ground, look } from './seen.js';
import { hold } from './sync.js';
import { talksOf } from './talks.js';
import type { App, View } from './view.js';

/** What the app stands on: the page, if absent. */
export interface Opening {
  /** Any URL of the app: links lead there. */
  page?: string;
  /** The relay at which this app's boxes are. */
  relay?: string;
  /** The STUN servers it asks, with blanks between them; none if empty. */
  stun?: string;
  /** Where the lists are kept. */
  indexedDB?: IDBFactory;
  /** Options of the client, for tests. */
  client?: Options;
  /** Begins anew, as the app that another tab does not run. */
  reload?: () => void;
}

/** Opens the app. Rejects with a `ConnectoidError` where the browser lacks something, or with what IndexedDB says. */
export async function openApp(opening: Opening = {}): Promise<App & { close(): Promise<void> }> {
  const {
    page = document.baseURI,
    relay = pageRelay(),
    stun = setting('stun'),
    indexedDB = globalThis.indexedDB,
    reload = () => location.reload(),
  } = opening;
  let isListNotStored = false;
  let isDeleted = false;
  let isClosed = false;

  // What the client tells waits until the lists are read.
  let begin = () => {};
  const ready = new Promise<void>(resolve => {
    begin = resolve;
  });
  /** Listens from the start, and does it once all is there; then looks again. */
  const hears =
    <E>(does: (event: E) => void) =>
    (event: E) => {
      void ready.then(() => {
        if (!isClosed) {
          does(event);
          refresh();
        }
      });
    };
  /** The same, of something that the library told because it had stored it. */
  const stored = <E extends { contact: string }>(does: (event: E) => void) =>
    hears((event: E) => {
      calls.stored();
      does(event);
    });
  const nothing = () => {};

  const client = await Client.open({
    relays: [relay],
    name: 'connectoid-list',
    // Without a STUN server, which is one more host that sees who is awake, two connect who see each other's addresses, in one network
    // mostly; others are told `no-path`. No TURN server: its password would stand in a page that is for everybody.
    iceServers: stun ? [{ urls: stun.split(/\s+/) }] : [],
    ...opening.client,
    on: {
      shared: stored(nothing),
      claimed: stored(nothing),
      connected: stored(event => talks.connected(event)),
      'may-exchange': stored(nothing),
      disconnected: stored(({ contact }) => talks.end(contact)),
      'no-path': hears(({ contact }) => talks.known(contact).troubles.add('no-path')),
      'link-used': stored(nothing),
      declined: stored(nothing),
      'gave-up': stored(nothing),
      'link-expired': stored(({ contact }) => talks.known(contact).troubles.add('link-expired')),
      unshared: stored(event => people.unshared(event)),
      alarm: hears(event => people.sound(event)),
      channel: ({ contact, channel }) => {
        const held = hold(channel);
        void ready.then(() => talks.talk(contact, channel, held, false));
      },
      // The lists here are those of before the other tab: begin anew.
      active: hears(reload),
      inactive: hears(() => lists.keep.stop()),
      changed: hears(nothing),
      error: hears(({ error }) => calls.failed(error)),
    },
  });
  const calls = callsOf(client, refresh);
  const lists = await openLists(indexedDB, refresh, failed => {
    isListNotStored = failed === true;
    isDeleted ||= failed === 'deleted';
    refresh();
  }).catch(async error => {
    await client.close();
    throw error;
  });
  const talks = talksOf(client, lists, refresh);
  const people = peopleOf(client, calls, lists, talks, page, refresh);

  if (client.active) {
    for (const { name, made, state } of client.contacts) {
      const [id] = split(name);
      if (!lists.shelves.has(id) && !lists.leaving.has(id) && state !== 'leaving') {
        // A list that was lost, or never stored. Who it is shared with has it still.
        lists.await(id, '', made);
      }
    }
  }
  let view = look(ground());
  let told = view;
  const subscribers = new Set<() => void>();
  let isTelling = false;
  begin();
  if (client.active) {
    for (const id of lists.leaving) {
      void people.leave(id);
    }
  }

  function ground(): Ground {
    return { client, calls, lists, talks, people, relay, stun, isListNotStored, isDeleted, isClosed };
  }

  /** What is seen now: what a call did is there at once. */
  function current(): View {
    view = look(ground(), view);
    return view;
  }

  function refresh(): void {
    if (!isTelling) {
      isTelling = true;
      queueMicrotask(() => {
        isTelling = false;
        const before = told;
        told = current();
        if (told !== before && !isClosed) {
          for (const changed of [...subscribers]) {
            changed();
          }
        }
      });
    }
  }

  /** A list that is there, in the tab that runs the app. */
  function shelfOf(id: string): Shelf {
    calls.needActive();
    const shelf = lists.shelves.get(id);
    if (!shelf) {
      throw Error('no such list');
    }
    return shelf;
  }

  function listOf(id: string): List {
    return shelfOf(id).list;
  }

  return {
    view: current,
    subscribe(changed) {
      subscribers.add(changed);
      return () => {
        subscribers.delete(changed);
      };
    },
    callMe(name) {
      calls.needActive();
      lists.callMe(name);
    },
    makeList(name) {
      calls.needActive();
      return lists.make(name);
    },
    renameList: (list, name) => listOf(list).rename(name),
    deleteList: async list => people.leave(listOf(list).id),
    add: (list, text) => listOf(list).add(text),
    edit: (list, item, text) => listOf(list).edit(item, text),
    tick: (list, item, done) => listOf(list).tick(item, done),
    move: (list, item, before) => listOf(list).move(item, before),
    remove: (list, items) => listOf(list).remove(items),
    restore(list, items) {
      calls.needActive();
      // It may have been deleted since.
      lists.shelves.get(list)?.list.restore(items);
    },
    share: async (list, name) => people.share(shelfOf(list), name),
    join: people.join,
    async reconnect(contact) {
      talks.again(contact);
      await calls.call(() => client.reconnect(contact));
    },
    async verify(contact, same) {
      await calls.call(() => client.verify(contact, same));
      // An alarm ended the session for good: who found that all is well wants it back.
      if (same && client.contact(contact)?.state === 'offline') {
        await calls.call(() => client.reconnect(contact));
      }
    },
    rename: people.rename,
    unshare: people.unshare,
    read(id) {
      people.read(id);
      refresh();
    },
    hear(id) {
      people.hear(id);
      refresh();
    },
    async inspect(list, signal) {
      if (list === undefined) {
        return inspectBoxes(client, { signal });
      }
      const boxes = people.contactsOf(list).map(({ name: contact }) =>
        inspectBoxes(client, { contact, signal }).catch(error => {
          if (isError(error, 'no-contact')) {
            // Ended since.
            return [];
          }
          throw error;
        }),
      );
      return (await Promise.all(boxes)).flat();
    },
    async useHere() {
      reload();
    },
    async close() {
      isClosed = true;
      calls.close();
      talks.close();
      await lists.keep.close();
      await client.close();
      lists.destroy();
    },
  };
}

/** The relay that the page says, or the one that serves it. */
function pageRelay(): string {
  // A relay under a path goes by its URL without a slash at the end, and the question names that very URL.
  return setting('relay') || new URL('..', document.baseURI).href.replace(/\/$/, '');
}

/** A setting of this copy of the app, which stands in its page. */
function setting(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name=${name}]`)?.content.trim() ?? '';
}
