// Where a link or the other side may lead, and how often it may move.

import assert from 'node:assert/strict';
import test from 'node:test';
import { formatConnectoid } from '../../dist/connectoid.js';
import { boxesOf, connectoidOf, deliver, offerFrom, sealedBy, sealedByEnd, stranger } from './strangers.js';
import { MINUTE, RELAY, SECOND, World } from './world.js';

const HERE = 'http://127.0.0.1:8080';

async function at(...relays) {
  return (await stranger(relays)).connectoid;
}

/** The other side says on the open session of Alice that it moved. */
async function moves(world, connectoid) {
  const { session } = world.peer(0, 'open');
  const text = JSON.stringify({ t: 'rekey', connectoid: formatConnectoid(connectoid) });
  await world.call(0, (sessions, turn) => sessions.frame(turn, session, text));
}

test('the other side does not move to this machine, to an own box, or to one without a secret', async () => {
  for (const place of ['here', 'own', 'no-secret']) {
    const world = await World.ofTwo(81);
    await world.share(0, 'Carol');
    const connectoid = {
      here: await at(RELAY, HERE),
      own: connectoidOf(world.contact(0, 'Carol').boxes[0]),
      'no-secret': { ...(await at(RELAY)), secret: undefined },
    }[place];
    const before = structuredClone(world.contact(0).peer.connectoid);
    await moves(world, connectoid);
    assert.equal(world.told(0, 'disconnected', { contact: 'Bob' }), 1, place);
    assert.deepEqual(world.contact(0).peer.connectoid, before);
  }
});

test('the fifth move in one session closes it', async () => {
  const world = await World.ofTwo(82);
  // The first was at the beginning of the session.
  for (let times = 0; times < 2; times += 1) await moves(world, await at(RELAY));
  const fourth = await at(RELAY);
  await moves(world, fourth);
  assert.equal(world.told(0, 'disconnected'), 0);
  assert.deepEqual(world.contact(0).peer.connectoid, fourth);
  assert.equal(world.ends[0].disk.contacts.get('Bob').peer.connectoid.key, fourth.key, 'it is stored');
  await moves(world, await at(RELAY));
  assert.equal(world.told(0, 'disconnected'), 1);
  assert.deepEqual(world.contact(0).peer.connectoid, fourth);
});

test('frames of a later version are ignored, and what is no frame ends the session', async () => {
  const world = await World.ofTwo(86);
  const frame = text => {
    const { session } = world.peer(0, 'open');
    return world.call(0, (sessions, turn) => sessions.frame(turn, session, text));
  };
  await frame('{"t":"hurry"}');
  await frame('{"t":"rekey-ok","pub":"A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw"}');
  assert.equal(world.told(0, 'disconnected'), 0);
  await frame('hello');
  assert.equal(world.told(0, 'disconnected'), 1);
});

test('an offer does not lead to this machine', async () => {
  const world = new World(87, 1);
  const link = await world.share(0, 'Bob');
  const { signer } = await stranger();
  await deliver(world, 0, link.key, await sealedBy(signer, 1, link, offerFrom(await at(RELAY, HERE))));
  assert.equal(world.told(0, 'skipped', { why: 'this-machine' }), 1, world.story());
  assert.equal(world.contact(0).link.state, 'open');
});

test('an offer does not lead to an own box', async () => {
  const world = new World(88, 1);
  const forBob = await world.share(0, 'Bob');
  const forCarol = await world.share(0, 'Carol');
  const { signer } = await stranger();
  await deliver(world, 0, forBob.key, await sealedBy(signer, 1, forBob, offerFrom(forCarol)));
  assert.equal(world.told(0, 'skipped', { why: 'own-box' }), 1, world.story());
  assert.equal(world.contact(0).peer, undefined);
});

test('an offer from a box that was replaced does not count', async () => {
  const world = await World.ofTwo(89);
  const [old, new_] = boxesOf(world, 1);
  const [, alice] = boxesOf(world, 0);
  assert.notEqual(old.key, new_.key);
  await deliver(world, 0, alice.key, await sealedByEnd(world, 1, alice, offerFrom(old)));
  assert.equal(world.told(0, 'skipped', { why: 'overtaken' }), 1, world.story());
  assert.equal(world.contact(0).peer.connectoid.key, new_.key);
});

test('a link that leads here and elsewhere is not used', async () => {
  const world = new World(83);
  await assert.rejects(world.connect(1, await at(RELAY, HERE), 'Mallory'), { code: 'this-machine' });
  await assert.rejects(world.connect(1, await at(HERE, RELAY), 'Mallory'), { code: 'this-machine' });
  assert.equal(world.ends[1].disk.contacts.size, 0);
  // Who tries it out on one machine may.
  await world.connect(1, await at(HERE), 'Carol');
  assert.equal(world.ends[1].disk.contacts.size, 1);
});

test('a link is used once here', async () => {
  const world = new World(84);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  const taken = { code: 'link-taken', message: 'the link is that of Alice' };
  await assert.rejects(world.connect(1, link, 'Alice too'), taken);
  await world.bothConnected(1, 5 * MINUTE);
  await world.pass(MINUTE);
  assert.notEqual(world.contact(1).peer.connectoid.key, link.key);
  await assert.rejects(world.connect(1, link, 'Alice too'), taken);
  // Of another link the name is taken, of its own it is a reconnect.
  await assert.rejects(world.connect(1, await at(RELAY), 'Alice'), { code: 'name-taken' });
  await world.hangUp();
  await world.connect(1, link, ' Alice ');
  await world.bothConnected(2, 5 * MINUTE);
  assert.deepEqual([...world.ends[1].disk.contacts.keys()], ['Alice']);
});

test('who used a link is not reconnected to before the proof', async () => {
  const world = new World(91);
  const words = async message => assert.rejects(world.reconnect(0), { code: 'nobody-there', message });
  const link = await world.share(0, 'Bob');
  await words('nobody there');
  world.opening = MINUTE;
  await world.connect(1, link, 'Alice');
  await world.mustRun(2 * MINUTE, () => world.told(0, 'claimed') === 1);
  await words('nobody there');
});

test('names have no blanks around them, and an end', async () => {
  const world = new World(92, 1);
  await world.share(0, '  Bob ');
  assert.equal(world.contact(0, 'Bob').name, 'Bob');
  await assert.rejects(world.share(0, 'Bob '), { code: 'name-taken' });
  await assert.rejects(world.share(0, ' \n'), { code: 'no-name' });
  await assert.rejects(world.share(0, 'b'.repeat(257)), { code: 'argument' });
  const rename = to => world.call(0, (sessions, turn) => sessions.rename(turn, 'Bob', to));
  await assert.rejects(rename(' '), { code: 'no-name' });
  assert.equal(await rename(` ${'b'.repeat(256)} `), 'b'.repeat(256));
  assert.deepEqual([...world.ends[0].disk.contacts.keys()], ['b'.repeat(256)]);
});

test('a link that was made here is not used here', async () => {
  const world = new World(90);
  const link = await world.share(0, 'Bob');
  for (const name of ['Myself', 'Bob'])
    await assert.rejects(world.connect(0, link, name), { code: 'own-link' });
  assert.deepEqual([...world.ends[0].disk.contacts.keys()], ['Bob']);
});

test('a contact needs a name, and a link one to four relays', async () => {
  const world = new World(85);
  await assert.rejects(world.connect(1, await at(RELAY), ''), { code: 'no-name' });
  await assert.rejects(world.share(1, ''), { code: 'no-name' });
  for (const count of [0, 5]) {
    const relays = Array.from({ length: count }, (_, index) => `https://${index}.example`);
    await assert.rejects(world.share(1, 'Bob', { relays }), { code: 'relays' });
  }
  assert.equal(world.ends[1].disk.contacts.size, 0);
  await world.pass(SECOND);
});
