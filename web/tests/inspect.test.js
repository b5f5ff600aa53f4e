// What relays store in one's own boxes, seen by their owner, and nothing of it disturbed.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { test } from 'node:test';
import { Client, linkOf } from '../dist/index.js';
import { inspectBoxes } from '../dist/inspect.js';
import { memory } from '../dist/memory.js';
import { notes, sendNote } from '../dist/notes.js';
import { serve } from './relay.js';

const options = { timeout: 60_000 };

/** A client that asks once a minute, and when it has a new box: until then what comes stays where it is. */
async function open(test, relay, more = {}) {
  const client = await Client.open({ relays: [relay], storage: memory(), foreground: false, ...more });
  test.after(() => client.close());
  return client;
}

const boxOf = link => linkOf(link).connectoid.split('.')[0];

/**
 * Stands before a relay, which takes it for itself: `reply` gives status and body, or nothing for what the relay says. What the client
 * asks by itself, about several boxes at once, is passed on and not counted.
 */
async function before(test, relay, reply) {
  const asked = [];
  const server = createServer(async (incoming, outgoing) => {
    const body = Buffer.concat(await incoming.toArray());
    const fields = JSON.parse(body);
    if (!fields.boxes) asked.push(fields);
    const own = fields.boxes ? undefined : await reply(fields, asked.length);
    // At its end a relay that is asked just then goes without a reply.
    const passed = own ?? (await pass(incoming.headers.host, body).catch(() => undefined));
    if (!passed) return outgoing.destroy();
    const [status, text] = passed;
    outgoing.writeHead(status).end(typeof text === 'string' ? text : JSON.stringify(text));
  });
  const pass = (host, body) =>
    new Promise((done, failed) => {
      const passed = request(relay, { method: 'POST', headers: { host } }, async reply =>
        done([reply.statusCode, Buffer.concat(await reply.toArray()).toString()]),
      );
      passed.once('error', failed).end(body);
    });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

/** As `error.code` says. */
const code = expected => error => {
  assert.equal(error.code, expected);
  return true;
};

test('what is stored is shown, stays stored, and comes all the same', options, async t => {
  const relay = await serve(t);
  const [alice, bob] = [await open(t, relay), await open(t, relay)];
  const link = await alice.share('Bob');
  const other = await alice.share('Carol');
  assert.deepEqual(await inspectBoxes(alice), [
    { contact: 'Bob', relay, box: boxOf(link), messages: [], why: undefined },
    { contact: 'Carol', relay, box: boxOf(other), messages: [], why: undefined },
  ]);

  const before = Date.now();
  await sendNote(bob, link, 'milk');
  await sendNote(bob, link, 'x'.repeat(3000));
  const [box, ...rest] = await inspectBoxes(alice, { contact: 'Bob' });
  assert.deepEqual(rest, []);
  assert.deepEqual([box.contact, box.relay, box.box, box.why], ['Bob', relay, boxOf(link), undefined]);
  assert.deepEqual(
    box.messages.map(({ data }) => data.length),
    [4096, 8192],
  );
  for (const { at, data } of box.messages) {
    assert.ok(data instanceof Uint8Array);
    assert.equal(data[0], 1);
    assert.equal(Buffer.from(data).includes('milk'), false);
    assert.ok(Math.abs(at / 1000 - before) < 10_000);
  }
  assert.ok(box.messages[1].at > box.messages[0].at);
  const [carol] = await inspectBoxes(alice, { contact: 'Carol' });
  assert.deepEqual([carol.contact, carol.messages], ['Carol', []]);
  // Looking again shows the same; nothing was taken.
  assert.deepEqual(await inspectBoxes(alice, { contact: 'Bob' }), [box]);
  assert.equal(notes(alice, 'Bob').length, 0);

  const came = new Promise(heard => {
    let count = 0;
    alice.on('note', () => ++count === 2 && heard());
  });
  await alice.share('Dave');
  await came;
  assert.deepEqual(
    notes(alice, 'Bob').map(({ text }) => text.slice(0, 4)),
    ['milk', 'xxxx'],
  );
});

test('more than one reply holds', options, async t => {
  const relay = await serve(t, '--box-messages', '100', '--box-messages-per-source', '100', '--no-limits');
  const alice = await open(t, relay);
  const pub = boxOf(await alice.share('Bob'));
  await inspectBoxes(alice);
  for (let i = 0; i < 40; i++) {
    const data = Buffer.from(`${i}`).toString('base64url');
    const body = JSON.stringify({ action: 'send', pub, data });
    assert.equal((await fetch(relay, { method: 'POST', body })).status, 200);
  }
  const [{ messages }] = await inspectBoxes(alice);
  assert.deepEqual(
    messages.map(({ data }) => Number(Buffer.from(data))),
    Array.from({ length: 40 }, (_, i) => i),
  );
});

test('it asks as the owner, and deletes nothing', options, async t => {
  const relay = await serve(t);
  const { url, asked } = await before(t, relay, () => undefined);
  const alice = await open(t, url);
  const pub = boxOf(await alice.share('Bob'));
  const [box] = await inspectBoxes(alice);
  assert.deepEqual(box.messages, []);
  const answer = asked[1].answer;
  assert.match(answer, /^[\w-]{75}$/);
  assert.deepEqual(asked, [
    { pub, ext: null, action: 'check', at: 0, ask: true, relay: url },
    { pub, ext: null, action: 'receive', answer, at: 0, limit: 32 },
  ]);
});

test('looks come one after the other', options, async t => {
  const relay = await serve(t);
  const { url, asked } = await before(t, relay, () => undefined);
  const alice = await open(t, url);
  await alice.share('Bob');
  const [first, second] = await Promise.all([inspectBoxes(alice), inspectBoxes(alice)]);
  assert.deepEqual(first, second);
  assert.deepEqual(
    asked.map(({ action }) => action),
    ['check', 'receive', 'check', 'receive'],
  );
});

test('what is no honest reply is named, and the relay left alone', options, async t => {
  const relay = await serve(t);
  const replies = {
    'other-relay': ({ relay }) => [200, { ok: true, found: true, question: 'AQ', relay: `${relay}/x` }],
    'no-question': () => [200, { ok: true, found: true }],
    'foreign-question': ({ relay }) => [200, { ok: true, found: true, question: 'AQ', relay }],
    'not-the-protocol': () => [200, 'hello'],
    status: () => [500, { ok: true }],
    redirect: () => [302, ''],
    cursor: ({ action, at }) =>
      action === 'receive' ? [200, { ok: true, at, messages: [{ at, data: 'AQ' }], more: false }] : undefined,
    'no-end': ({ action, at }) => {
      const message = { at: at + 1, data: 'AQ' };
      return action === 'receive' && [200, { ok: true, at: at + 1, messages: [message], more: true }];
    },
  };
  for (const [what, reply] of Object.entries(replies)) {
    const { url, asked } = await before(t, relay, fields => reply(fields) || undefined);
    const alice = await open(t, url);
    const boxes = [boxOf(await alice.share('Bob')), boxOf(await alice.share('Carol'))];
    const expected = [
      { contact: 'Bob', relay: url, box: boxes[0], messages: undefined, why: what },
      { contact: 'Carol', relay: url, box: boxes[1], messages: undefined, why: what },
    ];
    assert.deepEqual(await inspectBoxes(alice), expected);
    const count = asked.length;
    assert.ok(asked.every(({ pub }) => pub === boxes[0]));
    // A question that is none is not answered.
    assert.equal(count, { cursor: 2, 'no-end': 65 }[what] ?? 1);
    assert.deepEqual(await inspectBoxes(alice), expected);
    assert.equal(asked.length, count);
  }
});

test('a relay is asked again when it wants to be', options, async t => {
  const relay = await serve(t);
  const refusal = { ok: false, error: 'Too often', detail: 'wait', retryAfter: 3 };
  const { url, asked } = await before(t, relay, (_, count) => (count === 1 ? [429, refusal] : undefined));
  const alice = await open(t, url);
  await alice.share('Bob');
  const began = performance.now();
  assert.equal((await inspectBoxes(alice))[0].why, 'Too often: wait');
  for (;;) {
    const [{ messages, why }] = await inspectBoxes(alice);
    if (messages) break;
    assert.deepEqual([why, asked.length], ['Too often: wait', 1]);
    await new Promise(done => setTimeout(done, 50));
  }
  assert.ok(performance.now() - began >= 3000);
});

test('a relay that is gone, beside one that is there', options, async t => {
  const relay = await serve(t);
  const gone = 'http://127.0.0.1:1';
  const alice = await open(t, relay, { relays: [gone, relay] });
  await alice.share('Bob');
  assert.deepEqual(
    (await inspectBoxes(alice)).map(({ relay, messages, why }) => [relay, messages, why]),
    [
      [gone, undefined, 'unreachable'],
      [relay, [], undefined],
    ],
  );
});

test('it is ended by its signal, and by the end of the client', options, async t => {
  const relay = await serve(t);
  let asked = () => {};
  const { url } = await before(t, relay, () => {
    asked();
    return new Promise(() => {});
  });
  const alice = await open(t, url);
  await alice.share('Bob');
  const stop = new AbortController();
  const looked = assert.rejects(inspectBoxes(alice, { signal: stop.signal }), /^Error: enough$/);
  await new Promise(heard => {
    asked = heard;
  });
  stop.abort(Error('enough'));
  await looked;
  await assert.rejects(inspectBoxes(alice, { signal: stop.signal }), /^Error: enough$/);

  const again = new Promise(heard => {
    asked = heard;
  });
  const closed = assert.rejects(inspectBoxes(alice), code('closed'));
  await again;
  await alice.close();
  await closed;
  await assert.rejects(inspectBoxes(alice), code('closed'));
});

test('only who runs the contacts may look', options, async t => {
  const relay = await serve(t);
  const storage = memory();
  const first = await open(t, relay, { storage });
  await first.share('Bob');
  // It is never given what another tab has.
  const lock = {
    request: (_take, _asked, signal) => once(signal, 'abort').then(() => Promise.reject(signal.reason)),
  };
  const second = await open(t, relay, { storage: { ...storage, lock }, takeOver: false });
  assert.deepEqual(
    second.contacts.map(({ name }) => name),
    ['Bob'],
  );
  await assert.rejects(inspectBoxes(second), code('inactive'));
  await assert.rejects(inspectBoxes(first, { contact: 'Carol' }), code('no-contact'));
  await assert.rejects(inspectBoxes({}), code('argument'));
  assert.equal((await inspectBoxes(first)).length, 1);
});
