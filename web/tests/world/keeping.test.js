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

test('after 48 hours it is given up, until the next start', async () => {
  const world = await World.ofTwo(178);
  world.turnOff(0);
  await world.pass(50 * HOUR);
  assert.equal(world.told(1, 'gave-up'), 1);
  assert.equal(isWanted(world, 1), true);
  const before = offers(world, 1);
  await world.pass(10 * HOUR);
  assert.equal(offers(world, 1), before);
  await world.restart(1);
  assert.equal(offers(world, 1), before + 1, 'at once');
  assert.equal(world.told(1, 'gave-up'), 1, 'that does not hold any more');
});

test('what was tried by itself begins anew after days off, on both sides', async () => {
  const world = await World.ofTwo(179);
  world.down[0] = true;
  await breaks(world, 0, 1);
  await world.pass(3 * MINUTE);
  assert.ok(world.contact(0).connecting?.byItself && world.contact(1).connecting?.byItself);
  for (const end of [0, 1]) world.turnOff(end);
  await world.pass(72 * HOUR);
  world.down[0] = false;
  for (const end of [0, 1]) await world.restart(end);
  await world.bothConnected(2, 3 * MINUTE);
  assert.deepEqual([world.told(0, 'gave-up'), world.told(1, 'gave-up')], [0, 0]);
});

test('and after a sleep of days', async () => {
  const world = await World.ofTwo(180);
  world.turnOff(0);
  await world.pass(5 * MINUTE + SECOND);
  const before = offers(world, 1);
  world.slept += 72 * HOUR;
  await world.wakeUp(1);
  assert.equal(offers(world, 1), before + 1);
  await world.pass(HOUR);
  assert.equal(world.told(1, 'gave-up'), 0);
});

test('what the app asked for makes the offer that was missed before it is given up', async () => {
  const world = await World.ofTwo(181);
  await world.hangUp();
  world.turnOff(0);
  await world.reconnect(1);
  await world.pass(MINUTE);
  world.turnOff(1);
  await world.pass(72 * HOUR);
  const before = offers(world, 1);
  await world.restart(1);
  assert.deepEqual([offers(world, 1) - before, world.told(1, 'gave-up')], [1, 0]);
  await world.pass(2 * HOUR);
  assert.deepEqual([offers(world, 1) - before, world.told(1, 'gave-up')], [1, 1]);
});

test('sessions that break at once are not made again at once for ever', async () => {
  const world = await World.ofTwo(182);
  await world.foreground(0);
  await world.foreground(1);
  const before = world.connected(0);
  const until = world.now + 5 * MINUTE;
  while (world.now < until) {
    if (await world.run(SECOND, () => world.peer(0, 'open') && world.peer(1, 'open')))
      await breaks(world, 0, 1);
  }
  const made = world.connected(0) - before;
  assert.ok(made >= 1 && made <= 5, `${made}`);
  // The tries go on.
  await world.mustRun(HOUR, () => world.peer(0, 'open'));
});

test('packets that come back by themselves end the search for another path', async () => {
  const world = await World.ofTwo(183);
  world.down[0] = true;
  await world.call(1, (sessions, turn) => sessions.renew(turn, 'Alice', true));
  await world.pass(SECOND);
  await world.call(1, (sessions, turn) => sessions.resumed(turn, 'Alice'));
  const before = offers(world, 1);
  await world.pass(50 * HOUR);
  assert.equal(offers(world, 1), before);
  assert.ok(world.peer(1, 'open'));
  assert.deepEqual([world.told(1, 'gave-up'), isWanted(world, 1)], [0, true]);
});

test('an app that does not want it makes no offers of its own after a session that broke', async () => {
  const world = await World.ofTwo(184, 2 * MINUTE, { keeps: false });
  world.turnOff(0);
  // As when the way is lost: another is searched for, then the session ends.
  await world.call(1, (sessions, turn) => sessions.renew(turn, 'Alice', true));
  await world.pass(SECOND);
  const before = offers(world, 1);
  await world.pass(HOUR);
  assert.equal(offers(world, 1), before);
  assert.equal(world.contact(1).connecting, undefined);
  // But one that the other side waits for is made.
  for (const peer of [...world.peers.values()]) await world.closed(peer);
  await world.call(1, (sessions, turn) => sessions.tryAtOnce(turn, 'Alice', true));
  assert.equal(offers(world, 1), before + 1);
});

test('a side that hung up makes no offers because an attempt of the other failed', async () => {
  const world = await World.ofTwo(185);
  await world.hangUp();
  const before = offers(world, 0);
  await world.call(0, (sessions, turn) => sessions.tryAtOnce(turn, 'Bob', false));
  await world.pass(HOUR);
  assert.equal(offers(world, 0), before);
});
