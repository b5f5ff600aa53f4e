// What the page tells the app by its `meta` elements. On its own, for it puts a page into the process.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { IDBFactory } from 'fake-indexeddb';
import { network } from './channels.js';
import model from './load.js';

const { memory, openApp } = model;

test('the page says which relay and which STUN servers', { timeout: 60_000 }, async () => {
  const built = readFileSync(new URL('../../demo/index.html', import.meta.url), 'utf8');
  /** What the app begins with on a page in which this is changed. */
  const opened = async (...changes) => {
    const html = changes.reduce((page, [from, to]) => page.replace(from, to), built);
    const page = Object.assign(new EventTarget(), {
      baseURI: 'https://relay.example/demo/#/',
      querySelector(selector) {
        const [, name] = /^meta\[name=(\w+)\]$/.exec(selector);
        return { content: html.match(`<meta name="${name}" content="([^"]*)">`)[1] };
      },
    });
    Object.assign(globalThis, { document: page, addEventListener: page.addEventListener.bind(page) });
    const asked = [];
    const Peer = network();
    class Watched extends Peer {
      constructor(configuration) {
        super();
        asked.push(configuration);
      }
    }
    const app = await openApp({
      indexedDB: new IDBFactory(),
      client: { storage: memory(), webrtc: Watched },
      reload() {},
    });
    const { relay, stun } = app.view();
    await app.close();
    return { relay, stun, iceServers: asked[0].iceServers };
  };
  assert.deepEqual(await opened(), { relay: 'https://relay.example', stun: '', iceServers: [] });
  assert.deepEqual(
    await opened(
      ['name="relay" content=""', 'name="relay" content="https://other.example/relay"'],
      ['name="stun" content=""', 'name="stun" content=" stun:a.example:5  stuns:b.example "'],
    ),
    {
      relay: 'https://other.example/relay',
      stun: 'stun:a.example:5  stuns:b.example',
      iceServers: [{ urls: ['stun:a.example:5', 'stuns:b.example'] }],
    },
  );
});
