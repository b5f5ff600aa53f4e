/**
 * What relays store in this client's own boxes, sealed as it is: for a page that shows people what a relay gets to see, and for tests.
 * Apart from the core, which reads the boxes by itself: no app needs it to connect.
 *
 * @module connectoid/inspect
 */

import { argument, type Client } from './client.js';
import { type Contact, type OwnBox, readBoxes } from './contact.js';
import { type Driver, drivers } from './driver.js';
import { checkBody, type NoReply, readChecked, readReceived, receiveBody } from './exchange.js';
import type { RelayUrl } from './relay-url.js';
import { named } from './sessions/index.js';
import { answerTo } from './sessions/mailbox.js';
import type { Reply } from './sessions/output.js';
import { pauseAfter, REST_MAX, reasonOf } from './sessions/requests.js';
import { lives, MINUTE, type State } from './sessions/state.js';
import { post } from './transport.js';

/** A message as a relay stores it. */
export interface StoredMessage {
  /** When it was stored, by the relay's clock: Unix time in microseconds, the cursor of the protocol. */
  readonly at: number;
  /** What is stored: sealed bytes. Of messages between clients there are 4096, 8192 or 16384. */
  readonly data: Uint8Array;
}

/** An own box at one of its relays. */
export interface InspectedBox {
  /** The name of the contact that writes there. */
  readonly contact: string;
  readonly relay: string;
  /** The public key that names it: all that a relay knows of whose it is. */
  readonly box: string;
  /** What is stored there now, oldest first. `undefined` if the relay did not say: `why` tells. */
  readonly messages: readonly StoredMessage[] | undefined;
  /** Why not: as in the event `relays-down`. */
  readonly why: string | undefined;
}

/** How to look. */
export interface InspectOptions {
  /** The name of a contact, for its boxes alone. */
  readonly contact?: string | undefined;
  /** Ends it: then it rejects with the reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a relay has for a reply. */
const PATIENCE = 10_000;

/** The messages in one reply, and the most replies of one box. */
const LIMIT = 32;
const REPLIES_MAX = 64;

/** What goes on with the boxes of one client. */
interface Looks {
  /** One look after the other. */
  last: Promise<unknown>;
  /** Relays that are left alone: until when, and why. */
  rests: Map<RelayUrl, { until: number; why: string }>;
}

const looks = new WeakMap<Driver, Looks>();

/**
 * Asks the relays what they store in the own boxes, as the protocol has it: it proves to be the owner, and takes everything without
 * deleting anything. The client does not notice, and what is stored comes to it all the same.
 *
 * It makes two requests or more for each box at each of its relays, one at a time, and leaves a relay alone that asks for it. Only the
 * client that runs the contacts may look: else it rejects with `inactive`.
 */
export async function inspectBoxes(client: Client, options: InspectOptions = {}): Promise<InspectedBox[]> {
  const driver = drivers.get(client) ?? argument('client');
  const { contact, signal } = options;
  const own = looks.get(driver) ?? { last: Promise.resolve(), rests: new Map() };
  looks.set(driver, own);
  const look = own.last.then(() => inspect(driver, own, contact, signal));
  own.last = look.catch(() => {});
  return look;
}

async function inspect(
  driver: Driver,
  { rests }: Looks,
  name: string | undefined,
  signal: AbortSignal | undefined,
): Promise<InspectedBox[]> {
  const stop = new AbortController();
  const { signal: stopped } = stop;
  const give = () => stop.abort(signal?.reason);
  signal?.addEventListener('abort', give);
  let isDone = false;
  // Another tab may take the contacts over, and the app may close the client.
  void driver.until(() => isDone || undefined).catch(error => stop.abort(error));
  const request = async (relay: RelayUrl, body: string) => {
    const one = new AbortController();
    const end = () => one.abort();
    stopped.addEventListener('abort', end);
    const reply = await post(relay, body, PATIENCE, one);
    stopped.removeEventListener('abort', end);
    stopped.throwIfAborted();
    return reply;
  };
  try {
    signal?.throwIfAborted();
    const found: InspectedBox[] = [];
    const boxes = await driver.until(s => boxesOf(s, driver, name));
    for (const [contact, box] of boxes) {
      for (const relay of box.relays) {
        if (!readBoxes(contact).includes(box)) {
          // It came to be unshared, or was replaced.
          continue;
        }
        const rest = rests.get(relay);
        let messages: StoredMessage[] | undefined;
        let why = rest && performance.now() < rest.until ? rest.why : undefined;
        if (!why) {
          const read = await stored(box, relay, body => request(relay, body));
          if ('failure' in read) {
            why = reasonOf(read);
            rests.set(relay, { until: performance.now() + restAfter(read), why });
          } else {
            messages = read.messages;
          }
        }
        found.push({ contact: contact.name, relay, box: box.key.pub, messages, why });
      }
    }
    return found;
  } finally {
    isDone = true;
    signal?.removeEventListener('abort', give);
  }
}

/** The boxes that are read: of contacts whose keys are stored, for else there is no link to them yet. */
function boxesOf(s: State, driver: Driver, name: string | undefined): [Contact, OwnBox][] {
  const some = name === undefined ? lives(s) : [named(s, name)];
  return some
    .map(({ contact }) => contact)
    .filter(driver.isStored)
    .flatMap(contact => readBoxes(contact).map((box): [Contact, OwnBox] => [contact, box]));
}

/** All that one relay stores in a box. Where it holds nothing, too, the relay asks its question: only the owner is told for certain. */
async function stored(
  box: OwnBox,
  relay: RelayUrl,
  request: (body: string) => Promise<Reply>,
): Promise<{ messages: StoredMessage[] } | NoReply> {
  const { key, ext } = box;
  const checked = readChecked(await request(checkBody(key.pub, ext, 0, relay, true)));
  if (checked.failure) {
    return checked;
  }
  const { answer, what } = await answerTo(box, relay, checked.relay, checked.question);
  if (what) {
    return { failure: 'misbehaves', what };
  }
  const messages: StoredMessage[] = [];
  for (let at = 0, replies = 0; replies < REPLIES_MAX; replies++) {
    const page = readReceived(await request(receiveBody(key.pub, ext, answer, at, LIMIT)), at, LIMIT);
    if (page.failure) {
      return page;
    }
    messages.push(...page.messages);
    if (!page.more) {
      return { messages };
    }
    at = page.at;
  }
  return { failure: 'misbehaves', what: 'no-end' };
}

/** How long a relay is left alone that did not do it. */
function restAfter(read: NoReply): number {
  switch (read.failure) {
    case 'misbehaves':
      return MINUTE;
    case 'refused':
      return Math.max(pauseAfter(0), Math.min(read.retryAfter * 1000, REST_MAX));
    default:
      return pauseAfter(0);
  }
}
