// What the tests do within a page. `app` is there once the library is loaded.

import * as connectoid from '/dist/connectoid.min.js';
import { openPipe } from '/pipe.js';

const PATIENCE = 90_000;
const EVENTS = [
  'shared',
  'claimed',
  'connected',
  'may-exchange',
  'disconnected',
  'link-used',
  'declined',
  'gave-up',
  'link-expired',
  'unshared',
  'note',
  'alarm',
  'skipped',
  'misbehaves',
  'not-sent',
  'relays-down',
  'relays-back',
  'channel',
  'tool-channel',
  'interrupted',
  'resumed',
  'no-path',
  'active',
  'inactive',
  'error',
];

// Real ones, which can be looked at.
class Watched extends RTCPeerConnection {
  constructor(...args) {
    super(...args);
    app.connections.push(this);
  }
}

const app = {
  connectoid,
  connections: [],
  /** All that the client told, in order. A channel is told as its label. */
  events: [],
  /** Channels that the other side opened, and what came on them, in its latest session, by contact and label. */
  channels: {},

  async open(options) {
    const on = Object.fromEntries(EVENTS.map(type => [type, event => app.heard(event)]));
    app.client = await connectoid.Client.open({ iceServers: [], webrtc: Watched, ...options, on });
  },

  heard(event) {
    if (event.type === 'connected') delete app.channels[event.contact];
    if (event.channel) {
      app.channels[event.contact] ??= {};
      app.channels[event.contact][event.channel.label] = keep(event.channel);
    }
    const told = { ...event, taken: false };
    if (event.channel) told.channel = event.channel.label;
    if (event.sas) told.emoji = connectoid.emoji(event.sas);
    if (event.error) told.error = String(event.error);
    app.events.push(told);
  },

  /** Waits until it is so. */
  async until(what, isSo) {
    const late = performance.now() + PATIENCE;
    for (;;) {
      const found = isSo();
      if (found) return found;
      if (performance.now() > late) throw Error(`waited for ${what}: ${JSON.stringify(app.events)}`);
      await new Promise(done => setTimeout(done, 10));
    }
  },

  /** Waits for the next event of this type: one that was not waited for before. */
  async next(type, contact) {
    const isIt = event => event.type === type && !event.taken && (!contact || event.contact === contact);
    const found = await app.until(`${type} of ${contact}`, () => app.events.find(isIt));
    found.taken = true;
    return found;
  },

  /** Opens a channel. */
  async opens(contact, label, init) {
    return keep(await app.client.open(contact, label, init));
  },

  /** The channel with this label, once the other side opened it. */
  channel(contact, label) {
    return app.until(`channel ${label}`, () => app.channels[contact]?.[label]);
  },

  /** Sends bytes in pieces, no more of them waiting than 64 KiB; how often it had to wait. */
  async pour({ channel }, bytes, piece = 16_384) {
    let waited = 0;
    channel.bufferedAmountLowThreshold = 32_768;
    for (let at = 0; at < bytes.length; at += piece) {
      if (channel.bufferedAmount > 65_536) {
        waited++;
        await new Promise(done => channel.addEventListener('bufferedamountlow', done, { once: true }));
      }
      channel.send(bytes.subarray(at, at + piece));
    }
    return waited;
  },

  /** Bytes that can be told from others. */
  noise(length) {
    return Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8) * 7) & 255);
  },

  async sha256(bytes) {
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(hash, byte => byte.toString(16).padStart(2, '0')).join('');
  },

  /** As if the page went into the background, or came back. */
  hide(hidden) {
    Object.defineProperty(document, 'visibilityState', {
      configurable: true,
      value: hidden ? 'hidden' : 'visible',
    });
    Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  },

  /** All CryptoKeys that stand anywhere in any IndexedDB of this origin: their type, and whether their export is refused. */
  async keys() {
    const found = [];
    const collect = value => {
      if (value instanceof CryptoKey) found.push(value);
      else if (value instanceof Map || value instanceof Set) for (const entry of value) collect(entry);
      else if (value && typeof value === 'object' && !ArrayBuffer.isView(value))
        Object.values(value).forEach(collect);
    };
    let rows = 0;
    for (const { name } of await indexedDB.databases()) {
      const database = await done(indexedDB.open(name));
      for (const store of database.objectStoreNames) {
        const values = await done(database.transaction(store).objectStore(store).getAll());
        rows += values.length;
        collect(values);
      }
      database.close();
    }
    const looked = found.map(async key => {
      const formats = key.type === 'private' ? ['pkcs8', 'jwk'] : ['raw'];
      const exported = formats.map(format =>
        crypto.subtle.exportKey(format, key).then(
          () => 'exported',
          error => error.name,
        ),
      );
      const { type, extractable, algorithm } = key;
      return { type, extractable, algorithm: algorithm.name, exported: await Promise.all(exported) };
    });
    return { rows, keys: await Promise.all(looked) };
  },
};

/** A channel with all that comes on it. */
function keep(channel) {
  const kept = { channel, came: [], isClosed: false };
  channel.binaryType = 'arraybuffer';
  channel.addEventListener('message', ({ data }) => kept.came.push(data));
  channel.addEventListener('close', () => {
    kept.isClosed = true;
  });
  return kept;
}

function done(request) {
  return new Promise((succeeded, failed) => {
    request.onsuccess = () => succeeded(request.result);
    request.onerror = () => failed(request.error);
  });
}

globalThis.app = Object.assign(app, { pipe: contact => openPipe(app, contact) });
