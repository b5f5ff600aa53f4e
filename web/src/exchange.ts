// One exchange with a relay, without the network: the text that is posted, and what came back as a reply or as the reason why
// there is none.

import { decode, encode } from './base64url.js';
import type { Bytes } from './bytes.js';
import { integer, type JsonObject, parseObject, string, whole } from './json.js';
import { type PublicKey, publicKey } from './keys.js';
import type { RelayUrl } from './relay-url.js';
import type { Misbehaviour, Reply } from './sessions/output.js';

/** Why there is no reply. */
export type NoReply =
  /** Not reached, or no reply in time. */
  | { failure: 'unreachable' }
  /**
   * The relay's own words: short, on one line and without control characters, but not to be believed. `why`: the error, and what it
   * says more. `retryAfter` in seconds, 0 if it gave none.
   */
  | { failure: 'refused'; error: string; why: string; retryAfter: number }
  /** What came is not what an honest relay sends. */
  | { failure: 'misbehaves'; what: Misbehaviour };

/** A reply has no `failure`: `if (reply.failure)` tells the two apart. */
type Replied<T> = (T & { failure?: undefined }) | NoReply;

/** The reply to a check of one box. `relay` is the URL that the question is said to be bound to. */
export interface Checked {
  found: boolean;
  question: string | undefined;
  relay: string | undefined;
}

/** The reply to a check of many boxes: those in which something was found. */
export interface CheckedMany {
  found: boolean;
  boxes: { key: PublicKey; question: string }[];
  relay: string | undefined;
}

/** Some messages of a box, in the order of their cursors; none if there is nothing newer. */
export interface Page {
  /** The cursor to go on from. */
  at: number;
  messages: { at: number; data: Bytes }[];
  /** Whether the relay says that there are more. */
  more: boolean;
}

/** The longest `error` and `detail` that are passed on. */
const ERROR_CHARS = 64;
const DETAIL_CHARS = 300;

/** The most boxes one check may ask about. */
export const BOXES_MAX = 100;

/** Puts a message into a box. */
export function sendBody(to: PublicKey, ext: string | undefined, data: Uint8Array): string {
  return body(to, ext, 'send', { data: encode(data) });
}

/** Asks whether a box holds anything newer than `at`; `ask`: for a question in any case. */
export function checkBody(
  key: PublicKey,
  ext: string | undefined,
  at: number,
  relay: RelayUrl,
  ask: boolean,
): string {
  return body(key, ext, 'check', { at, ask: ask || undefined, relay });
}

/** Asks which of 1 to 100 boxes hold anything new, and to wait up to `wait` seconds for it. */
export function checkManyBody(
  boxes: { key: PublicKey; at: number }[],
  ext: string | undefined,
  relay: RelayUrl,
  wait: number,
): string {
  return body(undefined, ext, 'check', {
    boxes: boxes.map(({ key, at }) => ({ pub: key, at })),
    relay,
    wait: wait || undefined,
  });
}

/** Takes messages behind `at`, up to `limit` of them. */
export function receiveBody(
  key: PublicKey,
  ext: string | undefined,
  answer: string,
  at: number,
  limit: number,
): string {
  return body(key, ext, 'receive', { answer, at, limit });
}

/** Deletes what is stored up to a cursor, or the whole box. */
export function deleteBody(
  key: PublicKey,
  ext: string | undefined,
  answer: string,
  upto: number | 'all',
): string {
  return body(key, ext, 'delete', { answer, ...(upto === 'all' ? { all: true } : { at: upto }) });
}

/** To `send` and `delete`. */
export function readDone(reply: Reply): Replied<object> {
  return read(reply, () => ({}));
}

/** To `check` of one box. */
export function readChecked(reply: Reply): Replied<Checked> {
  return read(
    reply,
    ({ found, question, relay }) =>
      typeof found === 'boolean' &&
      isText(question) &&
      isText(relay) && { found, question: question ?? undefined, relay: relay ?? undefined },
  );
}

/** To `check` of many boxes. */
export function readCheckedMany(reply: Reply): Replied<CheckedMany> {
  return read(reply, ({ found, boxes: list, relay }) => {
    // No more were asked about, and each key that is new here is some work.
    const boxes =
      Array.isArray(list) &&
      list.length <= BOXES_MAX &&
      whole(list.map(box => whole({ key: publicKey(box?.pub), question: string(box?.question) })));
    return (
      boxes && typeof found === 'boolean' && isText(relay) && { found, boxes, relay: relay ?? undefined }
    );
  });
}

/** To `receive` of up to `limit` (above 1) behind `after`. */
export function readReceived(reply: Reply, after: number, limit: number): Replied<Page> {
  return read(reply, ({ at, messages: list, data, more, found }) => {
    if (typeof at !== 'number') {
      return undefined;
    }
    if (!Array.isArray(list) || typeof more !== 'boolean') {
      return decode(data) ? 'not-a-list' : found === false && { at: after, messages: [], more: false };
    }
    const messages = whole(list.map(one => whole({ at: integer(one?.at), data: decode(one?.data) })));
    if (!messages) {
      return undefined;
    }
    const ascending = messages.every((one, i) => one.at > (messages[i - 1]?.at ?? after));
    return ascending && messages.length <= limit && messages.at(-1)?.at === at
      ? { at, messages, more }
      : 'cursor';
  });
}

/** The fields as the Rust library writes them, in this order. */
function body(pub: PublicKey | undefined, ext: string | undefined, action: string, rest: JsonObject): string {
  return JSON.stringify({ pub, ext: ext ?? null, action, ...rest });
}

/** `as` reads the fields of a success: nothing if they are not those of the reply that is expected. */
function read<T extends object>(
  reply: Reply,
  as: (fields: JsonObject) => T | Misbehaviour | false | undefined,
): Replied<T> {
  if (reply === 'unreachable') {
    return { failure: reply };
  }
  if (typeof reply === 'string') {
    return { failure: 'misbehaves', what: reply };
  }
  const { status } = reply;
  const fields = parseObject(reply.body) ?? {};
  const { ok, error, detail, retryAfter } = fields;
  if (status >= 200 && status < 300) {
    // JSON of something that is no relay must not count as a message stored.
    const read = (ok === true && as(fields)) || 'not-the-protocol';
    return typeof read === 'string' ? { failure: 'misbehaves', what: read } : read;
  }
  const rest = retryAfter == null ? 0 : integer(retryAfter);
  return ok === false &&
    status >= 400 &&
    status <= 599 &&
    typeof error === 'string' &&
    isText(detail) &&
    rest !== undefined
    ? {
        failure: 'refused',
        error: oneLine(error, ERROR_CHARS),
        why: oneLine(error, ERROR_CHARS) + (detail ? `: ${oneLine(detail, DETAIL_CHARS)}` : ''),
        retryAfter: rest,
      }
    : { failure: 'misbehaves', what: 'status' };
}

/** A field that may be absent or null. */
function isText(value: unknown): value is string | null | undefined {
  return value == null || typeof value === 'string';
}

/**
 * What a stranger wrote, fit to be shown: neither control characters nor marks that turn the direction of writing, and cut where
 * it gets long.
 */
function oneLine(text: string, most: number): string {
  const chars = [...text.replace(/[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, '\ufffd')];
  return chars.slice(0, most).join('') + (chars.length > most ? '…' : '');
}
