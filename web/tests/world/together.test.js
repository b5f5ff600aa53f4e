// What people do with honest relays: share, connect, reconnect, compare, rename, unshare.

import assert from 'node:assert/strict';
import test from 'node:test';
import { connectoidOf } from './strangers.js';
import { HOUR, MINUTE, OTHER, RELAY, SECOND, World } from './world.js';

test('a link connects two within a second', async () => {
  const world = new World(1);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, SECOND);
  assert.equal(world.told(0, 'shared', { contact: 'Bob' }), 1);
  assert.equal(world.told(0, 'claimed', { contact: 'Bob' }), 1);
  const [bob, alice] = [world.contact(0), world.contact(1)];
  assert.equal(bob.sas.length, 8);
  assert.deepEqual(bob.sas, alice.sas);
  assert.equal(world.told(0, 'connected', { contact: 'Bob', mayExchange: true, offerer: false }), 1);
  assert.equal(world.told(1, 'connected', { contact: 'Alice', mayExchange: true, offerer: true }), 1);
  const [first, second] = world.events.filter(({ event }) => event.type === 'connected');
  assert.equal(first.event.sas.numbers.length, 3);
  assert.deepEqual(first.event.sas, second.event.sas);
});

test('the link dies with the first connection', async () => {
  const world = await World.ofTwo(2);
  const [bob, alice] = [world.contact(0), world.contact(1)];
  assert.equal(bob.link.state, 'retired');
  assert.equal(bob.boxes.length, 2, 'the box of the link is kept to notice that it is used twice');
  assert.deepEqual(alice.peer.connectoid, connectoidOf(bob.boxes[1]));
  assert.deepEqual(bob.peer.connectoid, connectoidOf(alice.boxes.at(-1)));
  await world.pass(49 * HOUR);
  assert.equal(world.contact(0).link.state, 'closed');
  assert.equal(world.contact(0).boxes.length, 1);
  assert.equal(world.contact(1).boxes.length, 1, 'a day after rekey-ok the old key is gone');
});

test('either side reconnects without a link', async () => {
  const world = await World.ofTwo(3);
  for (const [index, end] of [0, 1, 0].entries()) {
    await world.hangUp();
    await world.pass(30 * HOUR);
    await world.reconnect(end);
    await world.bothConnected(index + 2, 3 * MINUTE);
  }
  // The string is that of the first session.
  const strings = world.events
    .filter(({ event }) => event.type === 'connected')
    .map(({ event }) => event.sas.numbers);
  assert.equal(strings.length, 8);
  for (const numbers of strings) assert.deepEqual(numbers, strings[0]);
});

test('both offer at once', async () => {
  for (let seed = 10; seed < 16; seed += 1) {
    const world = await World.ofTwo(seed);
    await world.hangUp();
    for (const end of [0, 1]) await world.reconnect(end);
    await world.bothConnected(2, MINUTE);
  }
});

test('who is connected already is told nothing new', async () => {
  const world = await World.ofTwo(4, 5 * SECOND);
  const before = world.events.length;
  for (const end of [0, 1]) await world.reconnect(end);
  await world.pass(10 * MINUTE);
  assert.equal(world.events.length, before, world.story());
});

test('a session is made anew on the same peer connection', async () => {
  const world = await World.ofTwo(5);
  const before = world.peer(1, 'open').fingerprint;
  const first = world.peer(1, 'open').session;
  await world.call(1, (sessions, turn) => sessions.renew(turn, 'Alice'));
  const asked = world.ends[1].outputs.findLast(output => output.do === 'make-offer');
  assert.equal(asked.renews, first);
  await world.bothConnected(2, 2 * MINUTE);
  await world.pass(SECOND);
  assert.equal(world.peer(1, 'open').fingerprint, before);
  assert.notEqual(world.peer(1, 'open').session, first);
  assert.equal(world.peers.size, 2, 'the first one is closed, at both ends');
  assert.equal(world.told(0, 'disconnected') + world.told(1, 'disconnected'), 0);
});

test('a second user of a link is refused and both are told', async () => {
  const world = await World.ofTwo(6, HOUR, { ends: 3 });
  const link = connectoidOf(world.contact(0).boxes[0]);
  await world.connect(2, link, 'Alice');
  await world.pass(5 * MINUTE);
  assert.equal(world.told(2, 'link-used', { contact: 'Alice' }), 1, world.story());
  assert.equal(world.told(0, 'alarm', { alarm: 'link-used-twice' }), 1);
  const { first, second } = world.events.find(({ event }) => event.type === 'alarm').event;
  assert.ok(second - first >= 3_600_000, `${first} ${second}`);
  assert.equal(world.told(0, 'disconnected', { contact: 'Bob' }), 1, 'the wrong one may be in the session');
  assert.equal(world.connected(2), 0);
  // Not before the strings were compared.
  await world.reconnect(0);
  await world.mustRun(3 * MINUTE, () => world.connected(0) === 2);
  assert.equal(world.told(0, 'connected', { mayExchange: false }), 1);
  await world.verify(0, true);
  assert.equal(world.told(0, 'may-exchange', { contact: 'Bob' }), 1);
});

test('whoever compared before is not cut off by a second user', async () => {
  const world = await World.ofTwo(7, MINUTE, { ends: 3 });
  await world.verify(0, true);
  await world.connect(2, connectoidOf(world.contact(0).boxes[0]), 'Alice');
  await world.pass(5 * MINUTE);
  assert.equal(world.told(0, 'alarm', { alarm: 'link-used-twice' }), 1);
  assert.equal(world.told(0, 'disconnected'), 0);
});

test('a link that others saw on its way has to be compared by who used it', async () => {
  const world = new World(8);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice', 'query');
  await world.bothConnected(1, MINUTE);
  assert.equal(world.told(0, 'connected', { mayExchange: true }), 1);
  assert.equal(world.told(1, 'connected', { mayExchange: false }), 1);
  await world.verify(1, true);
  assert.equal(world.told(1, 'may-exchange'), 1);
  await world.verify(1, false);
  assert.equal(world.contact(1).verification, 'mismatch');
  assert.equal(world.told(1, 'alarm', { alarm: 'strings-differ' }), 1);
  assert.equal(world.told(1, 'disconnected'), 1);
  // What was said last counts.
  await world.pass(MINUTE);
  await world.reconnect(1);
  await world.mustRun(3 * MINUTE, () => world.connected(1) === 2);
  assert.equal(world.told(1, 'connected', { mayExchange: false }), 2);
  await world.verify(1, true);
  assert.equal(world.told(1, 'may-exchange'), 2);
});

test('a link in a fragment has not to be compared', async () => {
  const world = new World(9);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice', 'fragment');
  await world.bothConnected(1, MINUTE);
  assert.equal(world.told(1, 'connected', { mayExchange: true }), 1);
});

test('a link without a secret has to be compared on both sides', async () => {
  const world = await World.ofTwo(16, SECOND, { sharing: { withoutSecret: true } });
  assert.equal(world.contact(0).boxes[0].secret, undefined);
  assert.deepEqual(world.contact(0).sas, world.contact(1).sas);
  for (const end of [0, 1]) {
    assert.equal(world.told(end, 'connected', { mayExchange: false }), 1);
    await world.verify(end, true);
    assert.equal(world.told(end, 'may-exchange'), 1);
  }
  await world.hangUp();
  await world.reconnect(0);
  await world.bothConnected(2, 3 * MINUTE);
  for (const end of [0, 1]) assert.equal(world.told(end, 'connected', { mayExchange: true }), 1);
});

test('unshare ends it on both sides and leaves no key and no box', async () => {
  for (const end of [0, 1]) {
    const world = await World.ofTwo(17 + end);
    await world.unshare(end);
    await world.pass(3 * MINUTE);
    for (const { disk } of world.ends) assert.equal(disk.contacts.size, 0, world.story());
    assert.equal(world.told(end, 'unshared', { by: 'own' }), 1);
    assert.equal(world.told(1 - end, 'unshared', { by: 'peer' }), 1);
    assert.equal(world.relays[0].boxes.size, 0, 'the relay keeps nothing');
    assert.equal(world.ends[end].disk.goodbyes.length, 1);
    assert.equal(world.ends[1 - end].disk.goodbyes.length, 0);
    await world.pass(49 * HOUR);
    assert.equal(world.ends[end].disk.goodbyes.length, 0);
    assert.equal(world.told(end, 'unshared') + world.told(1 - end, 'unshared'), 2);
  }
});

test('in the background they reach each other within minutes', async () => {
  const world = new World(19);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 10 * MINUTE);
});

test('one dead relay is not noticed, all dead says so', async () => {
  const world = new World(20, 2, [RELAY, OTHER]);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  world.down[0] = true;
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, MINUTE);
  assert.equal(world.told(1, 'relays-down'), 0);
  world.down[1] = true;
  await world.pass(5 * MINUTE);
  assert.equal(world.told(1, 'relays-down', { contact: 'Alice' }), 1);
  world.down[0] = false;
  await world.pass(5 * MINUTE);
  assert.equal(world.told(1, 'relays-back', { contact: 'Alice' }), 1);
});

test('a relay that lost everything, its secret too, is of use at once', async () => {
  const world = await World.ofTwo(21);
  await world.hangUp();
  await world.note(1, 'lost');
  await world.pass(100);
  for (const relay of world.relays) relay.loseAll();
  await world.reconnect(1);
  await world.bothConnected(2, 3 * MINUTE);
  await world.note(1, 'found');
  await world.pass(2 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['found']);
});

test('what comes by several relays is one message', async () => {
  const world = await World.ofTwo(22, MINUTE, { relays: [RELAY, OTHER, 'https://three.example'] });
  await world.note(1, 'once');
  await world.pass(2 * MINUTE);
  assert.deepEqual(
    world.relays.map(relay => relay.seen.some(({ body }) => body.includes('"send"'))),
    [true, true, true],
  );
  assert.deepEqual(await world.takeNotes(0), ['once']);
  assert.equal(world.told(0, 'note'), 1);
  assert.equal(world.connected(0), 1);
});

test('nobody answers for 48 hours', async () => {
  const world = new World(23);
  const link = await world.share(0, 'Bob');
  await world.unshare(0);
  await world.pass(MINUTE);
  const begun = world.now;
  await world.connect(1, link, 'Alice');
  await world.pass(50 * HOUR);
  assert.equal(world.told(1, 'gave-up', { contact: 'Alice' }), 1);
  const { now } = world.events.find(({ event }) => event.type === 'gave-up');
  assert.ok(now - begun >= 48 * HOUR && now - begun < 49 * HOUR, `${now - begun}`);
  const made = world.relays[0].seen.filter(({ body }) => body.includes('"send"'));
  const minutes = made.map(({ now }) => Math.floor((now - world.micros(begun)) / 60_000_000));
  assert.deepEqual(minutes.slice(0, 6), [0, 5, 15, 50, 110, 170]);
  assert.equal(minutes.length, 51, 'and hourly up to the end');
});

test('a contact has another name from then on', async () => {
  const world = await World.ofTwo(24, MINUTE);
  await world.call(0, (sessions, turn) => sessions.rename(turn, 'Bob', 'Robert'));
  assert.deepEqual([...world.ends[0].disk.contacts.keys()], ['Robert']);
  assert.equal(world.contact(0, 'Robert').name, 'Robert');
  await world.disconnect(0, 'Robert');
  await world.pass(3 * MINUTE);
  assert.equal(world.told(0, 'disconnected', { contact: 'Robert' }), 1);
  await world.restart(0);
  await world.reconnect(1);
  await world.bothConnected(2, 3 * MINUTE);
  assert.equal(world.told(0, 'connected', { contact: 'Robert' }), 1);
  await world.note(1, 'to Robert');
  await world.pass(2 * MINUTE);
  assert.deepEqual(await world.takeNotes(0, 'Robert'), ['to Robert']);
});

test('a name is taken, or of nobody', async () => {
  const world = await World.ofTwo(25, SECOND);
  await world.share(0, 'Carol');
  const rename = (from, to) => world.call(0, (sessions, turn) => sessions.rename(turn, from, to));
  await assert.rejects(rename('Bob', 'Carol'), { code: 'name-taken' });
  await assert.rejects(rename('Dave', 'Eve'), { code: 'no-contact' });
  await assert.rejects(rename('Bob', ''), { code: 'no-name' });
  await assert.rejects(world.share(0, 'Bob'), { code: 'name-taken' });
  assert.deepEqual([...world.ends[0].disk.contacts.keys()].sort(), ['Bob', 'Carol']);
});
