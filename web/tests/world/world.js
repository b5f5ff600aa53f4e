// The world of a test: ends with their disks and peer connections, relays, and a queue of what happens when. Time jumps from one
// happening to the next. Chance is that of the seed; only the keys are others each time.

import assert from 'node:assert/strict';
import { Dice } from './dice.js';
import { MemoryRelay } from './relay.js';

/** When the tests begin, Unix milliseconds. */
export const START = 1_795_170_000_000;

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Where the relay of most tests is. */
export const RELAY = 'https://one.example';
export const OTHER = 'https://two.example';

/** What each of the two ends calls the other. */
export const NAMES = ['Bob', 'Alice'];

/** The parts of the library that a world is made of: of `dist`, or of a copy of it that lacks a defence. */
export async function library(dist = new URL('../../dist/', import.meta.url)) {
  const from = path => import(new URL(path, dist));
  const files = [
    'sessions/connect.js',
    'sessions/state.js',
    'seal/message.js',
    'transport.js',
    'sessions/index.js',
    'sessions/notes.js',
  ];
  return Object.assign({}, ...(await Promise.all(files.map(from))));
}

/** The state machine of one end: its functions as methods, each of which is one step. */
export function sessionsOf(lib, contacts, goodbyes, extractable, keeps) {
  const s = lib.newState(contacts, goodbyes, extractable, keeps);
  const steps = [
    'start',
    'wokeUp',
    'share',
    'connect',
    'reconnect',
    'renew',
    'disconnect',
    'verify',
    'unshare',
    'rename',
  ];
  steps.push(
    'note',
    'notesHandedOver',
    'localOffer',
    'localAnswer',
    'localCandidates',
    'decline',
    'channelOpen',
    'resumed',
    'tryAtOnce',
  );
  steps.push('channelClosed', 'replied');
  const step =
    take =>
    (turn, ...args) =>
      lib.step(s, turn, s => take(s, ...args));
  return {
    ...Object.fromEntries(steps.map(name => [name, step(lib[name])])),
    frame: step(lib.frameCame),
    tick: step(() => {}),
    setForeground: (turn, foreground) => lib.step(s, { ...turn, foreground }, () => {}),
    setIdle: (turn, idle) => lib.step(s, { ...turn, idle }, () => {}),
    poll: () => s.outputs.shift(),
    wakeAt: () => lib.wakeAt(s),
    contact: name => s.contacts.get(name)?.contact,
    contacts: () => [...s.contacts.values()].map(({ contact }) => contact),
    goodbyes: () => s.goodbyes,
  };
}

const HONEST = await library();

export class World {
  /** A world with so many ends and one relay for each URL. */
  constructor(seed, ends = 2, relays = [RELAY], { lib = HONEST, extractable = false, keeps = true } = {}) {
    this.lib = lib;
    this.extractable = extractable;
    this.keeps = keeps;
    this.dice = new Dice(seed);
    /** The milliseconds that passed on steady clocks. */
    this.now = 0;
    /** Those that passed while devices slept and those clocks stood still. */
    this.slept = 0;
    this.relays = relays.map((url, index) => new MemoryRelay(url, new Dice(seed * 8 + index + 1)));
    /** Which relays cannot be reached. */
    this.down = relays.map(() => false);
    /** What a relay does wrong, if it does. */
    this.dishonesty = undefined;
    /** Whether the channels open with other certificates than those signed. */
    this.foreignCertificates = false;
    /** What becomes of a frame on its way: another text, or nothing. */
    this.frameOnItsWay = text => text;
    /** Everything that the app of an end was told: `{ now, end, event }`. */
    this.events = [];
    /** What was sent as an answer and is none to a question that this relay asked about this box. */
    this.leaks = [];
    /** What a relay did wrong and an end did not call by its name. */
    this.unnamed = [];
    /** Every session that an app was told of, with the one at its other end. */
    this.joined = [];
    /** Ends the program of an end at an output: `(end, output, contact) => 'before' | 'after' | undefined`. */
    this.crash = undefined;
    this.crashed = 0;
    /** Every own box that ever was on a disk, by its key, and whose. */
    this.boxes = new Map();
    /** The signing key of each end for its latest contact. */
    this.signers = new Map();
    /** Whether the apps gather candidates late, so that each offer and answer is followed by some. */
    this.lateCandidates = false;
    /** The end whose app wants no sessions that others offer. */
    this.declines = undefined;
    /** How long a channel takes to open once offer and answer are exchanged. */
    this.opening = 40;
    /** The end whose checks take a second to arrive. */
    this.slowChecks = undefined;
    this.queue = [];
    this.waiting = [];
    this.sequence = 0;
    /** The peer connections, by `end/session`. */
    this.peers = new Map();
    this.ends = Array.from({ length: ends }, () => ({
      sessions: sessionsOf(lib, [], [], extractable, keeps),
      /** What is durable. */
      disk: { contacts: new Map(), goodbyes: [] },
      /** Which life of the program this is: what was asked for in another is lost. */
      life: 0,
      /** What was asked and is not replied to, by id. */
      asked: new Map(),
      /** Every frame it sent, and every output, for tests to look at. */
      frames: [],
      outputs: [],
    }));
  }

  /** Alice and Bob with these relays, connected by her link so long ago. */
  static async ofTwo(seed, ago = MINUTE, { relays = [RELAY], ends = 2, sharing = {}, ...options } = {}) {
    const world = new World(seed, ends, relays, options);
    const link = await world.share(0, 'Bob', sharing);
    await world.foreground(0);
    await world.connect(1, link, 'Alice');
    await world.mustRun(MINUTE, () => world.connected(0) === 1 && world.connected(1) === 1);
    await world.foreground(0, false);
    await world.pass(ago);
    return world;
  }

  /** Unix milliseconds. */
  unix() {
    return START + this.now + this.slept;
  }

  /** The same as relays say it. */
  micros(now = this.now) {
    return (START + now + this.slept) * 1000;
  }

  turn() {
    return { now: this.unix(), elapsed: this.now, random: length => this.dice.bytes(length) };
  }

  /** Calls an end, and carries out what it then wants. */
  async call(end, does) {
    try {
      return await does(this.ends[end].sessions, this.turn());
    } finally {
      await this.drain(end);
    }
  }

  async share(end, name, sharing = {}) {
    const relays = this.relays.map(relay => relay.url);
    const options = { relays, expiresIn: 7 * DAY, withoutSecret: false, ...sharing };
    return this.call(end, (sessions, turn) => sessions.share(turn, name, options));
  }

  async connect(end, connectoid, name, place = undefined) {
    const link = place ? { connectoid, place } : { connectoid };
    await this.call(end, (sessions, turn) => sessions.connect(turn, link, name));
  }

  async reconnect(end, name = NAMES[end]) {
    await this.call(end, (sessions, turn) => sessions.reconnect(turn, name));
  }

  async disconnect(end, name = NAMES[end]) {
    await this.call(end, (sessions, turn) => sessions.disconnect(turn, name));
  }

  async verify(end, same, name = NAMES[end]) {
    await this.call(end, (sessions, turn) => sessions.verify(turn, name, same));
  }

  async unshare(end, name = NAMES[end]) {
    await this.call(end, (sessions, turn) => sessions.unshare(turn, name));
  }

  async note(end, note, name = NAMES[end]) {
    const bytes = new TextEncoder().encode(note);
    await this.call(end, (sessions, turn) => sessions.note(turn, name, bytes));
  }

  async foreground(end, foreground = true) {
    await this.call(end, (sessions, turn) => sessions.setForeground(turn, foreground));
  }

  async idle(end, idle = true) {
    await this.call(end, (sessions, turn) => sessions.setIdle(turn, idle));
  }

  async wakeUp(end) {
    await this.call(end, (sessions, turn) => sessions.wokeUp(turn));
  }

  /** Both hang up, and enough time passes that nobody waits for anything. */
  async hangUp() {
    for (const end of [0, 1]) await this.disconnect(end);
    await this.pass(3 * MINUTE);
  }

  /** The notes of a contact, which are taken. */
  async takeNotes(end, name = NAMES[end]) {
    const notes = [...(this.ends[end].sessions.contact(name)?.inbox ?? [])];
    await this.call(end, (sessions, turn) => sessions.notesHandedOver(turn, name, notes.length));
    return notes.map(({ note }) => new TextDecoder().decode(note));
  }

  /** Puts a message (bytes) into a box at the first relay. */
  async put(key, data) {
    this.relays[0].store(key, Buffer.from(data).toString('base64url'), this.micros());
    await this.answerWaiting();
  }

  /** The program of an end ends. */
  turnOff(end) {
    const here = this.ends[end];
    here.life += 1;
    here.asked.clear();
    here.sessions = undefined;
    this.waiting = this.waiting.filter(waiting => waiting.end !== end);
    // The other ends of its channels notice.
    for (const [id, peer] of this.peers) {
      if (peer.end !== end) continue;
      this.peers.delete(id);
      const other = peer.other && this.peers.get(peer.other);
      if (other) this.later(20, () => this.closed(other), other.end);
    }
  }

  /** Ends the program of an end and starts it again from its disk. */
  async restart(end) {
    this.turnOff(end);
    const here = this.ends[end];
    const { contacts, goodbyes } = structuredClone(here.disk);
    here.sessions = sessionsOf(this.lib, [...contacts.values()], goodbyes, this.extractable, this.keeps);
    await this.call(end, (sessions, turn) => sessions.start(turn));
  }

  /** Lets time pass until nothing is left to happen within `time`, or `done` says so. Whether it did. */
  async run(time, done) {
    const until = this.now + time;
    let [steps, before] = [0, this.now];
    for (;;) {
      if (done()) return true;
      const next = this.queue[0]?.time ?? Infinity;
      const timeout = Math.min(Infinity, ...this.waiting.map(waiting => waiting.until));
      const [wake, waker] = this.nextWake();
      const then = Math.min(next, wake, timeout);
      if (then > until) {
        this.now = until;
        return false;
      }
      this.now = Math.max(this.now, then);
      if (then === timeout) await this.answerWaiting();
      else if (then === next) await this.queue.shift().happens();
      else await this.call(waker, (sessions, turn) => sessions.tick(turn));
      [steps, before] = this.now === before ? [steps + 1, before] : [0, this.now];
      assert.ok(steps < 5000, `no time passes: ${this.story()}`);
    }
  }

  nextWake() {
    const wakes = this.ends.map(({ sessions }, end) => [sessions?.wakeAt() ?? Infinity, end]);
    return wakes.reduce((first, next) => (next[0] < first[0] ? next : first));
  }

  async mustRun(time, done) {
    assert.ok(await this.run(time, done), `it did not come to pass: ${this.story()}`);
  }

  /** Lets so much time pass. */
  async pass(time) {
    await this.run(time, () => false);
  }

  /** Both are connected for so many times in all. */
  async bothConnected(times, within) {
    await this.mustRun(within, () => [0, 1].every(end => this.connected(end) === times));
  }

  /** How often an end was told something of this type, with these fields. */
  told(end, type, fields = {}) {
    const fits = event =>
      event.type === type && Object.entries(fields).every(([name, value]) => event[name] === value);
    return this.events.filter(told => told.end === end && fits(told.event)).length;
  }

  connected(end) {
    return this.told(end, 'connected');
  }

  contact(end, name = NAMES[end]) {
    return this.ends[end].sessions.contact(name);
  }

  /** The peer connection of a contact that is on its way to a proven session, or in one. */
  peer(end, state, name = NAMES[end]) {
    return [...this.peers.values()].find(
      peer => peer.end === end && peer.contact === name && peer.state === state,
    );
  }

  /** The requests that came to a relay since there were so many. */
  requests(since = 0, relay = this.relays[0]) {
    const reader = new MemoryRelay(relay.url, new Dice(1));
    return relay.seen.slice(since).map(({ now, body }) => reader.read(body, now));
  }

  sends(since = 0) {
    return this.requests(since).filter(({ action }) => action === 'send').length;
  }

  /** What was told, for the message of a failure. */
  story() {
    const lines = this.events.map(
      ({ now, end, event }) => `${now / 1000} s: ${end} ${JSON.stringify(event, brief)}`,
    );
    return `at ${this.now / 1000} s\n${lines.join('\n')}`;
  }

  later(after, happens, end = undefined) {
    const life = end === undefined ? undefined : this.ends[end].life;
    const time = this.now + after;
    const happening = {
      time,
      happens: async () => {
        if (end === undefined || this.ends[end].life === life) await happens();
      },
    };
    const index = this.queue.findLastIndex(other => other.time <= time);
    this.queue.splice(index + 1, 0, happening);
  }

  latency() {
    return this.dice.between(1, 30);
  }

  async drain(end) {
    const here = this.ends[end];
    for (let output = here.sessions.poll(); output; output = here.sessions.poll()) {
      const crash = this.crash?.(end, output, name => here.sessions.contact(name));
      if (crash === undefined || crash === 'after') this.carryOut(end, output);
      if (crash !== undefined) {
        this.crash = undefined;
        this.crashed += 1;
        return this.restart(end);
      }
    }
  }

  carryOut(end, output) {
    const here = this.ends[end];
    here.outputs.push(output);
    const peer = this.peers.get(`${end}/${output.session}`);
    switch (output.do) {
      case 'store':
        return this.store(end, output.contacts);
      case 'request':
        return this.send(end, output);
      case 'cancel':
        here.asked.delete(output.id);
        this.waiting = this.waiting.filter(waiting => waiting.end !== end || waiting.id !== output.id);
        return;
      case 'event':
        return this.tell(end, output.event);
      case 'make-offer': {
        const renewed = this.peers.get(`${end}/${output.renews}`);
        this.newPeer(end, output, undefined, renewed?.fingerprint);
        return this.later(100, () => this.gathered(end, output.session, 'localOffer'), end);
      }
      case 'make-answer': {
        if (this.declines === end) {
          const decline = (sessions, turn) => sessions.decline(turn, output.session);
          return this.later(0, () => this.call(end, decline), end);
        }
        // An offer of the connection that is open goes to that one.
        const open = this.peer(end, 'open', output.contact);
        const same = open?.other && output.sdp.includes(this.peers.get(open.other)?.fingerprint);
        this.newPeer(end, output, madeBy(output.sdp), same ? open.fingerprint : undefined);
        return this.later(100, () => this.gathered(end, output.session, 'localAnswer'), end);
      }
      case 'accept-answer':
        return this.join(end, output.session, madeBy(output.sdp));
      case 'add-candidates':
        return;
      case 'frame': {
        here.frames.push(output.text);
        const other = this.otherOf(peer);
        const text = this.frameOnItsWay(output.text);
        // Always as long, so that frames keep their order.
        if (other && text !== undefined) this.later(20, () => this.frame(other, text), other.end);
        return;
      }
      case 'close': {
        const other = this.otherOf(peer);
        this.peers.delete(`${end}/${output.session}`);
        // In order behind the frames.
        if (other) this.later(30, () => this.closed(other, true), other.end);
        return;
      }
      default:
        assert.fail(`an output that nobody knows: ${output.do}`);
    }
  }

  store(end, names) {
    const { sessions, disk } = this.ends[end];
    for (const name of names) {
      const contact = sessions.contact(name);
      if (contact === undefined) {
        disk.contacts.delete(name);
        continue;
      }
      disk.contacts.set(name, structuredClone(contact));
      for (const own of contact.boxes) this.boxes.set(own.key.pub, { end, own });
      if (contact.signer.key) this.signers.set(end, contact.signer.key.pub);
    }
    disk.goodbyes = structuredClone([...sessions.goodbyes()]);
  }

  tell(end, event) {
    this.events.push({ now: this.now, end, event });
    const peer = event.type === 'connected' && this.peers.get(`${end}/${event.session}`);
    if (peer) {
      peer.state = 'open';
      this.joined.push({ own: peer, other: this.otherOf(peer) });
    }
  }

  send(end, { id, relay: url, body, patience }) {
    const relay = this.relays.findIndex(relay => relay.url === url);
    if (relay < 0) return;
    const request = this.relays[relay].read(body, this.micros());
    assert.equal(request.refused, undefined, `a request of ours was refused: ${body}`);
    assert.equal(patience, 10_000 + 1000 * (request.wait ?? 0));
    const slow = this.slowChecks === end && request.boxes ? SECOND : 0;
    this.ends[end].asked.set(id, { relay, request, patience });
    this.later(this.latency() + slow, () => this.arrived(end, id), end);
  }

  async arrived(end, id) {
    const asked = this.ends[end].asked.get(id);
    if (asked === undefined) return;
    const { relay, request } = asked;
    if (this.down[relay]) return this.replied(end, id, { reply: 'unreachable' });
    this.lookAtAnswer(relay, request);
    const one = { end, id, ...asked, until: this.now + (request.wait ?? 0) * SECOND };
    if (!(await this.reply(one))) this.waiting.push(one);
    if (request.action === 'send') await this.answerWaiting();
  }

  /** Replies to those who wait and for whom something came, or whose time is up. */
  async answerWaiting() {
    const waiting = this.waiting;
    this.waiting = [];
    for (const one of waiting) {
      const { relay, request, until } = one;
      const reply = await this.relays[relay].answer(request, this.micros(), until > this.now);
      if (reply) await this.reply(one, reply);
      else this.waiting.push(one);
    }
  }

  /** What a relay says to a request, if it is honest or has no lie for it. */
  async reply({ end, id, relay, request, patience }, honest = undefined) {
    const now = this.micros();
    const lie = await this.dishonesty?.instead(this.relays, relay, request, now);
    const said = lie ?? { reply: honest ?? (await this.relays[relay].answer(request, now, true)) };
    if (said.reply === undefined) return false;
    this.later(said.late ? patience : this.latency(), () => this.replied(end, id, said), end);
    return true;
  }

  async replied(end, id, { reply, named }) {
    const { asked } = this.ends[end];
    if (!asked.has(id)) return;
    const { relay, request } = asked.get(id);
    asked.delete(id);
    const judges = named !== undefined && this.judges(end, request, reply, named);
    const before = this.events.length;
    await this.call(end, (sessions, turn) => sessions.replied(turn, id, asFetched(reply)));
    const names = ({ end: who, event }) =>
      who === end &&
      event.type === 'misbehaves' &&
      event.relay === this.relays[relay].url &&
      event.what === named;
    if (judges && !this.events.slice(before).some(names)) this.unnamed.push({ end, named, reply });
  }

  /** Whether an end will look at the reply to a request: not if it is about a box that is gone since, whose key it has no more. */
  judges(end, request, reply, named) {
    const contacts = [...this.ends[end].sessions.contacts()].filter(contact => contact.leaving === undefined);
    const owns = key => contacts.some(contact => contact.boxes.some(own => own.key.pub === key));
    if (request.action === 'receive') return owns(request.key);
    if (request.boxes === undefined) return true;
    if (contacts.length === 0) return false;
    if (named !== 'foreign-question') return true;
    return JSON.parse(reply.body).boxes.every(({ pub }) => owns(pub));
  }

  /** Whether what is sent as an answer is one to a question of this relay about this box, however old. */
  lookAtAnswer(relay, { key, answer }) {
    if (answer === undefined) return;
    if (!this.relays[relay].verifies(key, answer, this.micros(), Infinity))
      this.leaks.push({ relay, answer });
  }

  newPeer(end, { session, contact }, other, fingerprint = hex(this.dice.bytes(32))) {
    const id = `${end}/${session}`;
    this.peers.set(id, { id, end, session, contact, fingerprint, other, state: 'pending', joined: false });
  }

  /** The app gathered candidates, and hands over its SDP. */
  async gathered(end, session, local) {
    const peer = this.peers.get(`${end}/${session}`);
    if (peer === undefined) return;
    const sdp = `v=0\r\na=fingerprint:sha-256 ${peer.fingerprint}\r\na=x-made-by:${peer.id}\r\n`;
    await this.tries(end, (sessions, turn) => sessions[local](turn, session, sdp));
    if (!this.lateCandidates) return;
    const candidates = [{ candidate: 'candidate:1 1 udp 1 192.0.2.1 1 typ host', sdpMLineIndex: 0 }];
    await this.tries(end, (sessions, turn) => sessions.localCandidates(turn, session, candidates));
  }

  /** A call that the state machine may refuse because something newer came. */
  async tries(end, does) {
    await this.call(end, does).catch(error => assert.equal(error.code, 'over', error.stack));
  }

  otherOf(peer) {
    const other = peer?.other && this.peers.get(peer.other);
    return other?.other === peer?.id ? other : undefined;
  }

  /** The offerer takes an answer: if that was made for its offer, both see their channel open. */
  join(end, session, answer) {
    const own = this.peers.get(`${end}/${session}`);
    if (own === undefined) return;
    own.other = answer;
    const other = this.otherOf(own);
    if (other === undefined) return;
    for (const [one, another] of [
      [own, other],
      [other, own],
    ]) {
      if (one.joined) continue;
      one.joined = true;
      const certificate = new Uint8Array(Buffer.from(another.fingerprint.replaceAll(':', ''), 'hex'));
      if (this.foreignCertificates) certificate[0] ^= 1;
      const open = (sessions, turn) => sessions.channelOpen(turn, one.session, certificate);
      this.later(this.opening, () => this.call(one.end, open), one.end);
    }
  }

  async frame({ end, session }, text) {
    await this.call(end, (sessions, turn) => sessions.frame(turn, session, text));
  }

  async closed({ id, end, session }, onPurpose = false) {
    this.peers.delete(id);
    await this.call(end, (sessions, turn) => sessions.channelClosed(turn, session, onPurpose));
  }
}

/** A reply as whoever fetched it hands it over. */
function asFetched(reply) {
  if (typeof reply === 'string') return reply;
  if (reply.status >= 300 && reply.status < 400) return 'redirect';
  return reply.body.length > 1024 * 1024 ? 'too-large' : reply;
}

function hex(bytes) {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0').toUpperCase()).join(':');
}

/** Which peer connection made an SDP. */
function madeBy(sdp) {
  return /a=x-made-by:(\S+)/.exec(sdp)?.[1];
}

function brief(_, value) {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}
