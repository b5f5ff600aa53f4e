// A relay in memory that keeps to sections 3, 4 and 8 of the protocol, under the time of the test. What it does wrong is in
// attacks.js. It has no limits of a box, and reads `at` only as the integer that this library sends.

import { createHmac } from 'node:crypto';
import { decode, encode } from '../../dist/base64url.js';
import { concat, equal, lp16 } from '../../dist/bytes.js';
import { parseObject } from '../../dist/json.js';
import { compressedBytes, publicKey } from '../../dist/keys.js';
import { seal } from '../../dist/seal/hpke.js';

const AT_MAX = 2 ** 53 - 1;
/** How long a message is kept, in microseconds. */
const LIFE = 3_600_000_000;
/** The longest `wait`, in seconds. */
const WAIT = 25;

const STATUS = { 'Bad request': 400, 'Bad key': 400, 'Wrong answer': 403, 'Not allowed': 403 };

export class MemoryRelay {
  constructor(url, dice) {
    this.url = url;
    this.dice = dice;
    /** Every body that came, with the time. */
    this.seen = [];
    this.loseAll();
  }

  /** It was started again without its disk. */
  loseAll() {
    this.secret = this.dice.bytes(48);
    /** By key: the highest cursor, and the messages with `at`, `stored` (both microseconds) and `data` (b64). */
    this.boxes = new Map();
    /** The questions of the last 15 s: a relay does not seal one anew for every check. */
    this.asked = new Map();
  }

  /** Reads a request: its fields, or `{ refused }`. */
  read(body, now) {
    this.seen.push({ now, body });
    const fields = parseObject(body);
    if (fields === undefined || Buffer.byteLength(body) > (fields.boxes ? 65_536 : 32_768)) {
      return { refused: 'Bad request' };
    }
    try {
      return readers[fields.action]?.(fields) ?? { refused: 'Bad request' };
    } catch (error) {
      if (STATUS[error] === undefined) throw error;
      return { refused: error };
    }
  }

  /** The reply at `now` (Unix microseconds), or `undefined` while the request may go on waiting. */
  async answer(request, now, mayWait) {
    this.forgetOld(now);
    if (request.refused !== undefined) return refusal(request.refused);
    const { action, key, at } = request;
    if (action === 'send') {
      this.store(key, request.data, now);
      return reply({ ok: true });
    }
    if (action === 'check' && request.boxes) return this.answerCheckOfMany(request, now, mayWait);
    if (action === 'check') {
      const found = this.newer(key, at).length > 0;
      if (!found && !request.ask && request.wait > 0 && mayWait) return undefined;
      if (!found && !request.ask) return reply({ ok: true, found });
      return reply({ ok: true, found, question: await this.question(key, now), relay: this.url });
    }
    if (!this.verifies(key, request.answer, now, 60)) return refusal('Wrong answer');
    if (action === 'delete') {
      if (request.all) this.boxes.delete(key);
      const left = this.boxes.get(key);
      if (left) left.messages = left.messages.filter(message => message.at > at);
      return reply({ ok: true });
    }
    const newer = this.newer(key, at);
    const messages = newer.slice(0, request.limit).map(({ at, data }) => ({ at, data }));
    const last = messages.at(-1);
    if (last === undefined) return reply({ ok: true, found: false, at });
    if (request.limit === 1) return reply({ ok: true, ...last });
    return reply({ ok: true, at: last.at, messages, more: newer.length > messages.length });
  }

  async answerCheckOfMany({ boxes, wait }, now, mayWait) {
    const found = boxes.filter(({ key, at }) => this.newer(key, at).length > 0);
    if (found.length === 0 && wait > 0 && mayWait) return undefined;
    if (found.length === 0) return reply({ ok: true, found: false, boxes: [] });
    const asked = [];
    for (const { key } of found) asked.push({ pub: key, question: await this.question(key, now) });
    return reply({ ok: true, found: true, boxes: asked, relay: this.url });
  }

  /** Stores a message, unless it is there already. Gives its cursor. */
  store(key, data, now) {
    this.forgetOld(now);
    const box = this.boxes.get(key) ?? { last: 0, messages: [] };
    this.boxes.set(key, box);
    if (box.messages.some(message => message.data === data)) return undefined;
    box.last = Math.max(box.last + 1, now);
    box.messages.push({ at: box.last, stored: now, data });
    return box.last;
  }

  messages(key) {
    return this.boxes.get(key)?.messages ?? [];
  }

  newer(key, at) {
    return this.messages(key).filter(message => message.at > at);
  }

  async question(key, now) {
    const kept = this.asked.get(key);
    if (kept && now - kept.now < 15_000_000) return kept.question;
    const head = concat(bigEndian(Math.floor(now / 1_000_000)), this.dice.bytes(16));
    const aad = concat(lp16(this.url), compressedBytes(key));
    const sealed = await seal(key, 'connectoid/1 question', aad, concat(head, this.tag(key, head)));
    const question = encode(sealed);
    this.asked.set(key, { now, question });
    return question;
  }

  /** Whether this answers a question of this relay about this box that is no older than so many seconds. */
  verifies(key, answer, now, life) {
    const bytes = decode(answer);
    if (bytes?.length !== 56) return false;
    const head = bytes.slice(0, 24);
    const age = now / 1_000_000 - Number(new DataView(head.buffer).getBigUint64(0));
    return equal(bytes.slice(24), this.tag(key, head)) && age >= -5 && age <= life;
  }

  tag(key, head) {
    const signed = concat('connectoid/1 answer', lp16(this.url), compressedBytes(key), head);
    return new Uint8Array(createHmac('sha384', this.secret).update(signed).digest().subarray(0, 32));
  }

  forgetOld(now) {
    for (const box of this.boxes.values()) {
      box.messages = box.messages.filter(message => now - message.stored < LIFE);
    }
  }
}

/** A reply as it stands on the wire. */
export function reply(body, status = 200) {
  return { status, body: JSON.stringify(body) };
}

export function refusal(error) {
  return reply({ ok: false, error }, STATUS[error]);
}

function bigEndian(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

const readers = {
  send(fields) {
    const bytes = typeof fields.data === 'string' ? decode(fields.data) : undefined;
    must(bytes && bytes.length >= 1 && bytes.length <= 16_384);
    return { action: 'send', key: readKey(fields.pub), ext: readExt(fields.ext), data: fields.data };
  },
  check(fields) {
    const ext = readExt(fields.ext);
    const wait = Math.min(readInteger(fields.wait, 0), WAIT);
    must(fields.relay === undefined || typeof fields.relay === 'string');
    const common = { action: 'check', ext, relay: fields.relay, wait };
    if (fields.boxes !== undefined) {
      must(fields.pub === undefined && fields.ask !== true && Array.isArray(fields.boxes));
      const boxes = fields.boxes.map(({ pub, at }) => ({ key: readKey(pub), at: readAt(at) }));
      must(boxes.length >= 1 && boxes.length <= 100);
      must(new Set(boxes.map(({ key }) => key)).size === boxes.length);
      return { ...common, boxes };
    }
    must(fields.ask === undefined || typeof fields.ask === 'boolean');
    return { ...common, key: readKey(fields.pub), at: readAt(fields.at), ask: fields.ask === true };
  },
  receive(fields) {
    const limit = readInteger(fields.limit, 1);
    must(limit >= 1 && limit <= 32);
    return { action: 'receive', ...readOwner(fields), at: readAt(fields.at), limit };
  },
  delete(fields) {
    must((fields.at === undefined) === (fields.all === true));
    const owner = readOwner(fields);
    return { action: 'delete', ...owner, at: readAt(fields.at), all: fields.all === true };
  },
};

function readOwner(fields) {
  must(typeof fields.answer === 'string');
  return { key: readKey(fields.pub), ext: readExt(fields.ext), answer: fields.answer };
}

function readKey(pub) {
  must(typeof pub === 'string');
  const key = publicKey(pub);
  must(key !== undefined, 'Bad key');
  return key;
}

function readExt(ext) {
  if (ext === undefined || ext === null || ext === '') return undefined;
  must(typeof ext === 'string' && ext.length <= 1024 && decode(ext) !== undefined);
  return ext;
}

function readInteger(value, absent) {
  must(value === undefined || Number.isInteger(value));
  return value ?? absent;
}

function readAt(value) {
  return Math.min(Math.max(readInteger(value, 0), 0), AT_MAX);
}

function must(holds, error = 'Bad request') {
  if (!holds) throw error;
}
