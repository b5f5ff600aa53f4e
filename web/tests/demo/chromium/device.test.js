// What the page is on a device: light, there without a network, installed, in one tab at a time, and only where it is safe.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until } from '../../chromium/harness.js';
import { isAccessible } from './accessible.js';
import { ALICE, add, BOB, LIST, makeList, pair, sees, setOnline, stands, visit } from './people.js';
import { DESKTOP, Demo, PHONE } from './world.js';

/** A world in which nobody shares anything. */
class Alone extends Demo {
  isShared = false;
}

/** Waits until the page's files are kept on the device. */
const isKept = page =>
  page.evaluate(() => navigator.serviceWorker.ready.then(({ active }) => active !== null));

/** How much of the page jumped, with nobody touching it. */
const jumped = page =>
  page.evaluate(
    () =>
      new Promise(done => {
        new PerformanceObserver(list => {
          done(list.getEntries().reduce((sum, { value }) => sum + value, 0));
        }).observe({ type: 'layout-shift', buffered: true });
        setTimeout(done, 200, 0); // There was nothing to observe.
      }),
  );

test('the page is there before its script, weighs little, and does not jump', options, async t => {
  const world = await Alone.begin(t);
  let release;
  const released = new Promise(done => {
    release = done;
  });
  world.relay.onReply = async ({ url, method }) => {
    if (method === 'GET' && url === '/demo/app.js') await released;
  };
  const browser = await world.browser(PHONE);
  const page = await browser.context.newPage();
  page.browser = browser;
  await page.goto(`${world.relay.url}/demo/`, { waitUntil: 'commit' });
  await page.getByText('Shopping list', { exact: true }).last().waitFor();
  await until('a paint', () =>
    page.evaluate(() => performance.getEntriesByName('first-contentful-paint').length === 1),
  );
  assert.equal(await page.locator('.is-starting .starting').isVisible(), true);
  await isAccessible(page, 'the page before its script', ['phone']);
  release();
  await page.getByRole('heading', { name: 'What do you need?' }).waitFor();
  const blocking = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .filter(({ renderBlockingStatus }) => renderBlockingStatus === 'blocking')
      .map(({ name }) => new URL(name).pathname),
  );
  assert.deepEqual(blocking, ['/demo/app.css']);
  assert.ok((await jumped(page)) < 0.02, `${await jumped(page)}`);
  await isAccessible(page, 'the page of somebody without a list');

  // All that the relay sent by now, to the page, to its service worker and for its icons.
  assert.equal(await isKept(page), true);
  const { gets } = world.relay;
  await until('all to be there', () => gets.every(({ ended }) => ended !== undefined));
  const sum = of => gets.reduce((sum, one) => sum + one[of], 0);
  const [files, heads] = [sum('down'), sum('head')];
  const each = gets.map(({ url, status, down, head }) => `${url} ${status} ${down} + ${head}`).join('\n');
  assert.ok(files < 100_000 && files + heads < 100_000, `${files} + ${heads} bytes:\n${each}`);
  t.diagnostic(`the first visit: ${files} bytes of files and ${heads} of heads in ${gets.length} requests`);

  // With lists, too, it does not jump.
  await makeList(page, LIST);
  await add(page, 'Oat milk, 2 l', 'Rye bread', 'Red apples');
  for (const size of [PHONE, DESKTOP]) {
    await page.setViewportSize(size.viewport);
    await page.reload();
    await sees(page, ['Oat milk, 2 l', 'Rye bread', 'Red apples']);
    assert.ok((await jumped(page)) < 0.02, `${await jumped(page)}`);
  }
  // What the app is, and what people find by hand in its menus.
  const cdp = await browser.context.newCDPSession(page);
  const { errors, manifest } = await cdp.send('Page.getAppManifest');
  assert.deepEqual([errors, manifest.name], [[], 'Shopping list']);
  assert.deepEqual((await cdp.send('Page.getInstallabilityErrors')).installabilityErrors, []);
});

test(
  'without a network the app and the list are there, and what is added comes to the other later',
  options,
  async t => {
    const world = await Demo.begin(t);
    const { alice, bob } = await pair(world);
    assert.equal(await isKept(alice), true);
    await world.relay.kill();
    await alice.browser.context.setOffline(true);
    await setOnline(alice, false);
    await alice.reload();
    await sees(alice, ['Oat milk, 2 l', 'Rye bread', 'Red apples']);
    await stands(alice, 'Offline. Changes are sent later.');
    await isAccessible(alice, 'a list without a network');
    await add(alice, 'Coffee beans');
    await add(bob, 'Dish soap');
    await sees(alice, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Coffee beans']);
    await alice.reload();
    await sees(alice, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Coffee beans']);
    await world.relay.start();
    await alice.browser.context.setOffline(false);
    await setOnline(alice, true);
    await Promise.all([stands(alice, `${BOB} is here`), stands(bob, `${ALICE} is here`)]);
    await until('both entries at both', async () =>
      (await Promise.all([alice, bob].map(page => page.getByRole('checkbox').count()))).every(
        count => count === 5,
      ),
    );
  },
);

test('the app is in one tab at a time', options, async t => {
  const world = await Alone.begin(t);
  const first = await visit(world);
  await makeList(first, LIST);
  const second = await visit(world, { browser: first.browser });
  await second.getByRole('heading', { name: LIST, level: 1 }).waitFor();
  await first.getByRole('heading', { name: 'The list is open in another tab' }).waitFor();
  await isAccessible(first, 'a tab that has lost the app');
  await add(second, 'Oat milk, 2 l');
  await first.getByRole('button', { name: 'Use it here' }).click();
  await sees(first, ['Oat milk, 2 l']);
  await second.getByRole('heading', { name: 'The list is open in another tab' }).waitFor();
  await add(first, 'Rye bread');
  await sees(first, ['Oat milk, 2 l', 'Rye bread']);
});

/** The relay under a name that is not this computer's. */
class Named extends Alone {
  get mayAsk() {
    return [`GET http://relay.test:${new URL(this.relay.url).port}`];
  }
}

test('over plain http the page says that it needs https', options, async t => {
  const world = await Named.begin(t);
  const page = await visit(world, {
    path: world.mayAsk[0].replace(/^GET (.*)$/, '$1/demo/'),
    ...PHONE,
    args: ['--host-resolver-rules=MAP relay.test 127.0.0.1'],
  });
  await page.getByRole('heading', { name: 'This address is not secure enough' }).waitFor();
  await page.getByText('Open it by https.').waitFor();
  await isAccessible(page, 'a page over plain http');
  await page.getByRole('link', { name: 'About this app, and what it needs' }).click();
  await page.getByRole('heading', { name: 'About this list' }).waitFor();
  // What Chromium says there of a header of the relay; no page can prevent it.
  const said = page.browser.errors.splice(0).map(({ text }) => text.replace(/,.*/, ''));
  assert.deepEqual(said, ['The Cross-Origin-Opener-Policy header has been ignored']);
});
