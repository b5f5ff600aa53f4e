// A relay that is killed, goes for a while and comes back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until, World } from './harness.js';
import { connected, next, open, pair, start, talk, useLink, visit } from './people.js';

test('killed before the offer is answered', options, async t => {
  const world = await World.begin(t);
  const { relay } = world;
  const [alice, browser] = await Promise.all([visit(world), world.browser()]);
  const link = await alice.evaluate(() => app.client.share('Bob'));
  const bob = await open(browser, link);
  // The offer is stored; neither is its sender told so, nor does its receiver get it.
  let killed;
  relay.onReply = ({ body, status }) => {
    if (body.action !== 'send' || status !== 200) return;
    relay.onReply = undefined;
    killed = relay.kill();
    return killed;
  };
  await useLink(bob, 'Alice');
  await Promise.all([next(alice, 'relays-down', 'Bob'), next(bob, 'relays-down', 'Alice')]);
  await killed;
  assert.ok(!(await alice.evaluate(() => app.events.some(({ type }) => type === 'claimed'))));
  await relay.start();
  await Promise.all([next(alice, 'relays-back', 'Bob'), next(bob, 'relays-back', 'Alice')]);
  await connected(alice, bob);
  await talk(alice, bob);
  // What was sent twice counted once.
  assert.equal(await alice.evaluate(() => app.events.filter(({ type }) => type === 'claimed').length), 1);
});

test('killed while two are connected: they notice, and go on talking', options, async t => {
  const world = await World.begin(t);
  const { alice, bob } = await pair(world);
  await world.relay.kill();
  await Promise.all([next(alice, 'relays-down', 'Bob'), next(bob, 'relays-down', 'Alice')]);
  await talk(alice, bob);
  await world.relay.start();
  await Promise.all([next(alice, 'relays-back', 'Bob'), next(bob, 'relays-back', 'Alice')]);
  await talk(alice, bob);
});

test(
  'gone while a page starts, wants to connect and shares: all of it happens once it is back',
  options,
  async t => {
    const world = await World.begin(t);
    const { alice, bob } = await pair(world);
    await world.relay.kill();
    await bob.reload();
    await start(bob);
    await bob.evaluate(() => app.client.reconnect('Alice'));
    await next(bob, 'relays-down', 'Alice');
    const link = await bob.evaluate(() => app.client.share('Carol'));
    const carol = await open(await world.browser(), link);
    await useLink(carol, 'Bob');
    await next(carol, 'relays-down', 'Bob');
    await world.relay.start();
    await Promise.all([
      connected(alice, bob),
      connected(bob, carol, { bobsName: 'Carol', alicesName: 'Bob' }),
    ]);
    await talk(alice, bob);
  },
);

test('unshare while it is gone: the keys go, and the other side hears of it later', options, async t => {
  const world = await World.begin(t);
  const { alice, bob } = await pair(world);
  await world.relay.kill();
  // Each box is tried to be deleted three times, within 12 s.
  await alice.evaluate(() => app.client.unshare('Bob'));
  assert.deepEqual((await alice.evaluate(() => app.keys())).keys, []);
  await world.relay.start();
  assert.equal((await next(bob, 'unshared', 'Alice')).by, 'peer');
  await until(
    'the keys of the other side to go',
    async () => (await bob.evaluate(() => app.keys())).keys.length === 0,
  );
});
