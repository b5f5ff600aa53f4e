// The client in Node, without WebRTC, against the real relay.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { Client, ConnectoidError, linkOf, withoutConnectoid } from '../dist/index.js';
import { memory } from '../dist/memory.js';
import { fileStorage } from '../dist/node.js';
import { notes, sendNote, takeNotes } from '../dist/notes.js';
import { folder, serve } from './relay.js';

const options = { timeout: 60_000 };

/** A client for one test, and what it is told. */
async function open(test, relay, more = {}) {
  const client = await Client.open({ relays: [relay], storage: memory(), foreground: true, ...more });
  test.after(() => client.close());
  return client;
}

/** The next event of this type. */
const next = (client, type) =>
  new Promise(heard => {
    const remove = client.on(type, event => {
      remove();
      heard(event);
    });
  });

/** Whether a relay has anything for the owner of a link. */
async function holds(link) {
  const { connectoid, relays } = linkOf(link);
  const body = JSON.stringify({ pub: connectoid.split('.')[0], ext: null, action: 'check', at: 0 });
  const reply = await fetch(relays[0], { method: 'POST', body });
  return (await reply.json()).found;
}

/** A storage that fails as long as `fails` is set. */
function frail() {
  const inner = memory();
  const storage = {
    ...inner,
    fails: false,
    stores: 0,
    async store(...args) {
      storage.stores += 1;
      if (storage.fails) throw Error('the disk is full');
      await inner.store(...args);
    },
  };
  return storage;
}

test('a link is made, with what the app keeps in its fragment', options, async t => {
  const relay = await serve(t);
  const client = await open(t, relay);
  const alone = await client.share('Bob');
  const relays = Buffer.from(relay).toString('base64url');
  assert.match(alone, new RegExp(`^A[\\w-]{65}\\.${relays}\\.\\.A[\\w-]{43}$`));
  assert.deepEqual(linkOf(alone), { connectoid: alone, relays: [relay], secret: true });
  assert.equal(client.link('Bob'), alone);
  assert.equal(client.contact('Bob').connectoid, alone);

  const link = await client.share('Carol', { url: 'https://app.example/x?a=1#/lists/7' });
  const { connectoid } = linkOf(link);
  assert.equal(link, `https://app.example/x?a=1#/lists/7?connectoid=${connectoid}`);
  assert.equal(withoutConnectoid(link), 'https://app.example/x?a=1#/lists/7');
  assert.equal(
    client.link('Carol', new URL('https://b.example/')),
    `https://b.example/#connectoid=${connectoid}`,
  );

  const bare = await client.share('Dave', { withoutSecret: true, expiresIn: Infinity });
  assert.match(bare, /^[^.]+\.[^.]+$/);
  assert.equal(linkOf(bare).secret, false);
  const [bob, carol, dave] = client.contacts;
  assert.deepEqual([bob.name, carol.name, dave.name], ['Bob', 'Carol', 'Dave']);
  assert.deepEqual([bob.state, bob.verification, bob.mayExchange], ['waiting', 'unverified', false]);
  assert.deepEqual([bob.mustVerify, dave.mustVerify], [false, true]);
  assert.equal(bob.expires - bob.made, 604_800_000);
  assert.equal(dave.expires, undefined);
});

/** As a browser does in a sandbox. */
const refuses = () => {
  throw new DOMException('denied', 'SecurityError');
};

test('what makes no sense is refused', options, async t => {
  const relay = await serve(t);
  const client = await open(t, relay);
  const link = await client.share('Bob');
  const other = await (await open(t, relay)).share('Alice');
  for (const [code, call] of [
    ['name-taken', () => client.share('Bob')],
    ['no-name', () => client.share('')],
    ['no-name', () => client.share(undefined)],
    ['no-name', () => client.rename('Bob')],
    ['no-contact', () => client.unshare(undefined)],
    ['argument', () => client.share('Carol', { url: 'nowhere' })],
    ['argument', () => client.share('Carol', { expiresIn: -1 })],
    ['no-contact', () => sendNote(client, 'Bbo', 'x')],
    ['bad-link', () => sendNote(client, 'https://a.example/', 'x')],
    ['bad-link', () => sendNote(client, link.slice(0, -2), 'x')],
    ['too-big', () => sendNote(client, other, 'x'.repeat(9000))],
    ['nobody-there', () => sendNote(client, 'Bob', 'x')],
    ['unsupported', () => client.connect(other, 'Alice')],
    ['unsupported', () => client.reconnect('Bob')],
    ['no-contact', () => client.disconnect('Nobody')],
    ['no-contact', () => client.verify('Nobody', true)],
    ['nothing-to-compare', () => client.verify('Bob', true)],
    ['no-contact', () => client.unshare('Nobody')],
    ['no-contact', () => client.rename('Nobody', 'x')],
    ['no-contact', () => client.open('Nobody', 'x')],
    ['argument', () => client.open('Bob', 'connectoid')],
    ['not-connected', () => client.renew('Bob')],
    ['argument', () => takeNotes(client, 'Bob', -1)],
    ['argument', () => takeNotes({}, 'Bob', 1)],
    ['argument', () => Client.open({ relays: ['http://example.com'], storage: memory() })],
    ['argument', () => Client.open({ relays: 'https://example.com', storage: memory() })],
    ['argument', () => Client.open({ relays: Array(5).fill(relay), storage: memory() })],
    ['unsupported', () => Client.open({ storage: { ...memory(), lock: { request: refuses } } })],
    ['storage', () => Client.open({ storage: fileStorage('/nowhere/keys.json') })],
    ['argument', () => Client.open({ ext: '!', storage: memory() })],
    ['argument', () => Client.open({ idleAfter: 0, storage: memory() })],
    ['unsupported', () => Client.open()],
  ]) {
    await assert.rejects(call, { name: 'ConnectoidError', code }, String(call));
  }
  const none = await open(t, relay, { relays: [] });
  await assert.rejects(none.share('Bob'), { code: 'relays' });
  assert.deepEqual(
    client.contacts.map(({ name }) => name),
    ['Bob'],
  );
});

test('a note to a link arrives, and goes once it was taken', options, async t => {
  const relay = await serve(t);
  const [alice, bob] = [await open(t, relay), await open(t, relay)];
  const link = await alice.share('Bob');
  const before = Date.now();
  const heard = next(alice, 'note');
  await sendNote(bob, link, 'Bread, please');
  assert.deepEqual(await heard, { type: 'note', contact: 'Bob' });
  const [note, ...more] = notes(alice, 'Bob');
  assert.deepEqual([note.text, note.proven, more.length], ['Bread, please', false, 0]);
  assert.ok(note.written >= before && note.written <= Date.now());

  const again = next(alice, 'note');
  await sendNote(bob, link, Uint8Array.of(255, 0));
  await again;
  assert.deepEqual(
    notes(alice, 'Bob').map(({ text, bytes }) => [text, [...bytes].length]),
    [
      ['Bread, please', 13],
      [undefined, 2],
    ],
  );
  assert.equal(alice.contact('Bob').notes, 2);
  await takeNotes(alice, 'Bob', 1);
  assert.deepEqual([...notes(alice, 'Bob')[0].bytes], [255, 0]);
});

test('a note for which there is no relay is not sent', options, async t => {
  const alice = await open(t, 'http://127.0.0.1:1');
  const link = await alice.share('Bob');
  await assert.rejects(sendNote(alice, link, 'x'), { code: 'not-sent' });
});

test('unshare deletes the box at the relay, then the keys', options, async t => {
  const relay = await serve(t);
  // Nothing is fetched before it is asked: the note stays.
  const storage = memory();
  const alice = await open(t, relay, { storage });
  const link = await alice.share('Bob');
  const heard = next(alice, 'note');
  await sendNote(alice, link, 'x');
  await heard;
  const told = next(alice, 'unshared');
  await alice.unshare('Bob');
  assert.deepEqual(await told, { type: 'unshared', contact: 'Bob', by: 'own' });
  assert.deepEqual(alice.contacts, []);
  assert.deepEqual(await storage.load(), { contacts: [], goodbyes: [] });
  assert.equal(await holds(link), false);
});

test('contacts and notes survive in a file', options, async t => {
  const relay = await serve(t);
  const path = `${folder(t)}/keys.json`;
  const alice = await open(t, relay, { storage: fileStorage(path) });
  const link = await alice.share('Bob');
  await alice.rename('Bob', 'Robert');
  await alice.close();
  await assert.rejects(alice.share('Carol'), { code: 'closed' });
  assert.equal(alice.active, false);

  const again = await open(t, relay, { storage: fileStorage(path) });
  assert.deepEqual(
    again.contacts.map(({ name }) => name),
    ['Robert'],
  );
  assert.equal(again.link('Robert'), link);
  const heard = next(again, 'note');
  await sendNote(again, link, 'still here');
  await heard;
  await again.close();

  // What was not taken is told again, to listeners that were there from the beginning.
  const told = [];
  const third = await open(t, relay, { storage: fileStorage(path), on: { note: event => told.push(event) } });
  assert.deepEqual(told, []);
  await new Promise(done => setTimeout(done));
  assert.deepEqual(told, [{ type: 'note', contact: 'Robert' }]);
  assert.equal(notes(third, 'Robert')[0].text, 'still here');
});

test('what cannot be stored goes nowhere, is told once, and is stored later', options, async t => {
  const relay = await serve(t);
  const storage = frail();
  const alice = await open(t, relay, { storage });
  const errors = [];
  alice.on('error', ({ error }) => errors.push(error));
  const link = await alice.share('Bob');
  storage.fails = true;
  await assert.rejects(alice.share('Carol'), { code: 'storage' });
  await assert.rejects(alice.share('Dave'), { code: 'storage' });
  assert.deepEqual(
    [errors.length, errors[0].code, errors[0].cause.message],
    [1, 'storage', 'the disk is full'],
  );
  // It took effect in memory.
  assert.deepEqual(
    alice.contacts.map(({ name }) => name),
    ['Bob', 'Carol', 'Dave'],
  );
  assert.deepEqual((await storage.load()).contacts.length, 1);

  // The next call stores what the failed ones left.
  storage.fails = false;
  await alice.rename('Bob', 'Robert');
  assert.deepEqual((await storage.load()).contacts.map(({ name }) => name).sort(), [
    'Carol',
    'Dave',
    'Robert',
  ]);

  // Without a call it is tried again after a while. A second streak is told again.
  storage.fails = true;
  await assert.rejects(alice.share('Eve'), { code: 'storage' });
  assert.equal(errors.length, 2);
  const { stores } = storage;
  storage.fails = false;
  const shared = next(alice, 'shared');
  const since = performance.now();
  assert.deepEqual(await shared, { type: 'shared', contact: 'Eve' });
  assert.ok(performance.now() - since > 1500);
  assert.equal(storage.stores, stores + 1);
  assert.equal((await storage.load()).contacts.length, 4);
  assert.equal(alice.link('Robert'), link);
});

test('nobody sees a link or a note that is not stored', options, async t => {
  const relay = await serve(t);
  const storage = frail();
  const alice = await open(t, relay, { storage });
  const link = await alice.share('Bob');
  storage.fails = true;
  await assert.rejects(alice.share('Carol'), { code: 'storage' });
  assert.deepEqual([alice.link('Carol'), alice.contact('Carol').connectoid], [undefined, undefined]);
  assert.equal(alice.link('Bob'), link);
  storage.fails = false;
  await alice.rename('Bob', 'Robert');
  assert.match(alice.link('Carol'), /^A/);
  // Of a note the relay is told only after it was stored: here, never.
  const told = new Promise(heard => alice.on('error', heard));
  storage.fails = true;
  await sendNote(await open(t, relay), link, 'x');
  await told;
  assert.deepEqual([notes(alice, 'Robert'), alice.contact('Robert').notes], [[], 0]);
  const heard = next(alice, 'note');
  storage.fails = false;
  await heard;
  assert.equal(notes(alice, 'Robert')[0].text, 'x');
});

test('what is not stored is tried once more at the end, and said', options, async t => {
  const storage = frail();
  const alice = await open(t, 'http://127.0.0.1:1', { storage });
  storage.fails = true;
  await assert.rejects(alice.share('Bob'), { code: 'storage' });
  storage.fails = false;
  await alice.close();
  assert.equal((await storage.load()).contacts.length, 1);

  const again = await open(t, 'http://127.0.0.1:1', { storage });
  storage.fails = true;
  await assert.rejects(again.share('Carol'), { code: 'storage' });
  await assert.rejects(again.close(), { code: 'storage' });
  await assert.rejects(again.share('Dave'), { code: 'closed' });
  await again.close();
});

test('a listener that throws changes nothing, and is told as uncaught', options, async t => {
  const relay = await serve(t);
  const alice = await open(t, relay);
  const uncaught = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', error => uncaught.push(error.message));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  });
  const heard = [];
  alice.on('shared', () => {
    throw Error('from a listener');
  });
  const remove = alice.on('shared', ({ contact }) => heard.push(contact));
  await alice.share('Bob');
  remove();
  await alice.share('Carol');
  assert.deepEqual(heard, ['Bob']);
  assert.deepEqual(uncaught, ['from a listener', 'from a listener']);
});

test('one client at a time uses a file', options, async t => {
  const path = `${folder(t)}/keys.json`;
  const first = await open(t, 'http://127.0.0.1:1', { storage: fileStorage(path) });
  await assert.rejects(Client.open({ storage: fileStorage(path) }), { code: 'inactive' });
  await first.share('Bob');
  await first.close();
  const second = await open(t, 'http://127.0.0.1:1', { storage: fileStorage(path) });
  assert.equal(second.contacts.length, 1);
});

test('to wait for a channel ends with the client', options, async t => {
  const alice = await open(t, 'http://127.0.0.1:1');
  await alice.share('Bob');
  const opening = assert.rejects(alice.open('Bob', 'chat'), { code: 'closed' });
  await alice.close();
  await opening;
});

test('a name is one with blanks around it, too', options, async t => {
  const alice = await open(t, 'http://127.0.0.1:1');
  const link = await alice.share('Bob ');
  assert.equal(alice.contact(' Bob').name, 'Bob');
  assert.equal(alice.link('Bob '), link);
  await alice.rename('Bob ', ' Robert');
  assert.deepEqual([alice.contact('Bob'), alice.contact('Robert ').name], [undefined, 'Robert']);
});

test('contacts are the same array until they change, which is told once', options, async t => {
  const alice = await open(t, 'http://127.0.0.1:1');
  // The relay cannot be reached, which is seen, too.
  await alice.share('Alice');
  if (!alice.contact('Alice').relaysDown) await next(alice, 'relays-down');
  await next(alice, 'changed');
  assert.equal(alice.contact('Alice').relaysDown, 'unreachable');
  assert.equal(alice.contact('Alice').interrupted, false);
  let changes = 0;
  const seen = [];
  alice.on('changed', event => {
    changes += 1;
    seen.push([event, alice.contacts]);
  });
  await alice.share('Bob');
  const [before, told] = [alice.contacts, changes];
  assert.equal(told, 1);
  assert.equal(seen[0][1], before);
  assert.deepEqual(seen[0][0], { type: 'changed' });
  // A step that changes nothing that is seen.
  await assert.rejects(alice.verify('Bob', true), { code: 'nothing-to-compare' });
  assert.equal(alice.contacts, before);
  assert.equal(changes, told);
  await alice.rename('Bob', 'Robert');
  assert.equal(changes, told + 1);
  assert.notEqual(alice.contacts, before);
  assert.ok(Object.isFrozen(alice.contacts));
});

test('a listener that is removed while an event is told hears it no more', options, async t => {
  const alice = await open(t, 'http://127.0.0.1:1');
  const heard = [];
  alice.on('shared', () => remove());
  const remove = alice.on('shared', () => heard.push('late'));
  await alice.share('Bob');
  assert.deepEqual(heard, []);
});

test('data that was deleted is the reason of all that is refused then', options, async t => {
  const inner = memory();
  const storage = {
    ...inner,
    async store(...args) {
      if (storage.gone) throw new ConnectoidError('deleted', 'deleted');
      await inner.store(...args);
    },
  };
  const alice = await open(t, 'http://127.0.0.1:1', { storage });
  const told = next(alice, 'error');
  storage.gone = true;
  await assert.rejects(alice.share('Bob'), { code: 'deleted' });
  assert.equal((await told).error.code, 'deleted');
  await assert.rejects(alice.share('Carol'), { code: 'deleted' });
  assert.equal(alice.active, false);
});

/** A lock that one after the other gets, and that asks whoever has it, as that of tabs does. */
function line() {
  const waiting = [];
  const serve = () => {
    const [first] = waiting;
    if (!first || first.held) return;
    first.held = true;
    first.resolve(() => {
      waiting.splice(waiting.indexOf(first), 1);
      serve();
    });
  };
  const request = (take, asked, signal) =>
    new Promise((resolve, reject) => {
      const place = { resolve, asked, held: false };
      waiting.push(place);
      signal.onabort = () => {
        if (place.held) return;
        waiting.splice(waiting.indexOf(place), 1);
        reject(signal.reason);
      };
      if (take) for (const other of waiting) if (other.held) setTimeout(other.asked);
      setTimeout(serve);
    });
  return { waiting, request };
}

test('to take over twice is to take over once', options, async t => {
  const { waiting, request } = line();
  const inner = memory();
  const load = async () => {
    await new Promise(done => setTimeout(done, 100));
    return inner.load();
  };
  const one = await open(t, 'http://127.0.0.1:1', { storage: { ...inner, load, lock: { request } } });
  const two = await open(t, 'http://127.0.0.1:1', { storage: { ...inner, load, lock: { request } } });
  assert.deepEqual([one.active, two.active], [false, true]);
  const first = one.takeOver();
  await new Promise(done => setTimeout(done, 50));
  await Promise.all([first, one.takeOver()]);
  assert.deepEqual([one.active, two.active], [true, false]);
  // Who gave way and is closed at once does not stand in the line any more.
  await two.close();
  await new Promise(done => setTimeout(done, 400));
  assert.equal(waiting.length, 1);
});

test('unshare waits for a relay that hangs for some seconds only', options, async t => {
  const server = createServer(() => {}).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const alice = await open(t, `http://127.0.0.1:${server.address().port}`);
  await alice.share('Bob');
  const since = performance.now();
  await alice.unshare('Bob');
  assert.ok(performance.now() - since < 16_000);
  assert.equal(alice.contact('Bob').state, 'leaving');
});
