// A program that ends at any output, and starts again from its disk: the two reach each other all the same, no counter is used twice,
// and nothing is told that did not happen. What is lost is what was in memory; the disk holds whole stores only.
//
// An end behind an output is one before the next: between them nothing reaches the disk or the other side.

import assert from 'node:assert/strict';
import test from 'node:test';
import { decode } from '../../dist/base64url.js';
import { openMessage } from '../../dist/seal/message.js';
import { HOUR, MINUTE, SECOND, World } from './world.js';

for (const end of [0, 1]) {
  for (const unshares of [end, 1 - end]) {
    const who = ['Alice', 'Bob'][end];
    test(`${who} crashes at every output of a life, and ${unshares === end ? 'unshares' : 'is unshared'}`, async () => {
      const life = new Life(unshares);
      const { outputs } = (await life.lived()).ends[end];
      // What is before the end does not depend on who ends it.
      const since = unshares === end ? 0 : life.unsharedAt[end];
      let count = 0;
      for (let moment = since; moment < outputs.length; moment += 1) {
        if (moment > 0 && !isFelt(outputs[moment - 1])) continue;
        const crashing = new Life(unshares, end, moment);
        const world = await crashing.lived();
        assert.equal(world.crashed, 1, crashing.what());
        await noCounterTwice(world, crashing.what());
        count += 1;
      }
      assert.ok(count > 5, `${count} of ${outputs.length - since}`);
    });
  }
}

/** Whether an output leaves anything on the disk or at others: to end before and behind it is not the same. */
function isFelt({ do: what, body }) {
  return what === 'request'
    ? /"action":"(send|delete)"/.test(body)
    : /store|frame|close|accept-answer/.test(what);
}

/** What the two do with each other, from the link to the end. */
class Life {
  constructor(unshares, end = undefined, moment = undefined) {
    this.unshares = unshares;
    this.end = end;
    this.moment = moment;
    this.world = new World(21);
    this.world.lateCandidates = true;
    let count = 0;
    this.world.crash = (who, output) => {
      if (who !== end || count++ !== moment) return undefined;
      this.output = output;
      return 'before';
    };
  }

  what() {
    return `${this.end} crashes before ${this.moment}: ${JSON.stringify(this.output)} ${this.world.story()}`;
  }

  async lived() {
    const { world } = this;
    let link = await world.share(0, 'Bob');
    // If the program crashed before the link was on its disk, nobody was given it.
    if (world.contact(0) === undefined) link = await world.share(0, 'Bob');
    await world.foreground(0);
    await world.connect(1, link, 'Alice');
    if (world.contact(1) === undefined) await world.connect(1, link, 'Alice');
    await this.reachEachOther(1);
    await this.writeANote();
    // Both devices sleep for a day: the boxes are replaced in the next session.
    for (const end of [0, 1]) await world.disconnect(end);
    world.now += 25 * HOUR;
    await world.pass(2 * MINUTE);
    await this.reachEachOther(0);
    // Also after a crash on the second day.
    if (world.crashed === 1) await this.hangUpAndReconnect();
    this.unsharedAt = world.ends.map(({ outputs }) => outputs.length);
    await this.unshare();
    this.nothingElseIsTold();
    return world;
  }

  /** The end asks for a session until both have one: its wish may have been lost in a crash. */
  async reachEachOther(end) {
    const { world } = this;
    const open = () => [0, 1].every(end => world.peer(end, 'open'));
    for (let times = 0; times < 3; times += 1) {
      // What the session is for at first: new boxes.
      if (await world.run(times > 0 || end === 1 ? 7 * MINUTE : SECOND, open)) await world.pass(10 * SECOND);
      if (open()) return;
      await world.reconnect(end);
    }
    assert.fail(`they do not reach each other: ${this.what()}`);
  }

  async hangUpAndReconnect() {
    for (const end of [0, 1]) await this.world.disconnect(end);
    await this.world.pass(10 * SECOND);
    await this.reachEachOther(0);
  }

  async writeANote() {
    const { world } = this;
    await world.note(1, 'a note');
    await world.pass(2 * MINUTE);
    const notes = await world.takeNotes(0);
    await world.pass(MINUTE);
    notes.push(...(await world.takeNotes(0)));
    // At most once, and once more if the program ended right behind its handing over; the one who wrote it may have lost it.
    assert.ok(notes.length <= 1 + world.crashed, this.what());
    assert.ok(notes.length >= 1 - (this.end === 1 ? world.crashed : 0), this.what());
  }

  async unshare() {
    const { world, unshares } = this;
    for (let times = 0; times < 2; times += 1) {
      // Once more if it was not begun before the crash.
      if (world.contact(unshares)) await world.unshare(unshares);
      await world.pass(2 * MINUTE);
    }
    await world.pass(62 * MINUTE);
    for (const { disk } of world.ends) assert.equal(disk.contacts.size, 0, `keys are kept: ${this.what()}`);
  }

  nothingElseIsTold() {
    const { world, unshares } = this;
    const never = [
      'alarm',
      'link-used',
      'declined',
      'gave-up',
      'link-expired',
      'misbehaves',
      'not-sent',
      'relays-down',
    ];
    for (const { end, event } of world.events) {
      assert.ok(!never.includes(event.type), `${event.type}: ${this.what()}`);
      if (event.type === 'unshared') assert.equal(event.by, end === unshares ? 'own' : 'peer', this.what());
    }
    // The string is that of the first session that an end stored. (If only one of the two did, the next one gives the other another.)
    for (const end of [0, 1]) assert.equal(new Set(this.strings(end)).size, 1, this.what());
    if (world.crashed === 0) assert.equal(this.strings(0)[0], this.strings(1)[0]);
    assert.ok(world.told(0, 'claimed') <= 1 && world.told(1, 'claimed') === 0, this.what());
    assert.ok(world.told(1 - unshares, 'unshared') >= 1, this.what());
    assert.ok(world.told(0, 'unshared') <= 2 && world.told(1, 'unshared') <= 2, this.what());
  }

  strings(end) {
    const told = this.world.events.filter(({ end: who, event }) => who === end && event.type === 'connected');
    return told.map(({ event }) => event.sas.numbers.join());
  }
}

test('a new name is stored whole or not at all', async () => {
  for (const [when, name] of [
    ['before', 'Bob'],
    ['after', 'Robert'],
  ]) {
    const world = await World.ofTwo(22);
    world.crash = (end, output) => (end === 0 && output.do === 'store' ? when : undefined);
    await world.call(0, (sessions, turn) => sessions.rename(turn, 'Bob', 'Robert'));
    assert.equal(world.crashed, 1);
    assert.deepEqual([...world.ends[0].disk.contacts.keys()], [name]);
    assert.equal(world.contact(0, name).name, name);
    await world.reconnect(0, name);
    await world.bothConnected(2, 5 * MINUTE);
  }
});

test('a name that changes while an offer comes', async () => {
  const world = await World.ofTwo(23);
  await world.hangUp();
  await world.reconnect(1);
  await world.mustRun(3 * MINUTE, () => world.peer(0, 'pending'));
  await world.call(0, (sessions, turn) => sessions.rename(turn, 'Bob', 'Robert'));
  await world.bothConnected(2, 3 * MINUTE);
  assert.equal(world.told(0, 'connected', { contact: 'Robert' }), 1);
  assert.deepEqual([...world.ends[0].disk.contacts.keys()], ['Robert']);
});

/** No signing key ever used a counter for two different messages. */
async function noCounterTwice(world, what) {
  const used = new Map();
  for (const { action, key, data } of world.requests()) {
    if (action !== 'send') continue;
    const { end, own } = world.boxes.get(key);
    const opened = await openMessage(own.key, own.secret, () => world.signers.get(1 - end), decode(data));
    const id = `${opened.ik} ${opened.n}`;
    assert.ok(opened.n > 0, `${opened} ${what}`);
    assert.equal(used.get(id) ?? data, data, `${opened.n} ${what}`);
    used.set(id, data);
  }
  assert.ok(used.size > 8, `${used.size} ${what}`);
}
