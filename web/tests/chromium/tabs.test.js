// Two tabs of one app; pages that nobody looks at.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until, World } from './harness.js';
import { connected, contact, next, open, pair, refusal, talk, visit } from './people.js';

const MINUTE = 60_000;
const LINK = 'A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA';

test('the tab that opens last takes over, and gives back when it is closed', options, async t => {
  const world = await World.begin(t);
  const { alice, bob } = await pair(world);
  assert.equal(await alice.evaluate(() => app.client.active), true);

  const second = await open(alice.browser);
  await next(alice, 'inactive');
  assert.deepEqual(await Promise.all([alice, second].map(page => page.evaluate(() => app.client.active))), [
    false,
    true,
  ]);
  // The first one still shows what there is, and refuses all calls.
  assert.equal((await contact(alice, 'Bob')).name, 'Bob');
  for (const [call, ...args] of [
    ['share', 'Carol'],
    ['connect', LINK, 'Carol'],
    ['reconnect', 'Bob'],
    ['renew', 'Bob'],
    ['disconnect', 'Bob'],
    ['verify', 'Bob', true],
    ['unshare', 'Bob'],
    ['rename', 'Bob', 'Robert'],
    ['open', 'Bob', 'chat'],
  ]) {
    assert.equal(await refusal(alice, call, ...args), 'inactive', call);
  }
  const refusals = await alice.evaluate(async () => {
    const { sendNote, takeNotes } = app.connectoid;
    const calls = [sendNote(app.client, 'Bob', 'note'), takeNotes(app.client, 'Bob', 1)];
    return (await Promise.allSettled(calls)).map(({ reason }) => reason?.code);
  });
  assert.deepEqual(refusals, ['inactive', 'inactive']);
  await second.evaluate(() => app.client.reconnect('Bob'));
  await connected(second, bob);
  await talk(second, bob);

  // Asked back, and again, as fast as can be.
  for (const [one, other] of [
    [alice, second],
    [second, alice],
    [alice, second],
    [second, alice],
    [alice, second],
  ]) {
    await one.evaluate(() => app.client.takeOver());
    await Promise.all([next(other, 'inactive'), next(one, 'active')]);
    assert.equal(await one.evaluate(() => app.client.active), true);
  }
  await alice.evaluate(() => app.client.reconnect('Bob'));
  await connected(alice, bob);

  // And once more; then that tab is closed.
  await second.evaluate(() => app.client.takeOver());
  await next(alice, 'inactive');
  await second.close();
  await next(alice, 'active');
  await alice.evaluate(() => app.client.reconnect('Bob'));
  await connected(alice, bob);
  await talk(alice, bob);
});

test('a tab that does not want to take over waits', options, async t => {
  const world = await World.begin(t);
  const alice = await visit(world);
  const second = await open(alice.browser, '/', { takeOver: false });
  assert.equal(await second.evaluate(() => app.client.active), false);
  assert.equal(await refusal(second, 'share', 'Bob'), 'inactive');
  await alice.evaluate(() => app.client.share('Bob'));
  await alice.close();
  await next(second, 'active');
  assert.equal((await contact(second, 'Bob')).state, 'waiting');
});

test('apps with names of their own do not share contacts', options, async t => {
  const world = await World.begin(t);
  const alice = await visit(world);
  await alice.evaluate(() => app.client.share('Bob'));
  const other = await open(alice.browser, '/', { name: 'other' });
  assert.deepEqual(await other.evaluate(() => app.client.contacts), []);
  assert.equal(await alice.evaluate(() => app.client.active), true);
});

/** A page with a link that waits, whose clock is in the hands of the test. */
async function waiting(world) {
  const alice = await visit(world, '/', { before: page => page.clock.install() });
  await alice.evaluate(() => app.client.share('Bob'));
  await until('a check that waits', () => open_(world).length === 1);
  return alice;
}

const open_ = ({ relay }) => relay.checks().filter(({ ended }) => ended === undefined);

/** Lets so many milliseconds pass at the page, as they pass: timers run at their time. */
async function pass(page, milliseconds) {
  for (let left = milliseconds; left > 0; left -= 10_000) await page.clock.runFor(Math.min(left, 10_000));
}

test('a page in the foreground waits at the relay, a hidden one checks once a minute', options, async t => {
  const world = await World.begin(t);
  const alice = await waiting(world);
  assert.equal(open_(world)[0].body.wait, 25);
  await alice.evaluate(() => app.hide(true));
  await until('nothing to be open', async () => {
    await pass(alice, 10_000);
    return open_(world).length === 0;
  });
  // From one check to the next.
  const settle = () => until('the check to end', () => open_(world).length === 0);
  const seen = world.relay.checks().length;
  await until('the first check', async () => {
    await pass(alice, 1_000);
    return world.relay.checks().length > seen;
  });
  await settle();
  for (let minute = 1; minute <= 3; minute++) {
    const before = world.relay.checks().length;
    await pass(alice, 55_000);
    assert.equal(world.relay.checks().length, before, `minute ${minute}`);
    await pass(alice, 10_000);
    await until('a check', () => world.relay.checks().length === before + 1);
    await settle();
    assert.equal(world.relay.checks().at(-1).body.wait ?? 0, 0);
    // So that the next minute begins with the check.
    await pass(alice, 0);
  }
  // Back in the foreground it waits again, at once.
  await alice.evaluate(() => app.hide(false));
  await until('a check that waits', () => open_(world)[0]?.body.wait === 25);
});

test('a page that nobody touches asks nothing any more, until somebody does', options, async t => {
  const world = await World.begin(t);
  const alice = await waiting(world);
  // An hour, by default.
  await pass(alice, 61 * MINUTE);
  await until('nothing to be open', () => open_(world).length === 0);
  const before = world.relay.requests.length;
  await pass(alice, 30 * MINUTE);
  assert.equal(world.relay.requests.length, before);
  await alice.mouse.click(10, 10);
  await until('a check that waits', () => open_(world)[0]?.body.wait === 25);
});

test('who wants a connection goes on asking, touched or not', options, async t => {
  const world = await World.begin(t);
  const alice = await visit(world);
  const link = await alice.evaluate(() => app.client.share('Bob'));
  await alice.close();
  const bob = await open(await world.browser(), link, {
    idleAfter: 1_000,
    before: page => page.clock.install(),
  });
  await bob.evaluate(() => app.client.connect(location, 'Alice'));
  await pass(bob, 10 * MINUTE);
  const before = world.relay.requests.length;
  await until('a check that waits', async () => {
    await pass(bob, 1_000);
    return world.relay.checks(before).some(({ body, ended }) => body.wait === 25 && ended === undefined);
  });
  const again = await open(alice.browser);
  await connected(again, bob);
});
