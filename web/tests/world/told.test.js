// What the app is told: also what it may not have heard before a crash, as long as it holds.

import assert from 'node:assert/strict';
import test from 'node:test';
import { boxesOf } from './strangers.js';
import { HOUR, MINUTE, SECOND, World } from './world.js';

/** The end crashes when this is durable and nobody heard of it; then it is told once, and again at the next start. */
async function isToldAgain(world, end, isStored, time, type, fields = {}) {
  world.crash = (who, output, contact) =>
    who === end && output.do === 'store' && isStored(contact) ? 'after' : undefined;
  await world.mustRun(time, () => world.crashed === 1);
  assert.equal(world.told(end, type, fields), 1, world.story());
  await world.restart(end);
  assert.equal(world.told(end, type, fields), 2, world.story());
}

/** And then no more. */
async function isNotToldAgain(world, end, type, fields = {}) {
  const before = world.told(end, type, fields);
  await world.restart(end);
  assert.equal(world.told(end, type, fields), before);
}

test('a goodbye is told again until the keys are gone', async () => {
  const world = await World.ofTwo(112);
  await world.unshare(0);
  const fields = { contact: 'Alice', by: 'peer' };
  const isStored = contact => contact('Alice')?.leaving === 'peer';
  await isToldAgain(world, 1, isStored, 3 * MINUTE, 'unshared', fields);
  await world.pass(MINUTE);
  assert.equal(world.ends[1].disk.contacts.size, 0);
  await isNotToldAgain(world, 1, 'unshared', fields);
});

test('a refusal is told again until the next attempt', async () => {
  const world = await World.ofTwo(113, MINUTE, { ends: 3 });
  await world.connect(2, boxesOf(world, 0)[0], 'Alice');
  const isStored = contact => contact('Alice')?.ended === 'link-used';
  await isToldAgain(world, 2, isStored, 3 * MINUTE, 'link-used', { contact: 'Alice' });
  await world.reconnect(2, 'Alice');
  await isNotToldAgain(world, 2, 'link-used');
});

test('who declined is told again until the next session', async () => {
  const world = await World.ofTwo(114);
  await world.hangUp();
  world.declines = 0;
  await world.reconnect(1);
  const isStored = contact => contact('Alice')?.ended === 'declined';
  await isToldAgain(world, 1, isStored, 3 * MINUTE, 'declined', { contact: 'Alice' });
  world.declines = undefined;
  await world.reconnect(0);
  await world.mustRun(3 * MINUTE, () => world.connected(1) === 2);
  await isNotToldAgain(world, 1, 'declined');
});

test('nobody there is told again until the next attempt', async () => {
  const world = new World(115);
  const link = await world.share(0, 'Bob');
  world.turnOff(0);
  await world.connect(1, link, 'Alice');
  const isStored = contact => contact('Alice')?.ended === 'gave-up';
  await isToldAgain(world, 1, isStored, 50 * HOUR, 'gave-up', { contact: 'Alice' });
  await world.reconnect(1);
  await isNotToldAgain(world, 1, 'gave-up');
});

test('a note is told again until it was handed over', async () => {
  const world = await World.ofTwo(116);
  await world.note(1, 'a note');
  const isStored = contact => contact('Bob')?.inbox.length === 1;
  await isToldAgain(world, 0, isStored, 2 * MINUTE, 'note', { contact: 'Bob' });
  assert.deepEqual(await world.takeNotes(0), ['a note']);
  await isNotToldAgain(world, 0, 'note');
});

test('an expired link is told again', async () => {
  const world = new World(117, 1);
  await world.share(0, 'Bob', { expiresIn: SECOND });
  const isStored = contact => contact('Bob')?.link.state === 'closed';
  await isToldAgain(world, 0, isStored, 2 * MINUTE, 'link-expired', { contact: 'Bob' });
  await world.unshare(0);
  await world.pass(MINUTE);
  await isNotToldAgain(world, 0, 'link-expired');
});

test('a link used twice is told again until the strings were compared', async () => {
  const world = await World.ofTwo(118, MINUTE, { ends: 3 });
  await world.connect(2, boxesOf(world, 0)[0], 'Alice');
  const fields = { alarm: 'link-used-twice', contact: 'Bob' };
  const isStored = contact => contact('Bob')?.link.usedTwice !== undefined;
  await isToldAgain(world, 0, isStored, 3 * MINUTE, 'alarm', fields);
  await world.verify(0, true);
  await isNotToldAgain(world, 0, 'alarm', fields);
});

test('a contact made while its relays are down hears of it at once', async () => {
  const world = new World(119, 1);
  world.down[0] = true;
  await world.share(0, 'Bob');
  await world.pass(MINUTE);
  const down = () => ['Bob', 'Carol'].map(contact => world.told(0, 'relays-down', { contact }));
  assert.deepEqual(down(), [1, 0]);
  await world.share(0, 'Carol');
  assert.deepEqual(down(), [1, 1]);
  world.down[0] = false;
  await world.pass(2 * MINUTE);
  assert.equal(world.told(0, 'relays-back'), 2);
});

test('what is said is stored before it is said', async () => {
  const world = await World.ofTwo(120, MINUTE, { ends: 3 });
  await world.connect(2, boxesOf(world, 0)[0], 'Alice');
  await world.pass(3 * MINUTE);
  await world.verify(0, true);
  await world.note(1, 'a note');
  await world.pass(2 * MINUTE);
  await world.unshare(1);
  await world.pass(3 * MINUTE);
  const stored = ['shared', 'claimed', 'connected', 'link-used', 'alarm', 'note', 'unshared'];
  const seen = new Set();
  for (const { outputs } of world.ends) {
    let since = [];
    for (const output of outputs) {
      if (output.do === 'store') since = [];
      else since.push(output);
      if (output.do !== 'event' || !stored.includes(output.event.type)) continue;
      seen.add(output.event.type);
      // Nothing that leaves the device stands between.
      const left = since.filter(({ do: what }) => what === 'request' || what === 'frame');
      assert.deepEqual(
        left.map(({ do: what }) => what),
        [],
        output.event.type,
      );
    }
  }
  assert.deepEqual([...seen].sort(), stored.sort());
});

test('a counter is stored before the offer is sent', async () => {
  const world = new World(60);
  const link = await world.share(0, 'Bob');
  let counter;
  const { send } = world;
  world.send = (end, output) => {
    if (output.body.includes('"send"')) counter = world.ends[end].disk.contacts.get('Alice').signer.n;
    send.call(world, end, output);
  };
  await world.connect(1, link, 'Alice');
  await world.pass(SECOND);
  assert.equal(counter, 1);
});

test('a relay that is of no use for long is told of, and why', async () => {
  const saying = body => ({ status: 200, body: JSON.stringify(body) });
  const refusing = body => ({ ...saying({ ok: false, ...body }), status: 403 });
  for (const [reply, why] of [
    [refusing({ error: 'Not allowed', detail: 'ask\nme' }), 'Not allowed: ask\ufffdme'],
    [{ status: 404, body: '<html>' }, 'status'],
    [{ status: 200, body: '<html>' }, 'not-the-protocol'],
    ['redirect', 'redirect'],
    ['too-large', 'too-large'],
    ['unreachable', 'unreachable'],
    [saying({ ok: true, found: false, boxes: [], relay: 'https://two.example' }), 'other-relay'],
    [refusing({ error: 'Busy' }), undefined],
  ]) {
    const world = new World(121, 1);
    await world.share(0, 'Bob');
    await world.pass(MINUTE);
    world.dishonesty = { instead: async () => ({ reply }) };
    await world.pass(3 * MINUTE);
    assert.equal(world.told(0, 'relays-down'), why ? 1 : 0, why);
    assert.equal(world.told(0, 'relays-down', { contact: 'Bob', why }), why ? 1 : 0, why);
    assert.equal(world.told(0, 'relays-back'), 0, why);
    world.dishonesty = undefined;
    await world.pass(3 * MINUTE);
    assert.equal(world.told(0, 'relays-back', { contact: 'Bob' }), why ? 1 : 0, why);
  }
});

test('a note that a relay refuses is told of with all that it said', async () => {
  const world = await World.ofTwo(122);
  const body = '{"ok":false,"error":"Too big","detail":"at most 3"}';
  const instead = async (_relays, _relay, { action }) =>
    action === 'send' ? { reply: { status: 413, body } } : undefined;
  world.dishonesty = { instead };
  await world.note(1, 'a note');
  await world.pass(MINUTE);
  assert.equal(world.told(1, 'not-sent', { why: 'Too big: at most 3' }), 1);
});

test('a message that WebCrypto failed to open is no junk, and stays at the relay', async () => {
  const world = await World.ofTwo(123);
  const { subtle } = crypto;
  const { deriveBits } = subtle;
  const { replied } = world;
  let failed = 0;
  world.replied = async (end, id, said) => {
    const fails = world.ends[end].asked.get(id)?.request.action === 'receive' && !failed;
    if (fails) {
      subtle.deriveBits = async () => {
        failed += 1;
        throw new DOMException('for now', 'OperationError');
      };
    }
    try {
      await replied.call(world, end, id, said);
    } finally {
      subtle.deriveBits = deriveBits;
    }
  };
  await world.note(1, 'a note');
  await world.pass(2 * MINUTE);
  assert.equal(failed, 1);
  assert.deepEqual([world.told(0, 'skipped'), world.told(0, 'note')], [0, 0]);
  // When all is asked for again.
  await world.pass(31 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['a note']);
});
