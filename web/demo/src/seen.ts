// What is seen of the app: all as of now, with the parts of before where nothing changed.

import type { Client, ContactInfo } from '../../src/index.js';
import type { Calls } from './calls.js';
import { split } from './contact.js';
import type { Lists } from './lists.js';
import type { People } from './people.js';
import type { Talks } from './talks.js';
import type { ListView, Person, Trouble, View } from './view.js';

/** What is said first if there is more than one. */
const TROUBLES: readonly Trouble[] = [
  'wrong-list',
  'no-list',
  'too-large',
  'link-used',
  'declined',
  'link-expired',
  'gave-up',
  'relay-down',
  'no-path',
];

/** What a view is made of. */
export interface Ground {
  readonly client: Client;
  readonly calls: Calls;
  readonly lists: Lists;
  readonly talks: Talks;
  readonly people: People;
  readonly relay: string;
  readonly stun: string;
  /** Whether a list or the user's name could not be stored. */
  readonly isListNotStored: boolean;
  readonly isDeleted: boolean;
  readonly isClosed: boolean;
}

export function look(ground: Ground, before?: View): View {
  const { client, calls, lists, people, relay, stun } = ground;
  const { contacts } = client;
  const views = [...lists.shelves.values()].map((shelf): ListView => {
    const { list, name } = shelf;
    const was = before?.lists.find(({ id }) => id === list.id);
    const persons = people.contactsOf(list.id, contacts).map(contact => personOf(ground, contact));
    return same(was, {
      id: list.id,
      name: list.name || name || 'A list',
      items: list.items,
      hidden: list.hidden,
      people: sameAll(was?.people, persons, ({ contact }) => contact),
      // From nobody nothing will come.
      isAwaited: list.name === undefined && persons.length > 0,
    });
  });
  const whys = contacts.map(({ relaysDown }) => relaysDown);
  return same(before, {
    isActive: !ground.isClosed && client.active,
    me: lists.me,
    relay,
    stun,
    lists: sameAll(before?.lists, views, ({ id }) => id),
    alarms: people.alarms(),
    news: people.news(),
    // A contact may be at the relay of whoever made the link: while one can be reached, it is not this device that is cut off.
    relayDown: whys.every(why => why !== undefined) ? whys[0] : undefined,
    notStored: ground.isListNotStored || calls.isNotStored(),
    deleted: ground.isDeleted || calls.isDeleted(),
  });
}

function personOf({ client, lists, talks, people }: Ground, info: ContactInfo): Person {
  const {
    name: contact,
    lastSeen,
    sas,
    verification,
    mustVerify,
    usedTwice,
    expires,
    connectoid,
    ended,
  } = info;
  const [id, name] = split(contact);
  const here = talks.of(contact);
  const shelf = lists.shelves.get(id);
  const troubles = new Set(here?.troubles);
  if (info.state !== 'connected' && info.relaysDown !== undefined) {
    troubles.add('relay-down');
  }
  if (ended) {
    troubles.add(ended);
  }
  return {
    contact,
    name,
    ownName: here?.ownName,
    state: info.interrupted ? 'interrupted' : info.state,
    flows: !!here && talks.flows(here),
    trouble: TROUBLES.find(trouble => troubles.has(trouble)),
    link: connectoid && shelf && client.link(contact, people.urlOf(shelf)),
    expires,
    connectoid,
    lastSeen,
    sas,
    verification,
    mustVerify,
    usedTwice,
  };
}

/** What was before, if it is the same by now. */
function same<T extends object>(before: T | undefined, now: T): T {
  const keys = Object.keys(now) as (keyof T)[];
  return before && keys.every(key => before[key] === now[key] || isSameSas(key, before[key], now[key]))
    ? before
    : now;
}

function sameAll<T extends object>(
  before: readonly T[] = [],
  now: readonly T[],
  id: (one: T) => string,
): readonly T[] {
  const all = now.map(one =>
    same(
      before.find(other => id(other) === id(one)),
      one,
    ),
  );
  return all.length === before.length && all.every((one, index) => one === before[index]) ? before : all;
}

/** The library gives a string to compare as another object each time. */
function isSameSas(key: PropertyKey, before: unknown, now: unknown): boolean {
  return key === 'sas' && `${(before as Person['sas'])?.bytes}` === `${(now as Person['sas'])?.bytes}`;
}
