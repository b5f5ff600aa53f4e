// How often a box is replaced, how long the old one is read, and how much of one in one go.

import assert from 'node:assert/strict';
import test from 'node:test';
import { DAY, MINUTE, SECOND, World } from './world.js';

/** Whether the relay was asked about a box since there were so many requests. */
function isAskedAbout(world, key, since) {
  return world.requests(since).some(({ boxes }) => boxes?.some(asked => asked.key === key));
}

test('an old box is read for a day after the new one was confirmed', async () => {
  const world = await World.ofTwo(161, SECOND);
  // That of Bob, for the old one of Alice is that of a link.
  const [old, new_] = world.contact(1).boxes;
  assert.equal(world.contact(1).boxes.length, 2);
  assert.equal(new_.used, false);
  const since = world.unix() - new_.confirmed;
  const tick = () => world.call(1, (sessions, turn) => sessions.tick(turn));
  await world.pass(DAY - since - 2 * MINUTE);
  let before = world.relays[0].seen.length;
  await world.pass(2 * MINUTE - 1);
  await tick();
  assert.ok(isAskedAbout(world, old.key.pub, before));
  assert.equal(world.contact(1).boxes.length, 2);
  await world.pass(1);
  await tick();
  assert.equal(world.contact(1).boxes.length, 1);
  await world.pass(SECOND);
  before = world.relays[0].seen.length;
  await world.pass(2 * MINUTE);
  assert.ok(world.relays[0].seen.length > before);
  assert.ok(!isAskedAbout(world, old.key.pub, before));
});

test('an old box goes as soon as the other side wrote to the new one', async () => {
  const world = await World.ofTwo(164, SECOND);
  assert.equal(world.contact(1).boxes.length, 2);
  await world.note(0, 'to the new box');
  await world.pass(2 * MINUTE);
  assert.equal(world.contact(1).boxes.length, 1);
  assert.equal(world.ends[1].disk.contacts.get('Alice').boxes.length, 1);
});

test('nothing is deleted by time alone', async () => {
  const world = new World(165);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  // What says that there is a new box is lost.
  world.frameOnItsWay = text => (text.includes('"rekey"') ? undefined : text);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, MINUTE);
  await world.pass(3 * DAY);
  assert.equal(world.contact(0).boxes.length, 2);
  assert.equal(world.contact(1).boxes.length, 2);
  // The same new boxes are proposed again with the next session.
  const proposed = world.contact(1).boxes[1].key.pub;
  world.frameOnItsWay = text => text;
  await world.hangUp();
  await world.reconnect(0);
  await world.bothConnected(2, 3 * MINUTE);
  await world.pass(SECOND);
  assert.equal(world.contact(1).boxes.at(-1).key.pub, proposed);
});

test('a box is replaced once a day', async () => {
  const world = await World.ofTwo(162, SECOND);
  const made = () =>
    world.ends.map(({ frames }) => frames.filter(text => text.includes('"t":"rekey"')).length);
  const boxes = () => [0, 1].map(end => [...world.boxes.values()].filter(own => own.end === end).length);
  assert.deepEqual(
    [made(), boxes()],
    [
      [1, 1],
      [2, 2],
    ],
  );
  // The second just before a day has passed, the third just after.
  for (const [sessions, pause, rekeys] of [
    [2, DAY - 20 * MINUTE, 1],
    [3, 20 * MINUTE, 2],
  ]) {
    for (const end of [0, 1]) await world.disconnect(end);
    await world.pass(pause);
    await world.reconnect(1);
    await world.bothConnected(sessions, 5 * MINUTE);
    await world.pass(SECOND);
    assert.deepEqual(
      [made(), boxes()],
      [
        [rekeys, rekeys],
        [rekeys + 1, rekeys + 1],
      ],
    );
  }
});

test('of one box 64 replies are read in one go', async () => {
  const world = new World(163, 1);
  const link = await world.share(0, 'Bob');
  await world.pass(SECOND);
  // One more than 64 replies of 32.
  for (let number = 0; number < 2049; number += 1) {
    world.relays[0].store(
      link.key,
      Buffer.from([number >> 8, number & 255]).toString('base64url'),
      world.micros(),
    );
  }
  const receives = () => world.requests().filter(({ action }) => action === 'receive').length;
  await world.mustRun(2 * MINUTE, () => world.told(0, 'misbehaves', { what: 'no-end' }) === 1);
  await world.pass(30 * SECOND);
  assert.equal(receives(), 64);
  // The rest in its time.
  await world.pass(MINUTE);
  assert.equal(receives(), 65);
  assert.equal(world.told(0, 'misbehaves', { what: 'no-end' }), 1);
});
