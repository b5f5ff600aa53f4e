// What the page writes down of its requests to relays, and in which words it shows that.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { serve } from '../relay.js';

const options = { timeout: 60_000 };

const { outputFiles } = await build({
  stdin: {
    contents: `
      export * from './relay/tap.js';
      export * from './relay/log.js';
      export * from './relay/words.js';
      export * from './relay/YouSee.js';
      export * from './relay/ItSees.js';
      export * from './relay/Learns.js';
      export { Client } from '../../src/index.js';
      export { inspectBoxes } from '../../src/inspect.js';
      export { memory } from '../../src/memory.js';
      export { sendNote, notes } from '../../src/notes.js';
    `,
    resolveDir: fileURLToPath(new URL('../../demo/src/', import.meta.url)),
    loader: 'ts',
  },
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  write: false,
});
const {
  Client,
  fateOf,
  hostOf,
  inspectBoxes,
  ItSees,
  lasted,
  lastChange,
  Learns,
  logLines,
  memory,
  pauseOf,
  relayLog,
  sendNote,
  tap,
  YouSee,
} = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);

const A = `A${'k'.repeat(64)}A`;
const B = `A${'l'.repeat(64)}A`;
const RELAY = 'http://127.0.0.1:1';

/** A `fetch` that gives these replies, one after the other, and whether each call looked as it should. */
function scope(...replies) {
  const calls = [];
  return {
    calls,
    fetch: async (...args) => {
      calls.push(args);
      const reply = replies.shift();
      if (reply instanceof Error) throw reply;
      return new Response(typeof reply === 'string' ? reply : JSON.stringify(reply));
    },
  };
}

const post = (scope, body, more = {}) =>
  scope.fetch(RELAY, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...more,
  });

/** Waits until all that goes on is done. */
const settled = () => new Promise(done => setTimeout(done, 10));

const check = {
  pub: null,
  ext: null,
  action: 'check',
  boxes: [
    { pub: A, at: 0 },
    { pub: B, at: 0 },
  ],
  wait: 25,
};

test('a request goes its way as it is, and its reply comes back', async () => {
  const replies = [
    { ok: true, found: true, boxes: [{ pub: B, question: 'AQ' }] },
    Error('no network'),
    Error('no network'),
  ];
  const inner = scope(...replies);
  const outer = { fetch: inner.fetch };
  const heard = [];
  tap(outer, exchange => heard.push(exchange));
  const init = { method: 'POST', body: JSON.stringify(check) };
  const reply = await outer.fetch(RELAY, init);
  assert.deepEqual(inner.calls, [[RELAY, init]]);
  assert.equal(inner.calls[0][1], init);
  assert.deepEqual(await reply.json(), replies[0]);
  await settled();
  assert.deepEqual(
    heard.map(({ relay, up, down, status, ended }) => [relay, up, down, status, ended !== undefined]),
    [
      [RELAY, 228, 0, undefined, false],
      [RELAY, 228, 127, 200, true],
    ],
  );
  assert.deepEqual(heard[1].asked, {
    action: 'check',
    boxes: [A, B],
    wait: 25,
    ask: false,
    data: undefined,
    upto: undefined,
  });
  assert.deepEqual(heard[1].said, { error: undefined, found: [B], messages: [] });
  // As the library does, which ends each request when it is done with it.
  const stop = new AbortController();
  const failed = post(outer, check, { signal: stop.signal });
  await assert.rejects(
    failed.finally(() => stop.abort()),
    /^Error: no network$/,
  );
  await settled();
  assert.deepEqual([heard[3].status, heard[3].stopped], [undefined, false]);
  await assert.rejects(post(outer, check, { signal: AbortSignal.abort() }), /^Error: no network$/);
  await settled();
  assert.deepEqual([heard[5].status, heard[5].stopped], [undefined, true]);
});

test('what is odd is let through, and what is no request to a relay is not looked at', async () => {
  const inner = scope('a', 'b', 'c', 'd', 'e', 'f', 'g');
  const heard = [];
  const outer = { fetch: inner.fetch };
  tap(outer, exchange => heard.push(exchange));
  const bodies = ['', '{', 'null', '[]', '{"action":"look"}', '{"action":["send"]}'];
  for (const body of bodies) assert.equal((await post(outer, body)).ok, true);
  assert.equal(await (await outer.fetch(new URL(`${RELAY}/info`))).text(), 'g');
  assert.deepEqual(heard, []);

  const odd = scope('{"ok":true,"messages":[null,{"at":"1","data":1}],"boxes":[1,null]}', 'hello');
  const log = relayLog(odd);
  await post(odd, { action: 'receive', pub: 7, at: {} });
  assert.equal(await (await post(odd, { action: 'check', boxes: [null, 1, {}], wait: 'x' })).text(), 'hello');
  await settled();
  assert.deepEqual(
    log.logged().exchanges.map(({ asked, said }) => [asked.boxes, asked.wait, said.error, said.messages]),
    [
      [[], 0, undefined, []],
      [[], 0, 'no reply of a relay', []],
    ],
  );
});

test('who listens cannot disturb', async t => {
  const errors = t.mock.method(console, 'error', () => {});
  const inner = scope({ ok: true });
  tap(inner, () => {
    throw Error('listener');
  });
  assert.equal((await post(inner, check)).status, 200);
  await settled();
  assert.deepEqual(
    errors.mock.calls.map(({ arguments: [error] }) => error.message),
    ['listener', 'listener'],
  );
});

test('the last 200 are kept, and all counted', async () => {
  const inner = scope(...Array.from({ length: 250 }, () => ({ ok: true, found: false, boxes: [] })));
  const log = relayLog(inner);
  let changes = 0;
  const remove = log.subscribe(() => changes++);
  for (let i = 0; i < 250; i++) await post(inner, check);
  await settled();
  const { exchanges, requests, up, down } = log.logged();
  assert.deepEqual([exchanges.length, requests, up, down, changes], [200, 250, 57_000, 9_000, 500]);
  assert.ok(exchanges.every(({ status }) => status === 200));
  remove();
  await post(inner, check).catch(() => {});
  assert.equal(changes, 500);
});

test(
  'a message that came, was taken and deleted, and a look into the boxes, with the real relay',
  options,
  async t => {
    const relay = await serve(t);
    const outer = { fetch: globalThis.fetch };
    const log = relayLog(outer);
    const real = globalThis.fetch;
    globalThis.fetch = (...args) => outer.fetch(...args);
    t.after(() => {
      globalThis.fetch = real;
    });
    const alice = await Client.open({ relays: [relay], storage: memory(), foreground: true });
    const link = await alice.share('list/Bob');
    const box = link.split('.')[0];
    const came = new Promise(heard => alice.on('note', heard));
    const bob = await Client.open({ relays: [relay], storage: memory(), foreground: false });
    await sendNote(bob, link, 'hello');
    await came;
    for (let tries = 0; !log.logged().stored[0]?.gone && tries < 500; tries++) await settled();
    const [stored, ...more] = log.logged().stored;
    assert.deepEqual(more, []);
    assert.deepEqual([stored.relay, stored.box, stored.size, stored.deleted], [relay, box, 4096, true]);
    assert.match(stored.begins, /^A[\w-]{87}$/);
    // It went into the box, and came out of it.
    assert.equal(log.logged().messages, 2);

    const boxes = await log.look(() => inspectBoxes(alice));
    assert.deepEqual(
      boxes.map(({ contact, messages }) => [contact, messages]),
      [['list/Bob', []]],
    );
    await settled();
    const lines = logLines(log.logged());
    const shown = `${box.slice(0, 6)}…`;
    const look = lines.find(({ isLook }) => isLook);
    assert.deepEqual(
      [look.words, look.result, look.requests],
      [
        `This view looked into box ${shown}, with the owner’s proof, and took nothing away.`,
        'There was nothing.',
        2,
      ],
    );
    const said = lines.map(({ words, result }) => `${words} ${result}`);
    for (const line of [
      `Put a sealed message of 4,096 bytes into box ${shown} of somebody else. It stored it and cannot open it.`,
      `Here is the proof that box ${shown} is mine: what is in it? It handed out a sealed message of 4,096 bytes, which it cannot open.`,
      `Delete from box ${shown} what I have. It says that it did.`,
    ]) {
      assert.ok(said.includes(line), `${line}\n${said.join('\n')}`);
    }

    await log.look(() => inspectBoxes(alice));
    await settled();
    const looks = logLines(log.logged()).filter(({ isLook }) => isLook);
    assert.deepEqual(
      looks.map(({ requests }) => requests),
      [2, 2],
    );

    await log.ask(relay);
    const info = log.logged().relays.get(relay);
    assert.deepEqual([info.client, info.keeps], ['127.0.0.1', 3_600_000]);
    // Since it said for how long.
    const put = logLines(log.logged()).find(({ words }) => words.startsWith('Put'));
    assert.equal(put.result, 'It stored it, for an hour at most, and cannot open it.');
    assert.ok(Math.abs(info.ahead) < 5000);
    await Promise.all([alice.close(), bob.close()]);
  },
);

test('of what is sealed the size is kept, and how it begins', async () => {
  const data = 'Az-_'.repeat(150_000);
  const messages = Array.from({ length: 3000 }, (_, at) => ({ at, data: 'AQID'.repeat(60) }));
  const inner = scope(
    { ok: true, at: 7 },
    { ok: true, messages, more: true, boxes: [{ pub: B }, { pub: 'x'.repeat(1000) }] },
    { ok: false, error: 'x'.repeat(500_000), detail: 'y' },
  );
  const log = relayLog(inner);
  await post(inner, { pub: A, action: 'send', data });
  await post(inner, { pub: B, action: 'receive', answer: '', at: 0, limit: 32 });
  await post(inner, { pub: B, action: 'receive', answer: '', at: 0, limit: 32 });
  await settled();
  const { exchanges, stored, messages: count, up } = log.logged();
  assert.deepEqual(exchanges[0].asked.data, { size: 450_000, begins: 'Az-_'.repeat(22) });
  assert.deepEqual(exchanges[1].said.messages[2], { at: 2, size: 180, begins: 'AQID'.repeat(22) });
  assert.deepEqual(
    [exchanges[1].said.messages.length, exchanges[1].said.found, exchanges[2].said.error.length],
    [64, [B], 300],
  );
  assert.deepEqual([stored.length, count, up], [60, 61, 600_352]);
  assert.ok(JSON.stringify(log.logged()).length < 25_000);
});

test('a relay is asked what it is: itself, shortly, and not again and again', async t => {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const inner = scope(
    Error('redirected'),
    `{"client":"127.0.0.1","x":"${'x'.repeat(70_000)}"}`,
    'null',
    { client: 'x'.repeat(65), limits: { messageTtl: 'long' }, time: [] },
    { client: '::1', limits: { messageTtl: 60 }, time: 1e300 },
  );
  const log = relayLog(inner);
  const asked = async () => {
    await Promise.all([log.ask(RELAY), log.ask(`${RELAY}/`)]);
    return [inner.calls.length, log.logged().relays.get(RELAY)];
  };
  assert.deepEqual(await asked(), [1, undefined]);
  const [url, { redirect, credentials, referrerPolicy }] = inner.calls[0];
  assert.deepEqual(
    [url, redirect, credentials, referrerPolicy],
    [`${RELAY}/info`, 'error', 'omit', 'no-referrer'],
  );
  now = 59_999;
  assert.deepEqual(await asked(), [1, undefined]);
  now = 60_000;
  assert.deepEqual(await asked(), [2, undefined]);
  now = 120_000;
  assert.deepEqual(await asked(), [3, undefined]);
  now = 180_000;
  assert.deepEqual(await asked(), [4, { client: undefined, keeps: undefined, ahead: 0 }]);
  now = 240_000;
  assert.deepEqual(await asked(), [4, { client: undefined, keeps: undefined, ahead: 0 }]);
  await log.ask('https://example.com');
  assert.deepEqual(log.logged().relays.get('https://example.com'), {
    client: '::1',
    keeps: 60_000,
    ahead: 0,
  });
});

test('the pause between two looks leaves the relay to the app', () => {
  // 12 requests a minute for each box at most, of 600 and 300.
  assert.deepEqual([0, 1, 10, 25, 100].map(pauseOf), [10_000, 10_000, 10_000, 25_000, 100_000]);
});

test('what became of a message', () => {
  const at = Date.UTC(2026, 0, 1);
  const info = { ahead: 500, keeps: 3_600_000 };
  const message = { relay: RELAY, box: A, at: at * 1000, size: 3, begins: 'AQID' };
  assert.equal(fateOf(message, info), 'expired');
  assert.equal(fateOf(message, undefined), 'there');
  assert.equal(fateOf({ ...message, gone: at + 1500, deleted: true }, info), 'gone after 2.0 s');
  assert.equal(fateOf({ ...message, gone: at + 1500 }, info), 'gone');
  const fresh = { ...message, at: (Date.now() + 500) * 1000 };
  assert.match(fateOf(fresh, info), /^there until \d\d:\d\d:\d\d at the latest$/);
});

test('what is not there any more when somebody looks is gone', async () => {
  const received = { ok: true, at: 5, messages: [{ at: 5, data: 'AQID' }], more: false };
  const inner = scope(received, received);
  const log = relayLog(inner);
  await post(inner, { pub: A, action: 'receive', answer: '', at: 0, limit: 32 });
  await post(inner, { pub: B, action: 'receive', answer: '', at: 0, limit: 32 });
  await settled();
  const look = (box, messages) => log.look(async () => [{ contact: 'x', relay: RELAY, box, messages }]);
  const gone = () => log.logged().stored.map(({ box, gone }) => [box, gone !== undefined]);
  await look(A, undefined);
  await look(A, [{ at: 5, data: new Uint8Array(3) }]);
  assert.deepEqual(gone(), [
    [A, false],
    [B, false],
  ]);
  await look(A, []);
  assert.deepEqual(gone(), [
    [A, true],
    [B, false],
  ]);
  await assert.rejects(
    log.look(() => Promise.reject(Error('inactive'))),
    /^Error: inactive$/,
  );
});

test('in words', () => {
  const began = Date.UTC(2026, 0, 1);
  const base = { relay: RELAY, began, up: 10, down: 20, ended: began + 1600, status: 200 };
  const asked = { action: 'check', boxes: [A], wait: 25, ask: false };
  const said = { found: [], messages: [] };
  const words = (exchange, looks = []) => {
    const [{ words, result, failed }] = logLines({
      exchanges: [{ id: 1, ...base, ...exchange }],
      looks: new Set(looks),
      relays: new Map(),
    });
    return [words, result, failed];
  };
  assert.deepEqual(words({ asked, said }), [
    'Is anything in box Akkkkk…? Wait for it up to 25 s.',
    'Nothing was, after 1.6 s.',
    undefined,
  ]);
  assert.deepEqual(words({ asked: { ...asked, boxes: [A, B], wait: 0 }, said: { ...said, found: [B] } }), [
    'Is anything in one of my 2 boxes, Akkkkk…, Alllll…?',
    'Something was in Alllll….',
    undefined,
  ]);
  const refused = { ...said, error: 'Too often: wait' };
  assert.deepEqual(words({ asked, said: refused, status: 429 }).slice(1), [
    'It refused: Too often: wait',
    true,
  ]);
  const none = { status: undefined, said: undefined };
  assert.deepEqual(words({ asked, ...none }).slice(1), ['It could not be reached.', true]);
  assert.deepEqual(words({ asked, ...none, stopped: true }).slice(1), [
    'The page let go of this request to ask anew.',
    undefined,
  ]);
  assert.deepEqual(words({ asked, ...none, ended: undefined }).slice(1), [undefined, undefined]);
  assert.deepEqual(words({ asked: { action: 'delete', boxes: [A] }, said }), [
    'Delete box Akkkkk… and all in it.',
    'It says that it did.',
    undefined,
  ]);
  assert.deepEqual(words({ asked: { ...asked, ask: true }, said: refused, status: 429 }, [1]), [
    'This view looked into box Akkkkk…, with the owner’s proof, and took nothing away.',
    'It refused: Too often: wait',
    true,
  ]);
  assert.deepEqual([20, 200, 12_400, 240_000, 3_600_000, 7_200_000, -5].map(lasted), [
    'less than 0.1 s',
    '0.2 s',
    '12 s',
    '4 min',
    'an hour',
    '2 h',
    'less than 0.1 s',
  ]);
  assert.deepEqual(['https://connecto.id', 'https://example.com/relay', 'x'].map(hostOf), [
    'connecto.id',
    'example.com/relay',
    'x',
  ]);
});

test('what changed', () => {
  const item = (id, text, done = false) => ({ id, text, done });
  const list = (...items) => ({ id: 'l', name: 'Groceries', items, people: [], isAwaited: false });
  const milk = item('1', 'Milk');
  const before = list(milk, item('2', 'Bread'));
  for (const [now, words] of [
    [before, undefined],
    [list(milk, item('2', 'Bread')), undefined],
    [list(milk, item('2', 'Bread'), item('3', 'Tea')), '“Tea” was added'],
    [list(milk, item('2', 'Rye bread')), '“Bread” became “Rye bread”'],
    [list(item('1', 'Milk', true), item('2', 'Bread')), '“Milk” was ticked'],
    [list(milk), '“Bread” was deleted'],
    [list(item('2', 'Bread'), milk), '“Bread” was moved'],
    [{ ...before, name: 'Market' }, '“Groceries” is called “Market” now'],
  ]) {
    assert.equal(lastChange(before, now), words);
  }
  assert.equal(lastChange(list(item('1', 'Milk', true)), list(milk)), '“Milk” was unticked');
  assert.equal(lastChange(list(), list(item('1', 'חלב'))), '“\u2068חלב\u2069” was added');
});

/** The words in a part of the screen that has no state. */
function wordsIn(part) {
  if (Array.isArray(part)) return part.map(wordsIn).join('');
  if (part === null || typeof part !== 'object') return typeof part === 'boolean' ? '' : `${part ?? ''}`;
  const { type, props } = part;
  return wordsIn(typeof type === 'function' ? type(props) : props.children);
}

test('on the screen', () => {
  assert.equal(wordsIn(YouSee({ list: undefined, lists: [], people: [] })), 'You seeNothing yet');
  const lists = [{ id: 'l', name: 'Groceries' }];
  const person = (name, flows, more) => ({ name, flows, state: flows ? 'connected' : 'inactive', ...more });
  const [bob, carol, dan] = ['Bob', 'Carol', 'Dan'].map(name => person(name, false));
  for (const [people, words] of [
    [[person('Bob', true)], 'You and Bob seeGroceries'],
    [[bob, bob], 'You seeGroceries(Bob gets it when you are both here)'],
    [[person('Bob', true), bob, carol], 'You and Bob seeGroceries(Carol gets it when you are both here)'],
    [[carol, dan], 'You seeGroceries(Carol and Dan each get it when you are both here)'],
    [[person('Bob', false, { verification: 'mismatch' })], 'You seeGroceries'],
  ]) {
    assert.equal(wordsIn(YouSee({ list: undefined, lists, people })), words);
  }

  const log = relayLog(scope()).logged();
  const look = { boxes: [], when: 0 };
  const seen = more =>
    wordsIn(ItSees({ logged: log, look, stored: [], people: [], own: RELAY, all: '', ...more }));
  const numbers = 'Messages sent and received0Requests0Bytes sent0Bytes received0';
  assert.ok(
    seen({ count: 3 }).startsWith(
      `The relay sees127.0.0.1:1Stored now, for you3Since this page was opened${numbers}`,
    ),
  );
  assert.match(seen({ count: undefined }), /Stored now, for you\?/);
  const ofOne = seen({ count: 0, all: ' (all lists)' });
  assert.match(ofOne, /Stored now, for you \(this list\)0/);
  assert.ok(ofOne.includes(numbers.replaceAll('0', ' (all lists)0')));
  const sent = { id: 1, began: 0, status: 200, asked: { action: 'send', boxes: [A] } };
  assert.match(
    seen({ count: 0, logged: { ...log, exchanges: [sent] } }),
    /somebody else’sSent to, once, last at [\d:]+; fetched or not: only its owner and the relay know\./,
  );

  const learns = keeps => wordsIn(Learns({ relays: new Map([[RELAY, { ahead: 0, keeps }]]), own: RELAY }));
  assert.match(learns(7_200_000), /sealed\. It promises to forget them after 2 h at the latest\./);
  assert.doesNotMatch(learns(undefined), /promises/);
});
