// What is under way is not thrown away, and what was overtaken is not sent.

import assert from 'node:assert/strict';
import test from 'node:test';
import { decode } from '../../dist/base64url.js';
import { compressedBytes } from '../../dist/keys.js';
import { boxesOf, deliver, offerFrom, sealedBy, sealedByEnd, stranger } from './strangers.js';
import { MINUTE, NAMES, RELAY, SECOND, World } from './world.js';

/** Alice and Bob, who were connected. */
async function acquainted(seed) {
  const world = await World.ofTwo(seed);
  await world.hangUp();
  return world;
}

/** The end whose key is the lower: it answers if both offer at once. */
function lower(world) {
  const [alice, bob] = [0, 1].map(end => Buffer.from(compressedBytes(world.contact(end).signer.key.pub)));
  return Buffer.compare(alice, bob) < 0 ? 0 : 1;
}

function offers(world, end) {
  return world.ends[end].outputs.filter(output => output.do === 'make-offer').length;
}

test('an offer and an answer in one batch after both offered', async () => {
  for (let seed = 121; seed < 133; seed += 1) {
    const world = await acquainted(seed);
    const first = seed % 2;
    world.slowChecks = 1 - lower(world);
    await world.reconnect(first);
    await world.pass((seed - 121) * 30);
    await world.reconnect(1 - first);
    await world.bothConnected(2, 2 * MINUTE);
  }
});

test('a stored offer is answered after a restart, and no other made', async () => {
  const world = await acquainted(141);
  const low = lower(world);
  world.crash = (end, output, contact) =>
    end === low && output.do === 'store' && contact(NAMES[low])?.peer.unanswered ? 'after' : undefined;
  await world.reconnect(0);
  await world.reconnect(1);
  await world.mustRun(MINUTE, () => world.crashed === 1);
  assert.ok(world.contact(low).connecting);
  const before = offers(world, low);
  await world.bothConnected(2, MINUTE);
  assert.equal(offers(world, low), before);
});

test('an answer that came just before the next offer stands', async () => {
  const world = new World(142);
  const link = await world.share(0, 'Bob');
  // The program of Alice does not run for almost five minutes.
  world.turnOff(0);
  await world.foreground(1);
  await world.connect(1, link, 'Alice');
  await world.pass(5 * MINUTE - 2 * SECOND);
  world.opening = 5 * SECOND;
  await world.restart(0);
  await world.foreground(0);
  await world.bothConnected(1, MINUTE);
  assert.ok(world.now > 5 * MINUTE + 2 * SECOND, `${world.now}`);
  assert.equal(offers(world, 1), 1);
});

test('who is impatient makes no further offer', async () => {
  const world = new World(143);
  const link = await world.share(0, 'Bob');
  world.turnOff(0);
  await world.connect(1, link, 'Alice');
  assert.equal(offers(world, 1), 1);
  for (let second = 0; second < 60; second += 1) {
    await world.reconnect(1);
    await world.pass(SECOND);
  }
  assert.equal(offers(world, 1), 1);
  await world.pass(SECOND);
  await world.reconnect(1);
  assert.equal(offers(world, 1), 2, 'another');
  assert.equal(
    world.ends[1].outputs.filter(output => output.do === 'close').length,
    1,
    'and the first is closed',
  );
});

test('a newer answer recalls the older and its candidates, but no refusal', async () => {
  const world = await acquainted(145);
  world.lateCandidates = true;
  const [link, alice] = boxesOf(world, 0);
  const [, bob] = boxesOf(world, 1);
  // The relay gives and does not take.
  world.turnOff(1);
  let takes = false;
  const { answer } = world.relays[0];
  world.relays[0].answer = async (request, now, mayWait) =>
    request.action === 'send' && !takes
      ? { status: 503, body: '{"ok":false,"error":"Busy"}' }
      : answer.call(world.relays[0], request, now, mayWait);
  const { signer, connectoid } = await stranger();
  await deliver(world, 0, link.key, await sealedBy(signer, 1, link, offerFrom(connectoid)));
  await world.restart(1);
  for (let times = 0; times < 2; times += 1) {
    await deliver(world, 0, alice.key, await sealedByEnd(world, 1, alice, offerFrom(bob)));
    await world.pass(5 * SECOND);
  }
  takes = true;
  const before = world.relays[0].seen.length;
  await world.pass(2 * MINUTE);
  assert.equal(world.sends(before), 1 + 1 + 1, 'the refusal, the answer and its candidates');
});

test('nobody is there to be offered to before a proof', async () => {
  const world = new World(146);
  const link = await world.share(0, 'Bob');
  await assert.rejects(world.reconnect(0), { code: 'nobody-there' });
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  await world.mustRun(MINUTE, () => world.told(0, 'claimed') === 1);
  await assert.rejects(world.reconnect(0), { code: 'nobody-there' });
  // Bob may: another offer of the same key is answered.
  await world.disconnect(0);
  await world.pass(90 * SECOND);
  await world.reconnect(1);
  await world.bothConnected(1, 3 * MINUTE);
});

test('whoever claimed a link may be offered to by its owner', async () => {
  const world = new World(147);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  await world.mustRun(MINUTE, () => world.told(0, 'claimed') === 1);
  await world.disconnect(0);
  await world.pass(5 * SECOND);
  // Another library than this one offers, by a box whose secret Bob gave in his offer.
  const [bob] = boxesOf(world, 1);
  const [alice] = boxesOf(world, 0);
  await deliver(world, 1, bob.key, await sealedByEnd(world, 0, bob, offerFrom(alice)));
  const known = world.contact(1).peer.ik;
  assert.equal(known, world.contact(0).signer.key.pub);
  // The next one is not believed, be it before the proof.
  const { signer, connectoid } = await stranger();
  await deliver(world, 1, bob.key, await sealedBy(signer, 9, bob, offerFrom(connectoid)));
  assert.equal(world.told(1, 'skipped', { why: 'unknown-signer' }), 1, world.story());
  assert.equal(world.contact(1).peer.ik, known);
});

test('an SDP of no use ends its session, and the next try makes another', async () => {
  const world = new World(61);
  const link = await world.share(0, 'Bob');
  world.turnOff(0);
  world.gathered = async (end, session) => {
    const bad = world.call(end, (sessions, turn) => sessions.localOffer(turn, session, 'v=0\r\n'));
    await assert.rejects(bad, { code: 'fingerprint' });
    const again = world.call(end, (sessions, turn) => sessions.localOffer(turn, session, 'v=0\r\n'));
    await assert.rejects(again, { code: 'over' });
  };
  await world.connect(1, link, 'Alice');
  await world.pass(SECOND);
  assert.equal(world.sends(), 0);
  assert.equal(world.peer(1, 'pending'), undefined, 'it is closed');
  await world.pass(5 * MINUTE - SECOND - 1);
  assert.equal(offers(world, 1), 1);
  await world.pass(1);
  assert.equal(offers(world, 1), 2);
});

test('a peer connection that cannot be made is tried again', async () => {
  const world = new World(62);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  const { session } = world.peer(1, 'pending');
  await world.call(1, (sessions, turn) => sessions.channelClosed(turn, session));
  await world.pass(5 * MINUTE + SECOND);
  assert.equal(offers(world, 1), 2);
});

test('an answer that came to nothing is followed by the next offer', async () => {
  const world = new World(148);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  const { join } = world;
  world.join = () => {};
  await world.connect(1, link, 'Alice');
  await world.pass(4 * MINUTE);
  assert.ok(world.peer(0, 'pending') && world.peer(1, 'pending'), 'the channel has five minutes to open');
  await world.pass(70 * SECOND);
  assert.equal(world.peer(0, 'pending')?.joined ?? false, false);
  world.join = join;
  await world.bothConnected(1, 15 * MINUTE);
});

test('who does not want to connect says so', async () => {
  const world = await acquainted(52);
  world.declines = 0;
  await world.reconnect(1);
  await world.pass(3 * MINUTE);
  assert.equal(world.told(1, 'declined', { contact: 'Alice' }), 1);
  assert.equal(world.contact(1).connecting, undefined, 'it is not asked again');
  assert.deepEqual([world.connected(0), world.connected(1)], [1, 1]);
});

test('a wish that was withdrawn is not fulfilled', async () => {
  const world = await acquainted(149);
  world.down[0] = true;
  await world.reconnect(1);
  await world.pass(MINUTE);
  await world.disconnect(1);
  world.down[0] = false;
  const before = world.relays[0].seen.length;
  await world.pass(10 * MINUTE);
  assert.equal(world.sends(before), 0);
  assert.deepEqual([world.connected(0), world.connected(1)], [1, 1]);
});

test('a message is the same at each relay, and each is sent to', async () => {
  const relays = [RELAY, 'https://two.example', 'https://three.example', 'https://four.example'];
  const world = new World(150, 2, relays);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  await world.pass(SECOND);
  const sent = world.relays.map(
    relay => world.requests(0, relay).find(({ action }) => action === 'send').data,
  );
  assert.equal(new Set(sent).size, 1);
  assert.equal(decode(sent[0]).length, 4096);
});

test('who wants to reconnect while a channel is on its way gets the next offer as soon as that comes to nothing', async () => {
  for (const [again, more] of [
    [false, 0],
    [true, 1],
  ]) {
    const world = await acquainted(144);
    world.opening = 5 * MINUTE;
    await world.foreground(0);
    await world.foreground(1);
    await world.reconnect(1);
    await world.mustRun(MINUTE, () => world.peer(1, 'pending')?.joined);
    if (again) await world.reconnect(1);
    const before = offers(world, 1);
    await world.pass(SECOND);
    assert.equal(offers(world, 1) - before, 0, 'it stands');
    const { session } = world.peer(1, 'pending');
    await world.call(1, (sessions, turn) => sessions.channelClosed(turn, session));
    await world.pass(SECOND);
    assert.equal(offers(world, 1) - before, more);
  }
});
