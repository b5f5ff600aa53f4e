// Texts, bytes and keys of the protocol, beyond the published vectors.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decode, decodeExactly, encode } from '../dist/base64url.js';
import { concat, equal, lp16, lp32, text, utf8 } from '../dist/bytes.js';
import { formatConnectoid, parseConnectoid } from '../dist/connectoid.js';
import { parseFrame } from '../dist/frame.js';
import { parseObject } from '../dist/json.js';
import { generateBoxKey, isPoint, publicKey, uncompressed } from '../dist/keys.js';
import { findConnectoid, linkIn, withoutConnectoid } from '../dist/link.js';
import { isLoopback, relayUrl } from '../dist/relay-url.js';

const KEY = 'A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw';
const SHORT = `${KEY}.aHR0cHM6Ly9jb25uZWN0by5pZA`;
const FULL = `${SHORT}..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH`;

test('bytes', () => {
  assert.deepEqual(concat('aé', Uint8Array.of(0, 255)), Uint8Array.of(0x61, 0xc3, 0xa9, 0, 255));
  assert.deepEqual(lp16('hi'), Uint8Array.of(0, 2, 0x68, 0x69));
  assert.deepEqual(lp16(new Uint8Array(300)).subarray(0, 3), Uint8Array.of(1, 44, 0));
  assert.deepEqual(lp32(Uint8Array.of(7)), Uint8Array.of(0, 0, 0, 1, 7));
  assert.equal(text(utf8('🐶')), '🐶');
  assert.equal(text(Uint8Array.of(0xff)), undefined);
  assert.equal(text(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), '\ufeffa');
  assert.ok(equal(utf8('abc'), utf8('abc')));
  for (const other of ['abd', 'ab', 'abcd', '']) {
    assert.ok(!equal(utf8('abc'), utf8(other)) && !equal(utf8(other), utf8('abc')), other);
  }
  assert.ok(!equal(Uint8Array.of(1, 0), Uint8Array.of(1)));
});

test('base64url has one spelling', () => {
  assert.equal(encode(Uint8Array.of(0xfb, 0xff)), '-_8');
  assert.deepEqual(decode('-_8'), Uint8Array.of(0xfb, 0xff));
  assert.deepEqual(decode(''), new Uint8Array());
  for (const wrong of ['-_8=', '-_9', '+/8', '-_8 ', 'A', '-_8\n', '\n', 'é', '-_8\0']) {
    assert.equal(decode(wrong), undefined, JSON.stringify(wrong));
  }
  for (let length = 0; length < 70; length += 1) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    assert.equal(encode(bytes), Buffer.from(bytes).toString('base64url'));
    assert.deepEqual(decodeExactly(encode(bytes), length), bytes);
    assert.equal(decodeExactly(encode(bytes), length + 1), undefined);
  }
  assert.equal(decodeExactly(7, 1), undefined);
});

test('json objects and nothing else', () => {
  for (const right of ['{"n":1,"inner":{"text":"x"}}', ' {"n" : 1, "inner": {"text":"\\u0078"} }\n']) {
    assert.deepEqual(parseObject(right), { n: 1, inner: { text: 'x' } });
  }
  assert.deepEqual(parseObject('{}'), {});
  assert.deepEqual(parseObject('{"a":[true,null,[],{"a":[{}]}],"b":"\\\\\\"\\n[]{},:"}'), {
    a: [true, null, [], { a: [{}] }],
    b: '\\"\n[]{},:',
  });
  assert.deepEqual(parseObject('{"a":"\\ud83d\\udc36","b":"🐶"}'), { a: '🐶', b: '🐶' });
  for (const wrong of [
    '',
    '1',
    'null',
    '"x"',
    '[]',
    '[{"n":1}]',
    '{"n":1',
    '{"n":1,}',
    '{"n":1} {}',
    "{'n':1}",
    '{"n":01}',
    '{"n":NaN}',
    '{"n":"\t"}',
    '\ufeff{"n":1}',
    '\u00a0{"n":1}',
    // A name twice: spelled with an escape, deep inside, the same for JavaScript's own objects.
    '{"n":1,"n":1}',
    '{"n":1,"\\u006e":1}',
    '{"a":[[{"b":1,"b":1}]]}',
    '{"__proto__":1,"__proto__":1}',
    // Text that is not Unicode: in a value, in a name, deep inside; as an escape and as it stands.
    '{"n":"\\ud800"}',
    '{"\\udc00":1}',
    '{"a":[{"b":["\\ud83dx"]}]}',
    '{"n":"\ud800"}',
    // Out of range.
    '{"n":1e999}',
    '{"n":[-1e999]}',
    `{"a":${'['.repeat(8000)}${']'.repeat(8000)}}`,
    `{"a":${'['.repeat(128)}${']'.repeat(128)}}`,
  ]) {
    assert.equal(parseObject(wrong), undefined, wrong.slice(0, 80));
  }
  assert.ok(parseObject(`{"a":${'['.repeat(126)}${']'.repeat(126)}}`));
});

test('json names that mean something to JavaScript are names like any other', () => {
  const object = parseObject('{"__proto__":{"x":1},"constructor":2,"toString":3}');
  assert.deepEqual(Object.keys(object), ['__proto__', 'constructor', 'toString']);
  assert.equal(object.x, undefined);
  assert.equal(Object.getPrototypeOf(object), Object.prototype);
});

test('json integers have one spelling', () => {
  for (const [digits, value] of [
    ['0', 0],
    ['7', 7],
    ['1795170000000000', 1_795_170_000_000_000],
    ['9007199254740991', 9_007_199_254_740_991],
  ]) {
    assert.equal(parseObject(`{"n":${digits}}`).n, value);
  }
  for (const other of ['-0', '-1', '1.0', '1e0', '10E1', '9007199254740992', '18446744073709551616', '0.5']) {
    const { n } = parseObject(`{"n":${other}}`);
    assert.notEqual(typeof n, 'number', other);
    assert.equal(Number(n), Number(other));
  }
});

test('keys: points are found as WebCrypto knows them', async () => {
  for (let i = 0; i < 20; i += 1) {
    const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-384' }, true, ['deriveBits']);
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    const compressed = Uint8Array.of(2 + (raw[96] & 1), ...raw.subarray(1, 49));
    const key = publicKey(encode(compressed));
    assert.deepEqual(uncompressed(key), raw);
    assert.ok(isPoint(raw));
    raw[96] ^= 1;
    assert.ok(!isPoint(raw));
  }
  const { pub } = await generateBoxKey(false);
  assert.equal(publicKey(pub), pub);
  for (const wrong of [undefined, null, 7, '', [pub], `${pub} `, pub.slice(1)]) {
    assert.equal(publicKey(wrong), undefined);
  }
});

test('relay URLs have one spelling', () => {
  for (const [given, expected] of [
    ['https://connecto.id', 'https://connecto.id'],
    ['https://connecto.id/', 'https://connecto.id'],
    ['HTTPS://Connecto.ID:443/', 'https://connecto.id'],
    ['https://user:pw@example.com/relay?x=1#y', 'https://example.com/relay'],
    ['https://example.com?x', 'https://example.com'],
    ['https://example.com/relay/', 'https://example.com/relay/'],
    ['https://example.com//', 'https://example.com//'],
    ['https://example.com/a/../b', 'https://example.com/b'],
    ['https://example.com:8443/a b', 'https://example.com:8443/a%20b'],
    ['https://bücher.example', 'https://xn--bcher-kva.example'],
    ['http://127.0.0.1:8080/', 'http://127.0.0.1:8080'],
    ['http://127.1:80', 'http://127.0.0.1'],
    ['http://localhost:3000', 'http://localhost:3000'],
    ['http://relay.localhost', 'http://relay.localhost'],
    ['http://[::1]:8080', 'http://[::1]:8080'],
  ]) {
    const url = relayUrl(given);
    assert.equal(url, expected);
    assert.equal(relayUrl(url), url, 'canonical form is a fixed point');
    assert.equal(isLoopback(url), given.startsWith('http://'));
  }
  for (const wrong of [
    'http://example.com',
    'http://192.168.1.5:8080',
    'http://localhost.example.com',
    'http://127.0.0.1.example.com',
    'http://[::ffff:127.0.0.1]',
    'http://notlocalhost',
    'ftp://127.0.0.1',
    'blob:https://connecto.id/x',
    'wss://connecto.id',
    'connecto.id',
    'https://',
    '',
  ]) {
    assert.equal(relayUrl(wrong), undefined, wrong);
  }
  assert.equal(isLoopback(relayUrl('https://localhost')), true);
  const long = `https://example.com/${'x'.repeat(2028)}`;
  assert.equal(relayUrl(long), long);
  assert.equal(relayUrl(`${long}x`), undefined);
});

test('connectoids', () => {
  const connectoid = parseConnectoid(FULL);
  assert.deepEqual(connectoid, {
    key: KEY,
    relays: ['https://connecto.id'],
    secret: new Uint8Array(32).fill(7),
  });
  assert.equal(formatConnectoid(connectoid), FULL);
  assert.equal(formatConnectoid({ ...connectoid, ext: 'YXBpa2V5' }), FULL.replace('..', '.YXBpa2V5.'));
  const withRelays = urls => parseConnectoid(`${KEY}.${encode(utf8(urls))}`);
  assert.deepEqual(withRelays('https://a.example  https://A.example/ https://b.example').relays, [
    'https://a.example',
    'https://b.example',
  ]);
  assert.equal(withRelays('https://a.example '.repeat(5)), 'relay-count');
  assert.equal(withRelays('https://a.example http://b.example'), 'relay');
});

test('links are found where people put them', () => {
  const connectoid = parseConnectoid(FULL);
  for (const [text, place] of [
    [FULL],
    [` connectoid=${FULL}\n`],
    [`https://a.example/?connectoid=${SHORT}#connectoid=${FULL}`, 'fragment'],
    [`https://a.example/?connectoid=${FULL}`, 'query'],
    [`https://a.example/#/route/connectoid=${FULL}&x=1`, 'fragment'],
    [`https://a.example/#!connectoid=${FULL}`, 'fragment'],
    [`https://a.example/#a#connectoid=${FULL}&connectoid=${SHORT}`, 'fragment'],
    [`https://a.example/#?myconnectoid=${SHORT}&connectoid=${FULL}`, 'fragment'],
  ]) {
    assert.deepEqual(findConnectoid(text), place ? { connectoid, place } : { connectoid });
  }
  assert.equal(findConnectoid('https://a.example/'), 'no-connectoid');
  assert.equal(findConnectoid(`https://a.example/?myconnectoid=${FULL}`), 'no-connectoid');
  assert.equal(findConnectoid('https://a.example/#connectoid='), 'parts');
  assert.equal(findConnectoid('hello'), 'parts');
});

test('links are made, found again and taken away', () => {
  const connectoid = parseConnectoid(FULL);
  for (const [app, link] of [
    ['https://app.example.com/', `https://app.example.com/#connectoid=${FULL}`],
    ['https://app.example.com', `https://app.example.com/#connectoid=${FULL}`],
    ['https://a.example/x?y=1#/lists', `https://a.example/x?y=1#/lists?connectoid=${FULL}`],
    ['https://a.example/#/l?id=1', `https://a.example/#/l?id=1&connectoid=${FULL}`],
    ['https://a.example/#a=1', `https://a.example/#a=1&connectoid=${FULL}`],
    ['http://localhost:8080/index.html#', `http://localhost:8080/index.html#connectoid=${FULL}`],
    ['file:///home/me/app.html#top', `file:///home/me/app.html#top?connectoid=${FULL}`],
  ]) {
    const made = linkIn(app, connectoid);
    assert.equal(made, link);
    assert.deepEqual(findConnectoid(made), { connectoid, place: 'fragment' });
    assert.equal(withoutConnectoid(made), new URL(app).href.replace(/#$/, ''));
    // The page of a link shares its own: one link, in one place.
    assert.equal(linkIn(made.replace(FULL, SHORT), connectoid), link);
  }
  assert.throws(() => linkIn('app.example.com', connectoid), TypeError);
});

test('a connectoid is taken out of a URL, and nothing else', () => {
  for (const [url, without] of [
    [`https://a.example/?connectoid=${SHORT}`, 'https://a.example/'],
    [`https://a.example/?y=1&connectoid=${SHORT}#top`, 'https://a.example/?y=1#top'],
    [`https://a.example/?connectoid=${SHORT}&y=1`, 'https://a.example/?y=1'],
    [`https://a.example/?a&connectoid=${SHORT}&b`, 'https://a.example/?a&b'],
    [`https://a.example/#connectoid=${FULL}&a=1`, 'https://a.example/#a=1'],
    [`https://a.example/#/l?connectoid=${FULL}&a=1`, 'https://a.example/#/l?a=1'],
    [`https://a.example/#/l?connectoid=${FULL}&connectoid=${SHORT}`, 'https://a.example/#/l'],
    [`https://a.example/#/l?a=1&connectoid=${FULL}&connectoid=${SHORT}&b=2`, 'https://a.example/#/l?a=1&b=2'],
    [`https://a.example/#/connectoid=${FULL}`, 'https://a.example/#/'],
    [`https://a.example/#!connectoid=${FULL}`, 'https://a.example/#!'],
    [`https://a.example/?connectoid=${SHORT}#connectoid=${FULL}`, 'https://a.example/'],
    ['https://a.example/?myconnectoid=1#/a?b=1', 'https://a.example/?myconnectoid=1#/a?b=1'],
    ['https://a.example/?q=x?#/a?', 'https://a.example/?q=x?#/a?'],
    ['https://a.example/', 'https://a.example/'],
  ]) {
    assert.equal(withoutConnectoid(url), without);
  }
  // However many there are, and soon.
  const many = `connectoid=${SHORT}&`.repeat(5000);
  assert.equal(withoutConnectoid(`https://a.example/?${many}#${many}`), 'https://a.example/');
  assert.equal(
    withoutConnectoid(`https://a.example/?${many}y=1#/l?a=1&${many}b=2`),
    'https://a.example/?y=1#/l?a=1&b=2',
  );
});

test('a frame is at most 16 KiB, in bytes', () => {
  const frame = `{"t":"later","x":"${'é'.repeat(8182)}`;
  assert.equal(utf8(`${frame}"}`).length, 16_384);
  assert.equal(parseFrame(`${frame}"}`), 'type');
  assert.equal(parseFrame(`${frame}"} `), 'too-big');
});
