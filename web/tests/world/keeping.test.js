// A connection that was made is made again by itself, until somebody ends it.

import assert from 'node:assert/strict';
import test from 'node:test';
import { HOUR, MINUTE, NAMES, SECOND, World } from './world.js';

function offers(world, end) {
  return world.ends[end].outputs.filter(output => output.do === 'make-offer').length;
}

/** The path between the two is gone, and each end notices. */
async function breaks(world, ...ends) {
  for (const end of ends) {
    const peer = world.peer(end, 'open');
    world.peers.delete(peer.id);
    await world.call(end, (sessions, turn) => sessions.channelClosed(turn, peer.session));
  }
}

/** Whether it is stored that an end wants its connection. */
function isWanted(world, end) {
  return world.ends[end].disk.contacts.get(NAMES[end]).wanted;
}

test('a session that breaks is made again at once', async () => {
  for (const ends of [[0, 1], [0], [1]]) {
    const world = await World.ofTwo(171);
    await world.foreground(0);
    await world.foreground(1);
    await breaks(world, ...ends);
    await world.bothConnected(2, 3 * SECOND);
    assert.equal(world.contact(0).connecting, undefined);
  }
});

test('a program that starts again connects again', async () => {
  const world = await World.ofTwo(172);
  assert.deepEqual([isWanted(world, 0), isWanted(world, 1)], [true, true]);
  world.turnOff(1);
  await world.pass(10 * MINUTE);
  await world.restart(1);
  await world.bothConnected(2, 2 * MINUTE);
});

test('who ends a session on purpose is not connected again, by neither', async () => {
  const world = await World.ofTwo(173);
  await world.disconnect(0);
  await world.pass(SECOND);
  assert.deepEqual([isWanted(world, 0), isWanted(world, 1)], [undefined, undefined]);
  const before = [offers(world, 0), offers(world, 1)];
  for (const end of [0, 1]) await world.restart(end);
  await world.pass(HOUR);
  assert.deepEqual([offers(world, 0), offers(world, 1)], before);
  // But it can be made again, and is wanted then.
  await world.reconnect(1);
  await world.bothConnected(2, 3 * MINUTE);
  assert.deepEqual([isWanted(world, 0), isWanted(world, 1)], [true, true]);
});

test('an attempt that the app ends is not begun again by itself', async () => {
  const world = await World.ofTwo(174);
  world.turnOff(0);
  await world.pass(MINUTE);
  assert.equal(world.contact(1).connecting.byItself, true);
  await world.disconnect(1);
  const before = offers(world, 1);
  await world.pass(HOUR);
  assert.equal(offers(world, 1), before);
  assert.equal(isWanted(world, 1), undefined);
});

test('an app that does not want it connects by itself no more', async () => {
  const world = await World.ofTwo(175, MINUTE, { keeps: false });
  const before = offers(world, 1);
  await breaks(world, 0, 1);
  await world.pass(HOUR);
  await world.restart(1);
  await world.pass(HOUR);
  assert.deepEqual([offers(world, 1), world.connected(1)], [before, 1]);
});

test('while nobody is there nothing is tried by itself; as soon as somebody is, it is', async () => {
  const world = await World.ofTwo(176);
  world.turnOff(0);
  await world.mustRun(MINUTE, () => world.contact(1).connecting);
  await world.idle(1);
  // Until the offer of before is not awaited any more.
  await world.pass(5 * MINUTE);
  const [seen, before] = [world.relays[0].seen.length, offers(world, 1)];
  await world.pass(5 * HOUR);
  assert.deepEqual([world.relays[0].seen.length - seen, offers(world, 1) - before], [0, 0]);
  await world.restart(0);
  await world.idle(0);
  await world.idle(1, false);
  assert.equal(offers(world, 1) - before, 1, 'at once');
  await world.idle(0, false);
  await world.bothConnected(2, 3 * MINUTE);
});

test('what the app asked for goes on though nobody is there', async () => {
  const world = await World.ofTwo(177);
  world.turnOff(0);
  await world.mustRun(MINUTE, () => world.contact(1).connecting);
  await world.reconnect(1);
  await world.idle(1);
  await world.pass(10 * MINUTE);
  await world.restart(0);
  await world.bothConnected(2, 10 * MINUTE);
});

test('after 48 hours it is given up, also at the next start', async () => {
  const world = await World.ofTwo(178);
  world.turnOff(0);
  await world.pass(50 * HOUR);
  assert.equal(world.told(1, 'gave-up'), 1);
  assert.equal(isWanted(world, 1), undefined);
  const before = offers(world, 1);
  await world.restart(1);
  await world.pass(HOUR);
  assert.equal(offers(world, 1), before);
});
