// The end of a contact: nothing goes on behind it, and the goodbye arrives.

import assert from 'node:assert/strict';
import test from 'node:test';
import { boxesOf, deliver, offerFrom, sealedByEnd, stranger } from './strangers.js';
import { DAY, HOUR, library, MINUTE, RELAY, SECOND, START, sessionsOf, World } from './world.js';

/** The next offer of Alice is due in five seconds, and Bob's program does not run. */
async function trying(seed) {
  const world = await World.ofTwo(seed);
  await world.hangUp();
  world.turnOff(1);
  await world.reconnect(0);
  await world.pass(5 * MINUTE - 5 * SECOND);
  return world;
}

function offersMade(world) {
  return world.ends[0].outputs.filter(output => output.do === 'make-offer').length;
}

test('who unshares makes no offer any more', async () => {
  const world = await trying(71);
  const before = offersMade(world);
  assert.equal(before, 1);
  world.down[0] = true;
  await world.unshare(0);
  await world.pass(MINUTE);
  assert.equal(world.contact(0), undefined, 'three tries to delete a box, in twelve seconds');
  assert.equal(offersMade(world), before);
});

test('who was unshared makes no offer any more', async () => {
  const world = await World.ofTwo(72);
  const [, alice] = boxesOf(world, 0);
  const bye = await sealedByEnd(world, 1, alice, { typ: 'bye' });
  await world.hangUp();
  world.turnOff(1);
  await world.reconnect(0);
  await world.pass(5 * MINUTE - 5 * SECOND);
  await deliver(world, 0, alice.key, bye);
  assert.equal(world.told(0, 'unshared', { by: 'peer' }), 1);
  await world.pass(10 * MINUTE);
  assert.equal(offersMade(world), 1);
  assert.equal(world.ends[0].disk.contacts.size, 0);
});

test('an offer with a goodbye behind it is not answered', async () => {
  const world = await World.ofTwo(73);
  const [, alice] = boxesOf(world, 0);
  const [, bob] = boxesOf(world, 1);
  const messages = [];
  for (const content of [offerFrom(bob), { typ: 'bye' }])
    messages.push(await sealedByEnd(world, 1, alice, content));
  await deliver(world, 0, alice.key, ...messages);
  assert.equal(world.told(0, 'unshared', { contact: 'Bob', by: 'peer' }), 1);
  const answers = world.ends[0].outputs.filter(output => output.do === 'make-answer');
  assert.equal(answers.length, 1, 'that of the first session');
});

test('a contact that never was on the other side is ended without a goodbye', async () => {
  const world = new World(77);
  await world.share(0, 'Bob');
  await world.unshare(0);
  await world.pass(MINUTE);
  assert.equal(world.told(0, 'unshared', { by: 'own' }), 1);
  assert.equal(world.sends(), 0);
  assert.deepEqual(world.ends[0].disk, { contacts: new Map(), goodbyes: [] });
});

test('unshared is said when the keys are gone', async () => {
  const unshared = world => world.told(0, 'unshared', { contact: 'Bob', by: 'own' });
  const world = await World.ofTwo(74);
  await world.unshare(0);
  assert.equal(unshared(world), 0, 'the boxes are not deleted at the relay yet');
  await world.mustRun(MINUTE, () => unshared(world) === 1);
  assert.equal(world.ends[0].disk.contacts.size, 0);
  // A crash between the two: the keys are gone and nobody was told, not the other way round.
  const crashes = await World.ofTwo(74);
  crashes.crash = (end, output, contact) =>
    end === 0 && output.do === 'store' && contact('Bob') === undefined ? 'after' : undefined;
  await crashes.unshare(0);
  await crashes.pass(MINUTE);
  assert.deepEqual([crashes.crashed, unshared(crashes)], [1, 0]);
  assert.equal(crashes.ends[0].disk.contacts.size, 0);
});

test('a box is asked to be deleted three times', async () => {
  const world = await World.ofTwo(78);
  world.down[0] = true;
  const before = world.relays[0].seen.length;
  const begun = world.micros();
  await world.unshare(0);
  await world.mustRun(MINUTE, () => world.told(0, 'unshared') === 1);
  const asked = world.relays[0].seen.slice(before).filter(({ body }) => body.includes('"ask":true'));
  const boxes = new Set(asked.map(({ body }) => JSON.parse(body).pub));
  assert.equal(boxes.size, 2);
  assert.equal(asked.length, 6);
  const seconds = [...new Set(asked.map(({ now }) => Math.floor((now - begun) / 1_000_000)))];
  assert.deepEqual(seconds, [0, 4, 12]);
});

test('goodbyes that are late keep an hour apart', async () => {
  const world = await World.ofTwo(75);
  world.down[0] = true;
  await world.unshare(0);
  await world.pass(30 * HOUR);
  world.down[0] = false;
  const before = world.relays[0].seen.length;
  await world.mustRun(11 * MINUTE, () => world.sends(before) === 1);
  await world.pass(59 * MINUTE);
  assert.equal(world.sends(before), 1);
  await world.pass(12 * MINUTE);
  assert.equal(world.sends(before), 2);
  await world.pass(90 * MINUTE);
  assert.equal(world.sends(before), 3);
  assert.deepEqual(world.ends[0].disk.goodbyes, []);
});

test('a goodbye reaches who was off for a day', async () => {
  const world = await World.ofTwo(79);
  world.turnOff(1);
  await world.unshare(0);
  await world.pass(24 * HOUR + 10 * MINUTE);
  await world.restart(1);
  await world.pass(5 * MINUTE);
  assert.equal(world.told(1, 'unshared', { by: 'peer' }), 1, world.story());
});

test('a clock set back keeps no goodbye for ever', async () => {
  const { connectoid } = await stranger();
  const data = new Uint8Array(4096).fill(7);
  const goodbye = { to: connectoid.key, relays: [RELAY], data, made: START, sent: 1, last: START };
  const sessions = sessionsOf(await library(), [], [goodbye], false);
  // From here on the clock is a day behind.
  const sendsAfter = async hours => {
    const turn = {
      now: START - DAY + hours * HOUR,
      elapsed: hours * HOUR,
      random: length => new Uint8Array(length),
    };
    await sessions.tick(turn);
    let sends = 0;
    for (let output = sessions.poll(); output; output = sessions.poll())
      sends += Number(output.do === 'request');
    return sends;
  };
  assert.equal(await sendsAfter(0), 0);
  assert.equal(await sendsAfter(1), 1, 'an hour after the first');
  assert.equal(sessions.goodbyes().length, 1);
  await sendsAfter(48);
  assert.equal(sessions.goodbyes().length, 0);
});
