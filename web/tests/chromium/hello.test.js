// The five lines and the page of docs/browser.md, exactly as they stand there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { options, WEB, World } from './harness.js';

const RELAY = 'https://connecto.id';

/** The relay that the page names is ours. */
class Elsewhere extends World {
  get mayAsk() {
    return [`POST ${RELAY}`];
  }
}

/** A way for fresh browsers to pages of a site of ours, and to the relay that they name. */
async function way(t, pages) {
  const world = await Elsewhere.begin(t, '--url', RELAY);
  world.site.put('/connectoid.min.js', readFileSync(`${WEB}/dist/connectoid.min.js`));
  for (const [path, html] of Object.entries(pages)) world.site.put(path, html);
  const visit = async path => {
    const browser = await world.browser();
    const dropped = new Map();
    browser.context.on('requestfailed', request => dropped.get(request)?.abort());
    await browser.context.route(`${RELAY}/**`, async route => {
      const drop = new AbortController();
      dropped.set(route.request(), drop);
      const { method, body, headers } = await asked(route.request());
      const reply = await fetch(world.relay.url, { method, body, headers, signal: drop.signal }).catch(
        () => {},
      );
      const text = await reply?.text().catch(() => {});
      if (text === undefined) return route.abort().catch(() => {});
      // The page may have given up waiting.
      return route
        .fulfill({ status: reply.status, headers: Object.fromEntries(reply.headers), body: text })
        .catch(() => {});
    });
    return browser.open(path);
  };
  return { url: world.site.url, visit };
}

test('five lines connect two pages', options, async t => {
  const lines = ['docs/browser.md', 'README.md', 'web/README.md'].map(
    file => readFileSync(`${WEB}/../${file}`, 'utf8').match(/^```js\n(.*?)^```$/ms)?.[1],
  );
  assert.equal(lines[0].trimEnd().split('\n').length, 5);
  assert.deepEqual(lines, Array(3).fill(lines[0]));
  const { url, visit } = await way(t, {
    '/five.html': `<!doctype html><title>Five</title><link rel="icon" href="data:,">
      <script>
        globalThis.said = [];
        console.log = (...words) => said.push(words.join(' '));
      </script>
      <script type="importmap">{ "imports": { "connectoid": "/connectoid.min.js" } }</script>
      <script type="module">${lines[0]}</script>`,
  });
  const alice = await visit('/five.html');
  await alice.waitForFunction(() => said.length === 1);
  const link = (await alice.evaluate(() => said[0])).replace(/^for Bob: /, '');
  assert.ok(link.startsWith(`${url}/five.html#connectoid=A`), link);
  const bob = await visit(link);
  await alice.waitForFunction(() => said.includes('Bob hello'));
  await bob.waitForFunction(() => said.includes('Alice hello'));
});

test('two people use it: make a link, open it, talk both ways, come back', options, async t => {
  const html = readFileSync(`${WEB}/../docs/browser.md`, 'utf8').match(/^```html\n(.*?)^```$/ms)?.[1];
  assert.equal(html, readFileSync(`${WEB}/examples/hello.html`, 'utf8'));
  assert.ok(html.split('\n').length < 36);
  const { url, visit } = await way(t, { '/hello.html': html });

  const alice = await visit('/hello.html');
  await alice.getByRole('button', { name: 'Make a link for a friend' }).click();
  await alice.getByRole('status').getByText('#connectoid=').waitFor();
  const link = await alice.getByRole('status').innerText();
  assert.ok(link.startsWith(`${url}/hello.html#connectoid=A`), link);

  const bob = await visit(link);
  const pages = [alice, bob];
  const connected = async () => {
    await Promise.all(pages.map(page => page.getByRole('status').getByText('connected: ').waitFor()));
    const [here, there] = await Promise.all(pages.map(page => page.getByRole('status').innerText()));
    assert.match(here, /^connected: \S+( \S+){6}$/u);
    assert.equal(here, there);
  };
  await connected();
  assert.equal(bob.url(), `${url}/hello.html`);
  await says(alice, bob, 'marco');
  await says(bob, alice, 'polo');

  await bob.reload();
  await connected();
  await says(bob, alice, 'back again');
  await says(alice, bob, 'welcome');
});

test('a link that comes into a page that is open is used; one that was cut is refused', options, async t => {
  const html = readFileSync(`${WEB}/examples/hello.html`, 'utf8');
  const { url, visit } = await way(t, { '/hello.html': html });
  const alice = await visit('/hello.html');
  await alice.getByRole('button', { name: 'Make a link for a friend' }).click();
  await alice.getByRole('status').getByText('#connectoid=').waitFor();
  const link = await alice.getByRole('status').innerText();

  const bob = await visit('/hello.html');
  await bob.getByRole('status').getByText('not connected').waitFor();
  await bob.evaluate(() => {
    globalThis.isTheSame = true;
  });
  await bob.goto(link.slice(0, -7));
  await bob.getByRole('status').getByText('ask for it again').waitFor();
  await bob.goto(link);
  await Promise.all([alice, bob].map(page => page.getByRole('status').getByText('connected: ').waitFor()));
  assert.equal(bob.url(), `${url}/hello.html`);
  assert.ok(await bob.evaluate(() => isTheSame), 'nothing was loaded');
  await says(bob, alice, 'pasted');

  const carol = await visit(link.slice(0, -7));
  await carol.getByRole('status').getByText('ask for it again').waitFor();
});

test('credentials of TURN are asked for with each attempt', options, async t => {
  const guide = readFileSync(`${WEB}/../docs/browser.md`, 'utf8');
  const fresh = guide.match(/^class FreshTurn.*?webrtc: FreshTurn \}\);$/ms)?.[0];
  const { visit } = await way(t, {
    '/turn': JSON.stringify([{ urls: 'turn:127.0.0.1:9', username: 'fresh', credential: 'secret' }]),
    '/fresh.html': `<!doctype html><title>Fresh</title><link rel="icon" href="data:,">
      <script type="module">
        import { Client } from './connectoid.min.js';
        globalThis.given = [];
        globalThis.connected = 0;
        const take = RTCPeerConnection.prototype.setConfiguration;
        RTCPeerConnection.prototype.setConfiguration = function (configuration) {
          take.call(this, configuration);
          given.push(this.getConfiguration().iceServers[0].username);
        };
        ${fresh}
        globalThis.client = client;
        client.on('connected', () => connected++);
      </script>`,
  });
  const open = async () => {
    const page = await visit('/fresh.html');
    await page.waitForFunction(() => globalThis.client);
    return page;
  };
  const [alice, bob] = await Promise.all([open(), open()]);
  const link = await alice.evaluate(() => client.share('Bob'));
  await bob.evaluate(link => client.connect(link, 'Alice'), link);
  await Promise.all([alice, bob].map(page => page.waitForFunction(() => connected === 1)));
  for (const page of [alice, bob]) assert.deepEqual(await page.evaluate(() => given), ['fresh']);

  await alice.evaluate(() => client.renew('Bob'));
  for (const page of [alice, bob]) await page.waitForFunction(() => given.length === 2);
});

/** What a page asks, without what the way to the relay adds. */
async function asked(request) {
  const { host, 'content-length': _, ...headers } = await request.allHeaders();
  return { method: request.method(), body: request.postData() ?? undefined, headers };
}

async function says(from, to, words) {
  await from.getByLabel('Text').fill(words);
  await from.locator('button:enabled', { hasText: 'Send' }).click();
  await to.getByRole('listitem').getByText(words, { exact: true }).waitFor();
}
