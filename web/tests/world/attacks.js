// What a dishonest relay does. Everything that it sends is made of what a relay has: the requests that came to it, its own keys, and
// the questions of a relay it works together with.

import { decode, encode } from '../../dist/base64url.js';
import { concat, lp16 } from '../../dist/bytes.js';
import { compressedBytes, generateBoxKey, generateSigningKey } from '../../dist/keys.js';
import { seal } from '../../dist/seal/hpke.js';
import { hashOf, sealMessage } from '../../dist/seal/message.js';
import { Dice } from './dice.js';
import { MemoryRelay, refusal, reply } from './relay.js';

/** How many messages are in one reply. */
const LIST = 32;
const AT_MAX = 2 ** 53 - 1;

/** One kind of dishonesty each. */
export const ATTACKS = [
  // A message that was delivered is delivered again, under a new cursor.
  'replay',
  // A message is delivered from another box than the one it was sent to.
  'swap',
  // Random bytes of the right size.
  'forged-bytes',
  // An offer, sealed without the secret and signed by the relay's own key; and so on.
  'forged-offer',
  'forged-answer',
  'forged-refusal',
  'forged-bye',
  'forged-note',
  // One bit of a message is another.
  'changed-byte',
  // What was sent first is delivered last.
  'reorder',
  // The relay says that it stored a message, and delivers it later.
  'withhold',
  // The relay says that there is nothing.
  'hide',
  // The same message twice in one reply.
  'duplicate',
  // A stored message instead of a question.
  'message-as-question',
  // The question of another relay, as the own one or named as the other's.
  'foreign-question',
  'foreign-question-named',
  // The question about one box for another.
  'question-of-another-box',
  // A question that is none: of another length, though sealed as one.
  'long-question',
  // A cursor in the far future, or before the one asked about.
  'huge-at',
  'at-back',
  // A cursor that is no integer.
  'odd-at',
  // There is always more.
  'endless-more',
  // More messages than were asked for, or none, or one where a list was asked for.
  'too-many',
  'empty-list',
  'one-for-many',
  'not-json',
  'wrong-types',
  'name-twice',
  'ok-false-with-200',
  'html-with-500',
  'ok-with-500',
  // Something was found, but in no box.
  'found-no-boxes',
  // A box that was not asked about.
  'unasked-box',
  'box-twice',
  // More than 1 MiB.
  'oversized',
  'redirect',
  // The relay says that it stored a message, and did not.
  'lying-ok',
  // The relay says that it deleted what it keeps.
  'keeps-deleted',
  'busy',
  // Come back in 136 years.
  'huge-retry-after',
  // A refusal that will not pass; right answers among them.
  'not-allowed',
  'wrong-answer',
  // No reply before the client's patience ends.
  'silence',
];

/** What fits any request: the reply, and what the client must call it. */
const TO_ANY = {
  'not-json': [{ status: 200, body: 'ok' }, 'not-the-protocol'],
  'wrong-types': [reply({ ok: 'yes', found: 1, boxes: {}, messages: '', at: {} }), 'not-the-protocol'],
  'name-twice': [
    { status: 200, body: '{"ok":false,"ok":true,"found":false,"boxes":[]}' },
    'not-the-protocol',
  ],
  'ok-false-with-200': [reply({ ok: false, error: 'Busy' }), 'not-the-protocol'],
  'html-with-500': [{ status: 500, body: '<!doctype html><h1>Oops</h1>' }, 'status'],
  'ok-with-500': [reply({ ok: true, found: false, boxes: [] }, 500), 'status'],
  redirect: [{ status: 302, body: '' }, 'redirect'],
  oversized: [{ status: 200, body: ' '.repeat(1024 * 1024 + 1) }, 'too-large'],
  busy: [reply({ ok: false, error: 'Busy' }, 503)],
  'huge-retry-after': [reply({ ok: false, error: 'Too often', retryAfter: 4_294_967_295 }, 429)],
};

/** The mind of one dishonest relay. */
export class Dishonesty {
  /** The relay of this index does these attacks to so many of a hundred requests, until then (Unix microseconds). */
  static async of(relay, mix, percent, until, dice) {
    const mind = new Dishonesty();
    Object.assign(mind, { relay, mix, percent, until, dice });
    /** How often each attack took effect. */
    mind.counts = new Map();
    /** Every message that came (b64), and for which box. */
    mind.vault = [];
    /** What it put into boxes, to be counted when it is received. */
    mind.planted = [];
    mind.withheld = [];
    /** Of which boxes there is always more, and how many replies said so. */
    mind.endless = new Map();
    /** A second relay, for worlds in which there is no other. */
    mind.other = new MemoryRelay('https://other.example', new Dice(dice.next()));
    mind.signer = await generateSigningKey(false);
    // Above what anybody else has counted to.
    mind.n = 1000;
    /** What it forged, for each box: made once, delivered again and again. */
    mind.forged = new Map();
    /** Where answers to its own offers would go. */
    mind.own = await generateBoxKey(false);
    mind.secret = dice.bytes(32);
    return mind;
  }

  /** It does nothing but this from now on, to every request. */
  turnsTo(attack, until) {
    Object.assign(this, { mix: [attack], percent: 100, until });
  }

  /** What the relay replies instead of the truth, if it lies. Before a true reply it may have put something into the box. */
  async instead(relays, relay, request, now) {
    if (relay !== this.relay) return undefined;
    const { action, key, data, at } = request;
    if (action === 'send' && !this.vault.some(known => known.data === data)) this.vault.push({ key, data });
    this.deliverWithheld(relays[relay], now);
    if (action === 'receive' && now < this.until && this.endless.has(key)) return this.noEnd(key, at);
    const attacks = now < this.until && this.dice.below(100) < this.percent && this.mix.length > 0;
    const lie = attacks ? await this.attack(this.dice.pick(this.mix), relays, request, now) : undefined;
    if (lie === undefined && action === 'receive') this.countPlanted(relays[relay], key, at);
    return lie;
  }

  tookEffect(attack) {
    this.counts.set(attack, (this.counts.get(attack) ?? 0) + 1);
  }

  deliverWithheld(relay, now) {
    const due = this.withheld.filter(one => one.due <= now || now >= this.until);
    this.withheld = this.withheld.filter(one => !due.includes(one));
    for (const { key, data } of due) {
      relay.store(key, data, now);
      this.tookEffect('withhold');
    }
  }

  countPlanted(relay, key, after) {
    const delivered = relay.newer(key, after).slice(0, LIST);
    const is = one => one.key === key && delivered.some(({ at }) => at === one.at);
    for (const { attack } of this.planted.filter(is)) this.tookEffect(attack);
    this.planted = this.planted.filter(one => !is(one));
  }

  /** Tries an attack on a request. Not every one fits every request. */
  async attack(attack, relays, request, now) {
    const lie = (await this.lieTo(attack, relays, request, now)) ?? lieToAny(attack);
    // These are counted later, and with each reply.
    const later = ['withhold', 'endless-more'].includes(attack) || (attack === 'reorder' && request.boxes);
    if (lie && !later) this.tookEffect(attack);
    return lie;
  }

  async lieTo(attack, relays, request, now) {
    const { action, key, at, data } = request;
    if (action === 'send') return this.lieToSend(attack, key, data, now);
    if (action === 'check' && request.boxes) return this.lieToCheck(attack, relays, request.boxes, now);
    if (action === 'check') return this.lieToAsk(attack, relays, key, now);
    if (attack === 'wrong-answer') return lies(refusal('Wrong answer'));
    if (action === 'receive') return this.lieToReceive(attack, relays[this.relay], key, at);
    return attack === 'keeps-deleted' ? lies(reply({ ok: true })) : undefined;
  }

  lieToSend(attack, key, data, now) {
    if (attack === 'not-allowed') return lies(refusal('Not allowed'));
    if (attack === 'withhold') {
      this.withheld.push({ due: now + this.dice.between(1_000_000, 100_000_000), key, data });
      return lies(reply({ ok: true }));
    }
    return attack === 'lying-ok' ? lies(reply({ ok: true })) : undefined;
  }

  async lieToCheck(attack, relays, boxes, now) {
    const relay = relays[this.relay];
    const full = boxes.filter(({ key, at }) => relay.newer(key, at).length > 0);
    const { key, at } = this.dice.pick(full.length > 0 ? full : boxes);
    const nothing = () => lies(reply({ ok: true, found: false, boxes: [] }));
    const found = (boxes, named, url = relay.url) =>
      lies(reply({ ok: true, found: true, boxes, relay: url }), named);
    switch (attack) {
      case 'hide':
        return relay.newer(key, at).length > 0 ? nothing() : undefined;
      case 'reorder':
        // There must be two first.
        if (relay.newer(key, at).length === 1) return nothing();
        return undefined;
      case 'found-no-boxes':
        return found([], 'no-question');
      case 'unasked-box':
        return found(
          [{ pub: this.own.pub, question: await relay.question(this.own.pub, now) }],
          'no-question',
        );
      case 'box-twice': {
        const question = await relay.question(key, now);
        return found(
          [1, 2].map(() => ({ pub: key, question })),
          'no-question',
        );
      }
      default: {
        const asked = await this.falseQuestion(attack, relays, key, now);
        if (asked) return found([{ pub: key, question: asked.question }], asked.named, asked.relay);
        await this.plant(attack, relay, key, now);
        return undefined;
      }
    }
  }

  /** The question before a box is deleted. */
  async lieToAsk(attack, relays, key, now) {
    const asked = await this.falseQuestion(attack, relays, key, now);
    if (asked === undefined) return undefined;
    const { question, named, relay } = asked;
    return lies(reply({ ok: true, found: false, question, relay }), named);
  }

  /** A question that must not be answered, and the relay that it says it is bound to. */
  async falseQuestion(attack, relays, key, now) {
    const own = relays[this.relay];
    const other = relays.find(relay => relay !== own) ?? this.other;
    const foreign = question => question && { question, named: 'foreign-question', relay: own.url };
    switch (attack) {
      case 'message-as-question': {
        const fit = this.vault.filter(message => message.key === key);
        return foreign(fit.length > 0 ? this.dice.pick(fit).data : this.vault[0]?.data);
      }
      case 'foreign-question':
        return foreign(await other.question(key, now));
      case 'foreign-question-named':
        return { question: await other.question(key, now), named: 'other-relay', relay: other.url };
      case 'question-of-another-box': {
        const another = this.vault.find(message => message.key !== key);
        return foreign(another && (await own.question(another.key, now)));
      }
      case 'long-question': {
        const aad = concat(lp16(own.url), compressedBytes(key));
        return foreign(encode(await seal(key, 'connectoid/1 question', aad, new Uint8Array(57))));
      }
      default:
        return undefined;
    }
  }

  lieToReceive(attack, relay, key, at) {
    const honest = relay.newer(key, at).slice(0, LIST);
    const plain = honest.map(({ at, data }) => ({ at, data }));
    const count = honest.length;
    switch (attack) {
      case 'huge-at': {
        if (count === 0) return undefined;
        const far = plain.map((message, index) => ({ ...message, at: AT_MAX - (count - 1 - index) }));
        return list(far, false, 'cursor-ahead');
      }
      case 'at-back':
        return list([{ at: 0, data: 'eA' }], false, 'cursor');
      case 'odd-at':
        return list([{ at: at + 0.5, data: 'eA' }], false, 'not-the-protocol');
      case 'too-many':
        return list(numbered(Array(LIST + 1).fill({ data: 'eA' }), at), false, 'cursor');
      case 'empty-list':
        return lies(reply({ ok: true, at, messages: [], more: true }), 'cursor');
      case 'one-for-many':
        return lies(reply({ ok: true, at: at + 1, data: 'eA' }), 'not-a-list');
      case 'endless-more':
        return this.noEnd(key, at);
      case 'duplicate':
        return count > 0 ? list(numbered([...plain, ...plain].slice(0, LIST), at), false) : undefined;
      case 'reorder':
        return count > 1 ? list(numbered(plain.reverse(), at), false) : undefined;
      case 'changed-byte': {
        if (count === 0) return undefined;
        const message = this.dice.pick(plain);
        const bytes = decode(message.data);
        bytes[this.dice.below(bytes.length)] ^= 1 << this.dice.below(8);
        message.data = encode(bytes);
        return list(plain, false);
      }
      default:
        return undefined;
    }
  }

  /** There is one message more, and another behind it: 64 replies long, which is when a client gives up. */
  noEnd(key, at) {
    this.tookEffect('endless-more');
    const replies = (this.endless.get(key) ?? 0) + 1;
    if (replies < 64) this.endless.set(key, replies);
    else this.endless.delete(key);
    return list([{ at: at + 1, data: 'eA' }], true);
  }

  /** Puts something of its own making into a box. */
  async plant(attack, relay, key, now) {
    const data = await this.forge(attack, key, now);
    if (data === undefined) return;
    const box = relay.boxes.get(key) ?? { last: 0, messages: [] };
    relay.boxes.set(key, box);
    box.last = Math.max(box.last + 1, now);
    box.messages.push({ at: box.last, stored: now, data });
    this.planted.push({ key, at: box.last, attack });
  }

  async forge(attack, key, now) {
    if (attack === 'replay' || attack === 'swap') {
      const fit = this.vault.filter(message => (message.key === key) === (attack === 'replay'));
      return fit.length > 0 ? this.dice.pick(fit).data : undefined;
    }
    if (attack === 'forged-bytes') {
      const bytes = this.dice.bytes(4096);
      // Even with a point on the curve, so that it is no junk before the tag is looked at.
      if (this.vault.length > 0) bytes.set(decode(this.dice.pick(this.vault).data).slice(0, 98));
      return encode(bytes);
    }
    const content = await this.forgedContent(attack);
    if (content === undefined) return undefined;
    const id = `${attack} ${key}`;
    if (!this.forged.has(id)) {
      this.n += 1;
      const sealed = await sealMessage(key, undefined, this.signer, this.n, Math.floor(now / 1000), content);
      this.forged.set(id, encode(sealed.data));
    }
    return this.forged.get(id);
  }

  async forgedContent(attack) {
    const re = await hashOf(new TextEncoder().encode('one that it never saw'));
    switch (attack) {
      case 'forged-offer': {
        const connectoid = { key: this.own.pub, relays: ['https://one.example'], secret: this.secret };
        return { typ: 'offer', connectoid, sasCommit: new Uint8Array(48), sdp: anSdp() };
      }
      case 'forged-answer':
        return { typ: 'answer', re, sasNonce: new Uint8Array(32), sdp: anSdp() };
      case 'forged-refusal':
        return { typ: 'refuse', re, reason: 'link-used' };
      case 'forged-bye':
        return { typ: 'bye' };
      case 'forged-note':
        return { typ: 'note', note: new TextEncoder().encode('of the relay') };
      default:
        return undefined;
    }
  }
}

export function anSdp() {
  return `v=0\r\na=fingerprint:sha-256 ${Array(32).fill('AB').join(':')}\r\n`;
}

function lies(reply, named = undefined) {
  return { reply, named };
}

function lieToAny(attack) {
  if (attack === 'silence') return { reply: 'unreachable', late: true };
  return TO_ANY[attack] && lies(...TO_ANY[attack]);
}

function list(messages, more, named) {
  return lies(reply({ ok: true, at: messages.at(-1).at, messages, more }), named);
}

/** New cursors, one after the other. */
function numbered(messages, after) {
  return messages.map(({ data }, index) => ({ at: after + 1 + index, data }));
}
