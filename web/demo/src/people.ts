// What is done with the people of the lists, what they do, and what must be read of it.

import type { Client, ContactInfo, EventOf } from '../../src/index.js';
import { ConnectoidError } from '../../src/index.js';
import { type Calls, isError } from './calls.js';
import { split } from './contact.js';
import { invitationUrl, NAME_MAX } from './invitation.js';
import { tidy } from './list.js';
import type { Lists, Shelf } from './lists.js';
import type { Talks } from './talks.js';
import type { Alarm, Invitation, News } from './view.js';
import { isSame } from './words.js';

export type People = ReturnType<typeof peopleOf>;

/** `page` is where links lead; `refresh` is called when something changed. */
export function peopleOf(
  client: Client,
  calls: Calls,
  lists: Lists,
  talks: Talks,
  page: string,
  refresh: () => void,
) {
  let alarms: readonly Alarm[] = [];
  let news: readonly News[] = [];
  let lastId = 0;

  /** Those who are known by this list, and not about to go. */
  function contactsOf(id: string, contacts = client.contacts): ContactInfo[] {
    return contacts.filter(({ name, state }) => split(name)[0] === id && state !== 'leaving');
  }

  function urlOf({ list, name }: Shelf): string {
    return invitationUrl(page, list.id, list.name ?? name, lists.me);
  }

  /** The name of a person, which is one. */
  function named(name: string): string {
    const tidied = tidy(name, NAME_MAX);
    if (!tidied) {
      throw new ConnectoidError('no-name', 'a person needs a name');
    }
    return tidied;
  }

  /** Bob and bob would be one to who reads them. */
  function needFree(id: string, name: string, but?: string): void {
    if (contactsOf(id).some(other => other.name !== but && isSame(split(other.name)[1], name))) {
      throw new ConnectoidError('name-taken', 'somebody in this list is called so');
    }
  }

  async function share(shelf: Shelf, name: string): Promise<string> {
    const to = named(name);
    needFree(shelf.list.id, to);
    const contact = `${shelf.list.id}/${to}`;
    await lists.needStored();
    return calls.call(() => client.share(contact, { url: urlOf(shelf) }));
  }

  async function join({ list: id, listName, from, link }: Invitation): Promise<string> {
    calls.needActive();
    const isNew = !lists.shelves.has(id);
    if (isNew) {
      lists.await(id, listName);
    }
    try {
      await lists.needStored();
      await connect(id, link, tidy(from, NAME_MAX) || 'Somebody');
      refresh();
    } catch (error) {
      if (isNew && lists.shelves.has(id)) {
        await leave(id);
      }
      throw error;
    }
    return id;
  }

  /** Two members may call themselves the same: then the second one is "Anna 2". */
  async function connect(id: string, link: string, from: string): Promise<void> {
    const names = contactsOf(id).map(({ name }) => name);
    for (let count = 1; ; ) {
      const contact = `${id}/${from}${count > 1 ? ` ${count}` : ''}`;
      try {
        await client.connect(link, contact);
        calls.stored();
        talks.known(contact).troubles.delete('no-path');
        return;
      } catch (error) {
        if (isError(error, 'link-taken')) {
          // It was used here. If its contact is of this list, it is called something else by now.
          await Promise.any(names.map(name => client.connect(link, name))).catch(() => {
            throw error;
          });
          return;
        }
        if (isError(error, 'storage') && client.contact(contact)) {
          // It took effect, and is stored late.
          calls.failed(error);
          return;
        }
        if (!isError(error, 'name-taken')) {
          throw error;
        }
        count += 1;
      }
    }
  }

  async function rename(contact: string, name: string): Promise<void> {
    const [id, before] = split(contact);
    const to = named(name);
    if (to !== before) {
      needFree(id, to, contact);
      await calls.call(() =>
        client.rename(contact, `${id}/${to}`).finally(() => renamed(contact, `${id}/${to}`)),
      );
    }
  }

  /** What could not be stored took effect. */
  function renamed(contact: string, to: string): void {
    if (client.contact(to) && !client.contact(contact)) {
      talks.renamed(contact, to);
      const [, name] = split(to);
      alarms = alarms.map(alarm => (alarm.contact === contact ? { ...alarm, contact: to, name } : alarm));
    }
  }

  function unshare(contact: string): Promise<void> {
    return calls.call(async () => {
      talks.end(contact);
      await client.unshare(contact);
    });
  }

  /** Takes a list away, and ends it with everybody. What cannot be done now is done at the next start. */
  async function leave(id: string): Promise<void> {
    await lists.leave(id);
    const ended = await Promise.allSettled(contactsOf(id).map(({ name }) => unshare(name)));
    if (lists.leaving.has(id) && ended.every(({ status }) => status === 'fulfilled')) {
      await lists.forget(id);
    }
  }

  return {
    contactsOf,
    urlOf,
    share,
    join,
    rename,
    unshare,
    leave,
    unshared({ contact, by }: EventOf<'unshared'>): void {
      talks.end(contact);
      talks.forget(contact);
      const [list, name] = split(contact);
      if (by === 'peer' && lists.shelves.has(list)) {
        news = [...news, { id: ++lastId, news: 'unshared', list, name }];
      }
    },
    sound({ contact, alarm }: EventOf<'alarm'>): void {
      const [list, name] = split(contact);
      if (!alarms.some(other => other.contact === contact && other.alarm === alarm)) {
        alarms = [...alarms, { id: ++lastId, alarm, list, contact, name }];
      }
    },
    alarms: () => alarms,
    news: () => news,
    read(id: number): void {
      alarms = alarms.filter(alarm => alarm.id !== id);
    },
    hear(id: number): void {
      news = news.filter(other => other.id !== id);
    },
  };
}
