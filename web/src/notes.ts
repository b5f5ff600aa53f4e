/**
 * Notes: one-way messages of up to 8 kB that need no connection. Apart from the core, which takes them in: most apps write none.
 *
 * @module connectoid/notes
 */

import { type Bytes, text, utf8 } from './bytes.js';
import { argument, type Client, parse } from './client.js';
import { type Driver, drivers } from './driver.js';
import { fail } from './errors.js';
import { trimmed } from './sessions/index.js';
import { notesHandedOver, noteTo, note as noteToContact } from './sessions/notes.js';
import { reasonOf } from './sessions/requests.js';

/** A note that came. */
export interface Note {
  /** What was written, if it is text. */
  readonly text: string | undefined;
  readonly bytes: Uint8Array;
  /** When it was written, as its writer says. Unix milliseconds. */
  readonly written: number;
  /** Whether the contact wrote it; else anybody who had the link. */
  readonly proven: boolean;
}

/**
 * Sends a note, of 8,892 bytes at most, to a contact, or to whoever shared a link. Fulfilled when a relay has it, which keeps it for
 * an hour. Rejects with `not-sent` if none takes it: to a contact it is tried for an hour, unless all refuse it; to a link once.
 */
export async function sendNote(client: Client, nameOrLink: string, note: string | Uint8Array): Promise<void> {
  const driver = driverOf(client);
  const bytes: Bytes = typeof note === 'string' ? utf8(note) : new Uint8Array(note);
  // What could be part of a link is one that was cut, rather than a name.
  const isLink = !driver.state().contacts.has(trimmed(nameOrLink)) && /[.=]/.test(nameOrLink);
  const link = isLink ? parse(nameOrLink).connectoid : undefined;
  const message = await driver.call(s =>
    link ? noteTo(s, link, bytes) : noteToContact(s, nameOrLink, bytes),
  );
  await driver.until(s => {
    const isOnItsWay = s.outgoing.some(leg => leg.message === message && !(link && leg.tries));
    if (!message.delivered && !isOnItsWay) {
      fail('not-sent', 'no relay took it: try again later', message.failed && reasonOf(message.failed));
    }
    return message.delivered || undefined;
  });
}

/** The notes that came and were not taken, oldest first. The event `note` says that one came. */
export function notes(client: Client, name: string): Note[] {
  const driver = driverOf(client);
  const { inbox = [], peer } = driver.state().contacts.get(trimmed(name))?.contact ?? {};
  return inbox.filter(driver.isStored).map(({ ik, ts, note }) => ({
    text: text(note),
    bytes: note.slice(),
    written: ts,
    proven: peer?.pinned === true && peer.ik === ik,
  }));
}

/** Forgets the first notes: they were shown or kept elsewhere. */
export async function takeNotes(client: Client, name: string, count: number): Promise<void> {
  if (!(Number.isInteger(count) && count >= 0)) {
    argument('count');
  }
  await driverOf(client).call(s => notesHandedOver(s, name, count));
}

/** What runs a client. There is none if it was made by another copy of the library. */
function driverOf(client: Client): Driver {
  return drivers.get(client) ?? argument('client');
}
