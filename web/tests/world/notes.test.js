// Notes from the box to the app: each once, as many as there is room for, and not faster than a disk likes.

import assert from 'node:assert/strict';
import test from 'node:test';
import { boxesOf, deliver, noteOf, sealedByEnd } from './strangers.js';
import { MINUTE, SECOND, World } from './world.js';

/** A note of Bob lies in a box of Alice at the relay. */
async function put(world, note) {
  const [, alice] = boxesOf(world, 0);
  await world.put(alice.key, await sealedByEnd(world, 1, alice, noteOf(note)));
}

function texts(world) {
  return world.contact(0).inbox.map(({ note }) => new TextDecoder().decode(note));
}

test('notes go both ways, with or without a session', async () => {
  const world = await World.ofTwo(91);
  await world.note(0, 'to Bob');
  await world.pass(2 * MINUTE);
  await world.hangUp();
  await world.note(1, 'to Alice');
  await world.pass(2 * MINUTE);
  assert.equal(world.told(1, 'note', { contact: 'Alice' }), 1);
  assert.deepEqual(await world.takeNotes(1), ['to Bob']);
  assert.deepEqual(await world.takeNotes(0), ['to Alice']);
  assert.equal(world.contact(0).inbox.length, 0);
  const { ik } = world.contact(0).peer;
  assert.equal(ik, world.contact(1).signer.key.pub);
});

test('a note to a link is its user’s first message', async () => {
  const world = new World(92);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  await world.note(1, 'I am here');
  await world.bothConnected(1, 5 * MINUTE);
  await world.pass(2 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['I am here']);
});

test('there is nobody to write to before a link was used', async () => {
  const world = new World(93);
  await world.share(0, 'Bob');
  await assert.rejects(world.note(0, 'hello?'), { code: 'nobody-there' });
  await assert.rejects(world.note(0, 'hello?', 'Carol'), { code: 'no-contact' });
});

test('a note holds 8,892 bytes', async () => {
  const world = await World.ofTwo(94);
  await world.note(1, 'x'.repeat(8892));
  await assert.rejects(world.note(1, 'x'.repeat(9000)), { code: 'too-big' });
  await world.pass(2 * MINUTE);
  const notes = await world.takeNotes(0);
  assert.deepEqual(
    notes.map(note => note.length),
    [8892],
  );
});

test('what finds no room among the notes stays at the relay', async () => {
  const world = await World.ofTwo(95);
  for (let number = 0; number < 258; number += 1) await put(world, String(number));
  await world.pass(2 * MINUTE);
  assert.equal(texts(world).length, 256);
  assert.equal(world.told(0, 'skipped', { why: 'inbox-full' }), 2);
  const [, alice] = boxesOf(world, 0);
  assert.ok(world.relays[0].messages(alice.key).length >= 2, 'not acknowledged');
  assert.equal((await world.takeNotes(0)).length, 256);
  await world.pass(31 * MINUTE);
  assert.deepEqual(texts(world), ['256', '257']);
  assert.equal(world.relays[0].messages(alice.key).length, 0, 'acknowledged');
});

test('who writes without end is not listened to without end', async () => {
  const world = await World.ofTwo(96);
  await world.foreground(0);
  await world.pass(MINUTE);
  const times = [];
  for (let number = 1; number <= 25; number += 1) {
    await put(world, 'and another');
    await world.mustRun(MINUTE, () => world.told(0, 'note') === number);
    times.push(world.now);
  }
  const paused = times.flatMap((time, index) =>
    index > 0 && time - times[index - 1] >= 2 * SECOND ? [index] : [],
  );
  assert.deepEqual(paused, [8, 16, 24], `${times}`);
});

test('a note that comes while others are handed over stays', async () => {
  const world = await World.ofTwo(97);
  await put(world, 'one');
  await put(world, 'two');
  await world.pass(2 * MINUTE);
  assert.deepEqual(texts(world), ['one', 'two']);
  await put(world, 'three');
  await world.pass(2 * MINUTE);
  const handedOver = count => world.call(0, (sessions, turn) => sessions.notesHandedOver(turn, 'Bob', count));
  await handedOver(2);
  assert.deepEqual(texts(world), ['three']);
  await world.restart(0);
  assert.deepEqual(texts(world), ['three']);
  await handedOver(9);
  assert.deepEqual(texts(world), []);
});

test('a note counts once before and after its signer is known', async () => {
  const world = new World(98);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  const note = await sealedByEnd(world, 1, link, noteOf('pay 100'));
  await deliver(world, 0, link.key, note);
  assert.deepEqual(texts(world), ['pay 100']);
  const again = async () => {
    for (const relay of world.relays) relay.boxes.delete(link.key);
    world.relays[0].boxes.set(link.key, { last: world.micros() - 1, messages: [] });
    await deliver(world, 0, link.key, note);
  };
  await world.mustRun(5 * MINUTE, () => world.told(0, 'claimed') === 1);
  await again();
  await world.mustRun(5 * MINUTE, () => world.connected(0) === 1);
  await again();
  assert.deepEqual(texts(world), ['pay 100']);
  assert.equal(world.told(0, 'skipped', { why: 'repeated' }), 2);
});
