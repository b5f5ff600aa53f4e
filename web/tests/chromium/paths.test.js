// A way that breaks while two pages talk, and is found again.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { options, World } from './harness.js';
import { contact, next, pair, talk } from './people.js';

/** What the packet filter of this network does. */
function nft(rules) {
  execFileSync('nft', ['-f', '-'], {
    input: rules,
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
}

test('what is said while no packets get through arrives when they do again', options, async t => {
  const world = await World.begin(t);
  const { alice, bob } = await pair(world);
  await alice.evaluate(async () => {
    app.before = (await app.opens('Bob', 'before')).channel;
  });

  nft('table inet wall { chain out { type filter hook output priority 0; meta l4proto udp drop; }; }');
  t.after(() => nft('table inet wall; delete table inet wall'));
  await Promise.all([next(alice, 'interrupted', 'Bob'), next(bob, 'interrupted', 'Alice')]);
  assert.equal((await contact(alice, 'Bob')).state, 'connected');
  await alice.evaluate(() => app.before.send('still there?'));

  nft('delete table inet wall');
  await Promise.all([next(alice, 'resumed', 'Bob'), next(bob, 'resumed', 'Alice')]);
  const heard = await bob.evaluate(async () => {
    const { came } = await app.channel('Alice', 'before');
    await app.until('the words', () => came.length > 0);
    return came;
  });
  assert.deepEqual(heard, ['still there?']);
  await talk(alice, bob);
  for (const page of [alice, bob]) {
    const types = await page.evaluate(() => app.events.map(({ type }) => type));
    assert.deepEqual(
      types.filter(type => ['connected', 'interrupted', 'resumed', 'disconnected'].includes(type)),
      ['connected', 'interrupted', 'resumed'],
    );
  }
});
