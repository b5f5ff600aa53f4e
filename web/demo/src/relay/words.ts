// What went by between this page and its relays, in words: each says what the relay did, and what it could see by it.

import type { ListView, Person } from '../view.js';
import { isolated, namesOf } from '../words.js';
import { type BoxMessage, type Logged, lies, type RelayInfo } from './log.js';
import type { Exchange, Sealed } from './tap.js';

/** What does not move while the list does. */
export const MESSAGES = 'Messages sent and received';

/** A line of the log: a request, or all that a look asked. */
export interface Line {
  /** That of the first request. */
  readonly id: number;
  readonly began: number;
  readonly words: string;
  /** What came of it; none while it goes on. */
  readonly result?: string | undefined;
  /** How what was stored or handed out begins, as it looked. */
  readonly begins?: string | undefined;
  readonly failed?: boolean | undefined;
  /** Whether this view asked, to look. */
  readonly isLook: boolean;
  readonly requests: number;
  readonly up: number;
  readonly down: number;
}

/** How a box is called here: the beginning of its key. */
export function boxName(box: string): string {
  return `${box.slice(0, 6)}…`;
}

/** The host of a relay, as people know it. */
export function hostOf(relay: string): string {
  try {
    const { host, pathname } = new URL(relay);
    return host + (pathname === '/' ? '' : pathname);
  } catch {
    return relay;
  }
}

export function number(value: number): string {
  return value.toLocaleString('en');
}

export function bytes(count: number): string {
  return count === 1 ? '1 byte' : `${number(count)} bytes`;
}

/** `14:03:05` */
export function time(milliseconds: number): string {
  return new Date(milliseconds).toLocaleTimeString('en-GB');
}

/** A while, as short as it may be said: `0.2 s`, `4 min`. */
export function lasted(milliseconds: number): string {
  const seconds = Math.max(milliseconds, 0) / 1000;
  if (seconds === 3600) {
    return 'an hour';
  }
  if (seconds < 60) {
    return `${seconds < 0.1 ? 'less than 0.1' : seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  }
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** The log, the latest first. */
export function logLines({
  exchanges,
  looks,
  relays,
}: Pick<Logged, 'exchanges' | 'looks' | 'relays'>): Line[] {
  const lines: Line[] = [];
  let look: Exchange[] = [];
  for (const exchange of exchanges) {
    if (looks.has(exchange.id)) {
      const [first] = exchange.asked.boxes;
      if (look.some(({ asked }) => exchange.asked.action === 'check' && asked.boxes[0] === first)) {
        look = [];
      }
      if (look.length > 0) {
        lines.pop();
      }
      look.push(exchange);
      lines.push(lookLine(look));
    } else {
      look = [];
      const { id, began, up, down } = exchange;
      const words = `${asking(exchange)}.`.replace('?.', '?');
      const keeps = relays.get(exchange.relay)?.keeps;
      lines.push({ id, began, words, ...came(exchange, keeps), isLook: false, requests: 1, up, down });
    }
  }
  return lines.reverse();
}

/** Of each box a question is asked, and answered to receive what is in it. */
function lookLine(look: readonly Exchange[]): Line {
  const boxes = new Set(look.flatMap(({ asked }) => asked.boxes));
  const failed = look.find(({ ended, said }) => ended !== undefined && (!said || said.error !== undefined));
  const isDone = look.every(({ ended }) => ended !== undefined) && look.at(-1)?.asked.action === 'receive';
  const found = look.flatMap(({ said }) => said?.messages ?? []);
  const [{ id, began } = { id: 0, began: 0 }] = look;
  const which = boxes.size === 1 ? `box ${[...boxes].map(boxName)}` : `${boxes.size} boxes`;
  return {
    id,
    began,
    words: `This view looked into ${which}, with the owner’s proof, and took nothing away.`,
    ...(failed
      ? came(failed)
      : {
          result: isDone ? (found.length ? `There was ${sealed(found)}.` : 'There was nothing.') : undefined,
          begins: found[0]?.begins,
        }),
    isLook: true,
    requests: look.length,
    up: look.reduce((sum, { up }) => sum + up, 0),
    down: look.reduce((sum, { down }) => sum + down, 0),
  };
}

/** What was asked, as this page would say it. */
function asking({ asked: { action, boxes, wait, data, upto } }: Exchange): string {
  const [box = ''] = boxes;
  switch (action) {
    case 'send':
      return `Put a sealed message of ${bytes(data?.size ?? 0)} into box ${boxName(box)} of somebody else`;
    case 'receive':
      return `Here is the proof that box ${boxName(box)} is mine: what is in it?`;
    case 'delete':
      return upto === undefined
        ? `Delete box ${boxName(box)} and all in it`
        : `Delete from box ${boxName(box)} what I have`;
    default: {
      const which =
        boxes.length === 1
          ? `box ${boxName(box)}`
          : `one of my ${boxes.length} boxes, ${boxes.map(boxName).join(', ')}`;
      return `Is anything in ${which}?${wait ? ` Wait for it up to ${wait} s` : ''}`;
    }
  }
}

/** What came of it. `keeps`: how long this relay promises to keep a message, if it said so. */
function came(
  { asked, ended, began, status, stopped, said }: Exchange,
  keeps?: number,
): Pick<Line, 'result' | 'begins' | 'failed'> {
  if (ended === undefined) {
    return {};
  }
  if (status === undefined) {
    return stopped
      ? { result: 'The page let go of this request to ask anew.' }
      : { result: 'It could not be reached.', failed: true };
  }
  if (!said || said.error !== undefined) {
    return { result: `It refused: ${said?.error ?? status}`, failed: true };
  }
  switch (asked.action) {
    case 'send':
      return {
        result: `It stored it${keeps ? `, for ${lasted(keeps)} at most,` : ''} and cannot open it.`,
        begins: asked.data?.begins,
      };
    case 'receive': {
      const [first] = said.messages;
      return first
        ? { result: `It handed out ${sealed(said.messages)}, which it cannot open.`, begins: first.begins }
        : { result: 'There was nothing in it.' };
    }
    case 'delete':
      return { result: 'It says that it did.' };
    default: {
      const after = asked.wait ? `, after ${lasted(ended - began)}` : '';
      return {
        result: said.found.length
          ? `Something was in ${said.found.map(boxName).join(', ')}${after}.`
          : `Nothing was${after}.`,
      };
    }
  }
}

function sealed(messages: readonly Sealed[]): string {
  const all = bytes(messages.reduce((sum, { size }) => sum + size, 0));
  return messages.length === 1 ? `a sealed message of ${all}` : `${messages.length} sealed messages, ${all}`;
}

/** What became of a message. */
export function fateOf(message: BoxMessage, info: RelayInfo | undefined): string {
  const { at, gone, deleted } = message;
  const ahead = info?.ahead ?? 0;
  const came = at / 1000 - ahead;
  if (gone !== undefined) {
    return deleted ? `gone after ${lasted(gone - came)}` : 'gone';
  }
  if (!lies(message, info)) {
    return 'expired';
  }
  return info?.keeps ? `there until ${time(came + info.keeps)} at the latest` : 'there';
}

/** What changed last in a list. Nothing if nothing did that people see. */
export function lastChange(before: ListView, now: ListView): string | undefined {
  if (before === now) {
    return undefined;
  }
  const old = new Map(before.items.map(item => [item.id, item]));
  for (const { id, text, done } of now.items) {
    const was = old.get(id);
    if (!was) return `${quoted(text)} was added`;
    if (was.text !== text) return `${quoted(was.text)} became ${quoted(text)}`;
    if (was.done !== done) return `${quoted(text)} was ${done ? 'ticked' : 'unticked'}`;
    old.delete(id);
  }
  for (const { text } of old.values()) {
    return `${quoted(text)} was deleted`;
  }
  const moved = now.items.find(({ id }, i) => before.items[i]?.id !== id);
  if (moved) {
    return `${quoted(moved.text)} was moved`;
  }
  return before.name === now.name ? undefined : `${quoted(before.name)} is called ${quoted(now.name)} now`;
}

/** The names of people, who may be in several lists. */
export function once(people: readonly Person[]): string {
  return namesOf([...new Map(people.map(person => [person.name, person])).values()]);
}

/** An entry, or the name of a list. */
export function quoted(text: string): string {
  return `“${isolated(text)}”`;
}

/** `2nd` */
export function ordinal(count: number): string {
  const tens = count % 100;
  return `${count}${((tens < 11 || tens > 13) && { 1: 'st', 2: 'nd', 3: 'rd' }[count % 10]) || 'th'}`;
}
