// Requests, byte for byte as the Rust library writes them, and replies as far as they are believed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { encode } from '../dist/base64url.js';
import { utf8 } from '../dist/bytes.js';
import {
  checkBody,
  checkManyBody,
  deleteBody,
  readChecked,
  readCheckedMany,
  readDone,
  readReceived,
  receiveBody,
  sendBody,
} from '../dist/exchange.js';

const KEY = 'A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw';
const OTHER = 'A5COoBVfxZvjLivTneMk92nQ7gegBm9McWJScnn5RBS82O4wIwYqjdL5y0xuSTDtAA';
const RELAY = 'https://connecto.id';
const ANSWER = encode(new Uint8Array(56).fill(9));

const ok = body => ({ status: 200, body });
const misbehaves = what => ({ failure: 'misbehaves', what });

test('what is posted', () => {
  assert.equal(
    sendBody(KEY, undefined, utf8('hello')),
    `{"pub":"${KEY}","ext":null,"action":"send","data":"aGVsbG8"}`,
  );
  assert.equal(
    checkBody(KEY, undefined, 0, RELAY, false),
    `{"pub":"${KEY}","ext":null,"action":"check","at":0,"relay":"https://connecto.id"}`,
  );
  assert.equal(
    checkBody(KEY, 'YXBpa2V5', 7, 'http://[::1]', true),
    `{"pub":"${KEY}","ext":"YXBpa2V5","action":"check","at":7,"ask":true,"relay":"http://[::1]"}`,
  );
  const boxes = [
    { key: KEY, at: 7, more: 'ignored' },
    { key: OTHER, at: 0 },
  ];
  assert.equal(
    checkManyBody(boxes, 'YXBpa2V5', RELAY, 25),
    `{"ext":"YXBpa2V5","action":"check","boxes":[{"pub":"${KEY}","at":7},{"pub":"${OTHER}","at":0}],"relay":"https://connecto.id","wait":25}`,
  );
  assert.equal(
    checkManyBody(boxes.slice(1), undefined, RELAY, 0),
    `{"ext":null,"action":"check","boxes":[{"pub":"${OTHER}","at":0}],"relay":"https://connecto.id"}`,
  );
  assert.equal(
    receiveBody(KEY, undefined, ANSWER, 9_007_199_254_740_991, 32),
    `{"pub":"${KEY}","ext":null,"action":"receive","answer":"${ANSWER}","at":9007199254740991,"limit":32}`,
  );
  assert.equal(
    deleteBody(KEY, undefined, ANSWER, 0),
    `{"pub":"${KEY}","ext":null,"action":"delete","answer":"${ANSWER}","at":0}`,
  );
  assert.equal(
    deleteBody(KEY, 'YXBpa2V5', ANSWER, 'all'),
    `{"pub":"${KEY}","ext":"YXBpa2V5","action":"delete","answer":"${ANSWER}","all":true}`,
  );
});

/** The examples of docs/protocol.md 3.2 to 3.7: what is asked there is what is written here, and the replies are read. */
test('the examples of the protocol', () => {
  const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  const examples = [...page.matchAll(/Example (\d+), (request|reply)[\s\S]*?```json\n(.*)\n/g)];
  const of = (number, what) => {
    const found = examples.find(([, n, kind]) => n === String(number) && kind === what);
    assert.ok(found, `docs/protocol.md has no ${what} of example ${number}`);
    return found[3];
  };
  // The order of fields means nothing; absent is the same as its default.
  const same = (number, body) => {
    const { ext = null, ...fields } = JSON.parse(of(number, 'request'));
    assert.deepEqual(JSON.parse(body), { ext, ...fields }, `example ${number}`);
  };
  const answer = 'AAAAAGsAHtAJCQkJCQkJCQkJCQkJCQkJ3-qQD_9WpA8xnyMusRrrSkNEjFhlTjjMYjRtGxEkh04';
  const [one, two] = [1_795_170_000_000_000, 1_795_170_000_000_001];
  same(1, sendBody(KEY, undefined, utf8('hello')));
  same(2, sendBody(KEY, undefined, utf8('world')));
  same(3, checkBody(KEY, undefined, 0, RELAY, false));
  same(
    6,
    checkManyBody(
      [
        { key: OTHER, at: 0 },
        { key: KEY, at: one },
      ],
      undefined,
      RELAY,
      25,
    ),
  );
  same(8, receiveBody(KEY, undefined, answer, 0, 1));
  same(9, receiveBody(KEY, undefined, answer, 0, 32));
  same(10, receiveBody(KEY, undefined, answer, two, 32));
  same(11, deleteBody(KEY, undefined, answer, one));
  same(12, deleteBody(KEY, undefined, answer, 'all'));

  assert.deepEqual(readDone(ok(of(1, 'reply'))), {});
  const checked = readChecked(ok(of(3, 'reply')));
  assert.deepEqual([checked.found, checked.relay, checked.question.length], [true, RELAY, 227]);
  assert.deepEqual(readChecked(ok(of(4, 'reply'))), { found: false, question: undefined, relay: undefined });
  const { question } = JSON.parse(of(6, 'reply')).boxes[0];
  assert.deepEqual(readCheckedMany(ok(of(6, 'reply'))), {
    found: true,
    boxes: [{ key: KEY, question }],
    relay: RELAY,
  });
  assert.deepEqual(readCheckedMany(ok(of(7, 'reply'))), { found: false, boxes: [], relay: undefined });
  assert.deepEqual(readReceived(ok(of(8, 'reply')), 0, 32), misbehaves('not-a-list'));
  assert.deepEqual(readReceived(ok(of(9, 'reply')), 0, 32), {
    at: two,
    messages: [
      { at: one, data: utf8('hello') },
      { at: two, data: utf8('world') },
    ],
    more: false,
  });
  assert.deepEqual(readReceived(ok(of(10, 'reply')), two, 32), { at: two, messages: [], more: false });
  assert.deepEqual(readChecked({ status: 400, body: of(13, 'reply') }), {
    failure: 'refused',
    error: 'Bad key',
    why: 'Bad key',
    retryAfter: 0,
  });
  assert.deepEqual(readReceived({ status: 403, body: of(14, 'reply') }, 0, 32), {
    failure: 'refused',
    error: 'Wrong answer',
    why: 'Wrong answer',
    retryAfter: 0,
  });
});

test('what is no reply', () => {
  assert.deepEqual(readDone('unreachable'), { failure: 'unreachable' });
  assert.deepEqual(readDone('too-large'), misbehaves('too-large'));
  assert.deepEqual(readDone('redirect'), misbehaves('redirect'));
});

test('replies', () => {
  assert.deepEqual(readDone(ok('{"ok":true}\n')), {});
  assert.deepEqual(readDone({ status: 299, body: '{"ok":true}' }), {});
  assert.deepEqual(readChecked(ok('{"ok":true,"found":false,"later":"ignored","failure":"x"}')), {
    found: false,
    question: undefined,
    relay: undefined,
  });
  assert.deepEqual(readChecked(ok('{"ok":true,"found":true,"question":null,"relay":null}')), {
    found: true,
    question: undefined,
    relay: undefined,
  });
});

test('success that is none', () => {
  for (const body of [
    '',
    '[]',
    '{}',
    'null',
    '<html>hello</html>',
    '{"ok":"yes"}',
    '{"ok":1}',
    '{"ok":false}',
    '{"ok":false,"error":"Busy"}',
    '{"ok":true} {"ok":true}',
    '{"ok":false,"ok":true}',
    '\ufeff{"ok":true}',
  ]) {
    assert.deepEqual(readDone(ok(body)), misbehaves('not-the-protocol'), body);
  }
  // Done, but that was not asked for; and wrong types.
  for (const body of [
    '{"ok":true}',
    '{"ok":true,"found":1}',
    '{"ok":true,"found":true,"question":7}',
    '{"ok":true,"found":true,"question":"x","relay":[]}',
  ]) {
    assert.deepEqual(readChecked(ok(body)), misbehaves('not-the-protocol'), body);
  }
  for (const boxes of [
    'null',
    '{}',
    '[7]',
    '[null]',
    '[[]]',
    '[{}]',
    `[{"pub":"${KEY}"}]`,
    `[{"pub":"${KEY.slice(1)}","question":"x"}]`,
    `[{"pub":"${KEY}","question":7}]`,
    `[{"pub":"${KEY}","question":"x"},{"pub":"${KEY}"}]`,
    `[${Array(101).fill(`{"pub":"${KEY}","question":"x"}`)}]`,
  ]) {
    const body = `{"ok":true,"found":true,"boxes":${boxes}}`;
    assert.deepEqual(readCheckedMany(ok(body)), misbehaves('not-the-protocol'), body);
  }
  for (const body of [
    '{"ok":true}',
    '{"ok":true,"found":false}',
    '{"ok":true,"found":true,"at":7}',
    '{"ok":true,"at":"7","messages":[],"more":false}',
    '{"ok":true,"at":7.0,"messages":[],"more":false}',
    '{"ok":true,"at":-7,"messages":[],"more":false}',
    '{"ok":true,"at":9007199254740992,"messages":[],"more":false}',
    '{"ok":true,"at":7,"data":"+"}',
    '{"ok":true,"at":7,"messages":[7],"more":false}',
    '{"ok":true,"at":7,"messages":[{"at":7}],"more":false}',
    '{"ok":true,"at":7,"messages":[{"at":7,"data":"+"}],"more":false}',
    '{"ok":true,"at":7,"messages":[{"at":"7","data":"aGVsbG8"}],"more":false}',
  ]) {
    assert.deepEqual(readReceived(ok(body), 0, 32), misbehaves('not-the-protocol'), body);
  }
});

test('messages are in order and end at the cursor', () => {
  const read = (at, cursors) => {
    const messages = cursors.map(at => ({ at, data: 'AQ' }));
    return readReceived(ok(JSON.stringify({ ok: true, at, messages, more: true })), 5, 32);
  };
  assert.deepEqual(read(8, [6, 8]), {
    at: 8,
    messages: [
      { at: 6, data: Uint8Array.of(1) },
      { at: 8, data: Uint8Array.of(1) },
    ],
    more: true,
  });
  for (const [at, cursors] of [
    [5, []],
    [9, [6, 8]],
    [8, [6]],
    [8, [5, 8]],
    [8, [8, 8]],
    [6, [8, 6]],
    [133, Array.from({ length: 33 }, (_, i) => 101 + i)],
  ]) {
    assert.deepEqual(read(at, cursors), misbehaves('cursor'), `${at} ${cursors}`);
  }
});

test('refusals', () => {
  const busy = '{"ok":false,"error":"Busy","detail":"send it again","retryAfter":3}';
  assert.deepEqual(readDone({ status: 503, body: busy }), {
    failure: 'refused',
    error: 'Busy',
    why: 'Busy: send it again',
    retryAfter: 3,
  });
  assert.deepEqual(readDone({ status: 403, body: '{"ok":false,"error":"Wrong answer","detail":null}' }), {
    failure: 'refused',
    error: 'Wrong answer',
    why: 'Wrong answer',
    retryAfter: 0,
  });
});

test('refusals that are none', () => {
  const refusal = '{"ok":false,"error":"Busy"}';
  for (const [status, body] of [
    [404, '<html>'],
    [500, '{"ok":true}'],
    [400, '{"ok":true,"error":"Busy"}'],
    [418, '{"ok":false,"error":7}'],
    [429, '{"ok":false,"error":"x","retryAfter":-1}'],
    [429, '{"ok":false,"error":"x","retryAfter":1.5}'],
    [429, '{"ok":false,"error":"x","detail":7}'],
    [101, refusal],
    [301, refusal],
    [600, refusal],
    [0, refusal],
  ]) {
    assert.deepEqual(readDone({ status, body }), misbehaves('status'), `${status} ${body}`);
  }
});

test('what a relay says is short and stays on its line', () => {
  for (const [evil, told] of [
    [`Bad\u001b[2J\nkey${'!'.repeat(60)}`, `Bad\ufffd[2J\ufffdkey${'!'.repeat(53)}…`],
    [`\u202e${'🐶'.repeat(64)}`, `\ufffd${'🐶'.repeat(63)}…`],
    ['🐶'.repeat(64), '🐶'.repeat(64)],
  ]) {
    const body = JSON.stringify({ ok: false, error: evil });
    assert.deepEqual(readDone({ status: 400, body }), {
      failure: 'refused',
      error: told,
      why: told,
      retryAfter: 0,
    });
  }
});
