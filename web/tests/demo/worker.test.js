// The service worker, as it is built: what it keeps is what belongs together.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';

const folder = mkdtempSync(join(tmpdir(), 'connectoid-demo-'));
test.after(() => rmSync(folder, { recursive: true }));
execFileSync(process.execPath, [
  fileURLToPath(new URL('../../scripts/demo.js', import.meta.url)),
  '--into',
  folder,
]);

const SCOPE = 'https://example.com/a/list/';

/** What the worker does at these events, in a browser whose cache takes what `addAll` lets it. */
async function worker(addAll) {
  const listeners = {};
  const done = [];
  runInNewContext(readFileSync(join(folder, 'sw.js'), 'utf8'), {
    URL,
    Request: class {
      constructor(url, init) {
        Object.assign(this, { url }, init);
      }
    },
    caches: {
      open: async name => ({ addAll: requests => addAll(name, requests) }),
      match: async (url, { cacheName }) => ({ url, cacheName }),
    },
    fetch: () => assert.fail('not kept'),
    self: {
      registration: { scope: SCOPE },
      skipWaiting: async () => done.push('skipWaiting'),
      addEventListener: (type, listener) => {
        listeners[type] = listener;
      },
    },
  });
  return { listeners, done };
}

const installed = ({ listeners }) => new Promise(waitUntil => listeners.install({ waitUntil }));

test('it asks for its files by their hashes, and for the page, which has the settings in it, without', async () => {
  let asked;
  const { listeners, done } = await worker(async (name, requests) => {
    asked = { name, requests: [...requests] };
  });
  await installed({ listeners });
  assert.match(asked.name, /^shopping-list https:\/\/example\.com\/a\/list\/ [\w-]{16}$/);
  const hash = name =>
    `sha256-${createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('base64')}`;
  assert.deepEqual(
    asked.requests.map(({ url, cache, integrity }) => [url, cache, integrity]),
    [
      [`${SCOPE}app.css`, 'no-cache', hash('app.css')],
      [`${SCOPE}app.js`, 'no-cache', hash('app.js')],
      [`${SCOPE}icon.svg`, 'no-cache', hash('icon.svg')],
      [SCOPE, 'no-cache', ''],
      [`${SCOPE}manifest.webmanifest`, 'no-cache', hash('manifest.webmanifest')],
    ],
  );
  assert.deepEqual(done, ['skipWaiting']);
  for (const [path, kept] of [
    ['', ''],
    ['index.html?x#y', ''],
    ['app.js', 'app.js'],
  ]) {
    const request = { method: 'GET', url: SCOPE + path };
    const { url, cacheName } = await new Promise(respondWith => listeners.fetch({ request, respondWith }));
    assert.deepEqual([url, cacheName], [SCOPE + kept, asked.name]);
  }
  for (const [method, url] of [
    ['POST', SCOPE],
    ['GET', `${SCOPE}licenses.txt`],
    ['GET', 'https://example.com/a/list'],
  ]) {
    listeners.fetch({ request: { method, url }, respondWith: () => assert.fail(url) });
  }
});

test('where one of them is of another version it does not take over', async () => {
  const it = await worker(() => Promise.reject(TypeError('Failed to fetch')));
  await assert.rejects(installed(it), /^TypeError: Failed to fetch$/);
  assert.deepEqual(it.done, []);
});
