// What this page and its relays said to each other, and what of it lay at the relays: the last of it, for the screen.

import type { InspectedBox } from '../../../src/inspect.js';
import { type Exchange, readBody, type StoredMessage, tap } from './tap.js';

/** A message that lies, or lay, in a box of this device. */
export interface BoxMessage extends StoredMessage {
  readonly relay: string;
  readonly box: string;
  /** When it was seen to be gone. Unix milliseconds, by this device's clock. */
  readonly gone?: number | undefined;
  /** Whether this page took and deleted it; else it was gone when somebody looked. */
  readonly deleted?: boolean | undefined;
}

/** What a relay says of itself, and of whoever asks. */
export interface RelayInfo {
  /** The address that it takes this page for. */
  readonly client?: string | undefined;
  /** For how long it promises to keep a message. Milliseconds. */
  readonly keeps?: number | undefined;
  /** How far its clock is ahead of this one. Milliseconds. */
  readonly ahead: number;
}

/** All of it as of now: another object after each change. */
export interface Logged {
  /** Oldest first; the last 200. */
  readonly exchanges: readonly Exchange[];
  /** Those of them that this view made itself, to look. */
  readonly looks: ReadonlySet<number>;
  /** Since the page was opened. */
  readonly requests: number;
  readonly up: number;
  readonly down: number;
  /** The messages that this page put into boxes, or found in its own, since then. */
  readonly messages: number;
  /** Oldest first. */
  readonly stored: readonly BoxMessage[];
  /** By URL. */
  readonly relays: ReadonlyMap<string, RelayInfo>;
}

export interface RelayLog {
  logged(): Logged;
  /** Calls `changed` after each change, until what it returns is called. */
  subscribe(changed: () => void): () => void;
  /** Looks into boxes by `inspect`, so that what it asks is known for that. */
  look(inspect: () => Promise<readonly InspectedBox[]>): Promise<readonly InspectedBox[]>;
  /** Asks a relay what it says of itself, until it said so once, and not often. */
  ask(relay: string): Promise<void>;
}

/** What is remembered. */
const EXCHANGES_MAX = 200;
const STORED_MAX = 60;

/** How long a relay has to say what it is, in how many bytes, and how long it is not asked again if it did not. Milliseconds. */
const INFO_TIME = 10_000;
const INFO_MAX = 64 * 1024;
const INFO_PAUSE = 60_000;
/** No address is longer, and no clock farther off. */
const ADDRESS_CHARS = 64;
const YEAR = 365 * 24 * 3600 * 1000;

let opened: RelayLog | undefined;

/** The log of this page: begun by the first call, which is best made before anything is asked. */
export function openRelayLog(): RelayLog {
  opened ??= relayLog(globalThis);
  return opened;
}

/** A log of what `scope.fetch` posts from now on. */
export function relayLog(scope: { fetch: typeof fetch }): RelayLog {
  const changes = new Set<() => void>();
  let logged: Logged = {
    exchanges: [],
    looks: new Set(),
    requests: 0,
    up: 0,
    down: 0,
    messages: 0,
    stored: [],
    relays: new Map(),
  };
  /** The boxes that are looked into: of each the question is asked first, and what is received next is for the look. */
  let looksGoing = 0;
  const looking = new Set<string>();
  /** When each relay was asked what it is. */
  const asked = new Map<string, number>();

  function change(more: Partial<Logged>): void {
    logged = { ...logged, ...more };
    for (const changed of [...changes]) {
      changed();
    }
  }

  function heard(exchange: Exchange): void {
    const { exchanges, looks, requests, up, down, messages } = logged;
    const stored = storedAfter(exchange);
    const begins = exchange.ended === undefined;
    const last = begins
      ? [...exchanges, exchange].slice(-EXCHANGES_MAX)
      : exchanges.map(one => (one.id === exchange.id ? exchange : one));
    const first = last[0]?.id ?? 0;
    const ownLooks = new Set([...looks].filter(id => id >= first));
    if (begins && isLook(exchange)) {
      ownLooks.add(exchange.id);
    }
    change({
      exchanges: last,
      looks: ownLooks,
      requests: requests + (begins ? 1 : 0),
      up: up + (begins ? exchange.up : 0),
      down: down + exchange.down,
      messages:
        messages +
        (isSent(exchange) ? 1 : stored.filter(one => !logged.stored.includes(one) && !one.gone).length),
      stored,
    });
  }

  function isLook({ asked: { action, ask, boxes } }: Exchange): boolean {
    const [box = ''] = boxes;
    if (looksGoing && action === 'check' && ask) {
      looking.add(box);
      return true;
    }
    return action === 'receive' && looking.delete(box);
  }

  /** What lies at the relays, by what was just said. */
  function storedAfter({ relay, asked, ended, status, said }: Exchange): readonly BoxMessage[] {
    const [box = ''] = asked.boxes;
    if (status !== 200 || !said || said.error !== undefined) {
      return logged.stored;
    }
    if (asked.action === 'receive') {
      return storedAlso(said.messages.map(message => ({ ...message, relay, box })));
    }
    const { upto = Infinity } = asked;
    return asked.action !== 'delete'
      ? logged.stored
      : logged.stored.map(one =>
          one.relay === relay && one.box === box && one.at <= upto && one.gone === undefined
            ? { ...one, gone: ended, deleted: true }
            : one,
        );
  }

  /** A message is the same by where and when it was stored: a box has no two at one time. */
  function storedAlso(more: readonly BoxMessage[]): readonly BoxMessage[] {
    const isNew = (one: BoxMessage) =>
      !logged.stored.some(({ relay, box, at }) => relay === one.relay && box === one.box && at === one.at);
    const all = [...logged.stored, ...more.filter(isNew)].sort((a, b) => a.at - b.at);
    return all.slice(-STORED_MAX);
  }

  tap(scope, heard);
  return {
    logged: () => logged,
    subscribe(changed) {
      changes.add(changed);
      return () => {
        changes.delete(changed);
      };
    },
    async look(inspect) {
      looksGoing++;
      const since = new Set(logged.stored);
      try {
        const boxes = await inspect();
        const now = Date.now();
        // What lay there before the look, and does not any more: nobody here deleted it.
        const isMissing = (one: BoxMessage) =>
          since.has(one) &&
          one.gone === undefined &&
          boxes.some(
            ({ relay, box, messages }) =>
              relay === one.relay && box === one.box && messages?.every(({ at }) => at !== one.at),
          );
        change({ stored: logged.stored.map(one => (isMissing(one) ? { ...one, gone: now } : one)) });
        return boxes;
      } finally {
        looksGoing--;
      }
    },
    async ask(url) {
      const relay = url.replace(/\/$/, '');
      const now = performance.now();
      if (logged.relays.has(relay) || now < (asked.get(relay) ?? -Infinity) + INFO_PAUSE) {
        return;
      }
      asked.set(relay, now);
      const info = await infoOf(relay).catch(() => undefined);
      if (info) {
        change({ relays: new Map(logged.relays).set(relay, info) });
      }
    },
  };

  async function infoOf(relay: string): Promise<RelayInfo | undefined> {
    const began = Date.now();
    const reply = await scope.fetch(`${relay}/info`, {
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
      // A link names the relay; nobody but that one is asked.
      redirect: 'error',
      signal: AbortSignal.timeout(INFO_TIME),
    });
    if (reply.status !== 200) {
      return undefined;
    }
    const { client, limits, time } = JSON.parse((await readBody(reply, INFO_MAX)).text);
    const keeps = limits?.messageTtl * 1000;
    const ahead = time / 1000 - (began + Date.now()) / 2;
    return {
      client: typeof client === 'string' && client.length <= ADDRESS_CHARS ? client : undefined,
      keeps: keeps > 0 && keeps < YEAR ? keeps : undefined,
      ahead: Math.abs(ahead) < YEAR ? ahead : 0,
    };
  }
}

/** Whether it put a message into a box. */
export function isSent({ asked, status }: Exchange): boolean {
  return asked.action === 'send' && status === 200;
}

/** Whether it is in its box still, for all that is known here. */
export function lies({ at, gone }: BoxMessage, info: RelayInfo | undefined): boolean {
  return gone === undefined && Date.now() + (info?.ahead ?? 0) < at / 1000 + (info?.keeps ?? Infinity);
}

/**
 * The pause between two looks that nobody asked for, if there are so many people, who have a box each. A look costs two requests a box,
 * and a relay counts them with those that the app itself needs: as a rule it takes 600 checks and hands out 300 times a minute.
 */
export function pauseOf(people: number): number {
  return Math.max(10_000, people * 1000);
}
