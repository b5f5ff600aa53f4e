// A page on one side and the command line on the other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until, World } from './harness.js';
import { next, open, useLink, visit } from './people.js';

const WAY = ['--stun', 'none', '--loopback'];

/** `connectoid share` on one side; the page opens the link. */
async function cliShares(world) {
  const person = world.person();
  const cli = person.connectoid('share', '--for', 'Browser', '--relay', world.relay.url, '--pipe', ...WAY);
  const connectoid = await cli.says('link: ');
  const browser = await world.browser();
  const page = await open(browser, `/#connectoid=${connectoid}`);
  await useLink(page, 'Terminal');
  await sameEmoji(page, 'Terminal', cli, 'Browser');
  return { person, cli, page, names: { page: 'Terminal', cli: 'Browser' } };
}

/** The page shares; `connectoid connect` on the other side. */
async function pageShares(world) {
  const person = world.person();
  const page = await visit(world);
  const link = await page.evaluate(() => app.client.share('Terminal'));
  const cli = person.connectoid('connect', link, '--for', 'Page', '--pipe', ...WAY);
  await sameEmoji(page, 'Terminal', cli, 'Page');
  return { person, cli, page, names: { page: 'Terminal', cli: 'Page' } };
}

async function sameEmoji(page, name, cli, itsName, count = 1) {
  const [{ emoji }, printed] = await Promise.all([
    next(page, 'connected', name),
    cli.says(`connected to "${itsName}" `, count),
  ]);
  assert.equal(printed, emoji.join(' '));
}

/** Words go both ways through a pipe that the page keeps as `app.line`. */
async function wordsBothWays(page, cli) {
  await page.evaluate(async () => {
    app.line = await app.pipe('Terminal');
    await app.line.write(new TextEncoder().encode('marco\n'));
  });
  await cli.shows('marco\n');
  cli.write('polo\n');
  await page.evaluate(() => app.until('an answer', () => app.line.taken === 5));
  assert.equal(await page.evaluate(() => app.line.came()), 'polo\n');
}

for (const [who, begin] of [
  ['the command line', cliShares],
  ['the page', pageShares],
]) {
  test(`${who} shares: megabytes both ways through a pipe, and their end`, options, async t => {
    const world = await World.begin(t);
    const { cli, page } = await begin(world);
    await wordsBothWays(page, cli);
    const much = 'pipe '.repeat(1_200_000); // 6 MB: more than a window of 4 MiB
    cli.write(much);
    const up = page.evaluate(() => app.line.write(app.noise(6_000_000).map(byte => 97 + (byte % 26))));
    cli.child.stdin.end();
    await up;
    const done = await page.evaluate(() => app.line.end());
    assert.equal(done, 6_000_006);
    assert.equal(await page.evaluate(() => app.line.came()), `polo\n${much}`);
    assert.equal(await cli.ended, 0, cli.err);
    assert.equal(cli.out.length, 6_000_006);
    const letters = await page.evaluate(async () =>
      app.sha256(app.noise(6_000_000).map(byte => 97 + (byte % 26))),
    );
    const { createHash } = await import('node:crypto');
    assert.equal(createHash('sha256').update(cli.out.slice(6)).digest('hex'), letters);
    await next(page, 'disconnected', 'Terminal');
  });

  test(`${who} shared: the program is killed, and meets the page again under its name`, options, async t => {
    const world = await World.begin(t);
    const { person, cli, page, names } = await begin(world);
    await wordsBothWays(page, cli);
    await cli.kill();
    const again = person.connectoid('connect', names.cli, '--pipe', ...WAY);
    await sameEmoji(page, names.page, again, names.cli);
    await wordsBothWays(page, again);

    // Now the page goes, and comes back.
    await page.reload();
    await page.evaluate(relays => app.open({ relays }), [world.relay.url]);
    await page.evaluate(() => app.client.reconnect('Terminal'));
    await next(page, 'connected', 'Terminal');
    await page.evaluate(() => app.client.disconnect('Terminal'));
  });

  test(`${who} shared: the page unshares, and the command line hears of it`, options, async t => {
    const world = await World.begin(t);
    const { person, cli, page, names } = await begin(world);
    await wordsBothWays(page, cli);
    await page.evaluate(() => app.client.unshare('Terminal'));
    assert.deepEqual((await page.evaluate(() => app.keys())).keys, []);
    assert.equal(await cli.ended, 4, cli.err);
    assert.match(
      cli.err,
      new RegExp(`connectoid: "${names.cli}" ended this contact: its keys are deleted here, too\n$`),
    );
    const list = person.connectoid('contacts');
    assert.deepEqual([await list.ended, list.out], [0, '']);
    // Nothing more is asked of the relay, for what the command line sends on its way out may come behind.
    assert.deepEqual(world.relay.undeleted(), []);
  });

  test(`${who} shared: the command line unshares, and the page hears of it`, options, async t => {
    const world = await World.begin(t);
    const { person, cli, page, names } = await begin(world);
    await wordsBothWays(page, cli);
    await cli.kill('SIGINT');
    const ending = person.connectoid('unshare', names.cli, '--yes');
    await ending.says(`"${names.cli}" is unshared: all its keys are deleted`);
    assert.equal((await next(page, 'unshared', 'Terminal')).by, 'peer');
    assert.equal(await ending.ended, 0, ending.err);
    await until('the keys to go', async () => (await page.evaluate(() => app.keys())).keys.length === 0);
    await until('the boxes to go', async () => (await world.relay.boxes()) === 0);
  });
}
