// HPKE against npm's `hpke`, both ways; and what seals must not do.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as hpke from 'hpke';

import { decode, encode } from '../dist/base64url.js';
import { concat, lp32, utf8 } from '../dist/bytes.js';
import {
  compress,
  compressedBytes,
  generateBoxKey,
  generateSigningKey,
  isPoint,
  sign,
  uncompressed,
  verify,
} from '../dist/keys.js';
import { expand, hkdf, hmac } from '../dist/seal/hash.js';
import { open, seal } from '../dist/seal/hpke.js';
import { openMessage, sealMessage } from '../dist/seal/message.js';
import { openQuestion } from '../dist/seal/question.js';
import { hex, toHex } from './vectors.js';

const SUITE = new hpke.CipherSuite(
  hpke.KEM_DHKEM_P384_HKDF_SHA384,
  hpke.KDF_HKDF_SHA384,
  hpke.AEAD_AES_256_GCM,
);
const PSK_ID = utf8('connectoid/1 psk');
const INFO = 'what it is for';
const AAD = utf8('beside it');
const SDP = `v=0\r\na=fingerprint:sha-256 ${Array(32).fill('5B').join(':')}\r\n`;

const bytes = (length, value) => new Uint8Array(length).fill(value);

for (const [mode, psk] of [
  ['base', undefined],
  ['PSK', bytes(48, 5)],
]) {
  test(`hpke in ${mode} mode, both ways`, async () => {
    const options = { info: utf8(INFO), aad: AAD, ...(psk && { psk, pskId: PSK_ID }) };
    for (const plaintext of [new Uint8Array(), utf8('hello'), bytes(16_270, 7)]) {
      // Ours to theirs.
      const pair = await SUITE.GenerateKeyPair(true);
      const raw = await SUITE.SerializePublicKey(pair.publicKey);
      const pub = compress(raw);
      const ours = await seal(pub, INFO, AAD, plaintext, psk);
      assert.equal(ours.length, plaintext.length + 114);
      assert.equal(ours[0], 1);
      const [enc, ct] = [ours.subarray(1, 98), ours.subarray(98)];
      assert.deepEqual(Uint8Array.from(await SUITE.Open(pair, enc, ct, options)), plaintext);
      // Theirs to ours.
      const key = await generateBoxKey(false);
      const to = await SUITE.DeserializePublicKey(uncompressed(key.pub));
      const theirs = await SUITE.Seal(to, plaintext, options);
      const sealed = concat(Uint8Array.of(1), theirs.encapsulatedSecret, theirs.ciphertext);
      assert.deepEqual(await open(key, INFO, AAD, sealed, psk), plaintext);
    }
  });
}

test('only the same key, mode and purpose open', async () => {
  const [key, other] = [await generateBoxKey(false), await generateBoxKey(false)];
  const psk = bytes(48, 5);
  const sealed = await seal(key.pub, INFO, AAD, utf8('hello'), psk);
  assert.deepEqual(await open(key, INFO, AAD, sealed, psk), utf8('hello'));
  assert.equal(await open(other, INFO, AAD, sealed, psk), undefined);
  assert.equal(await open(key, INFO, AAD, sealed), undefined);
  assert.equal(await open(key, INFO, AAD, sealed, bytes(48, 6)), undefined);
  assert.equal(await open(key, 'other', AAD, sealed, psk), undefined);
  assert.equal(await open(key, INFO, utf8('other'), sealed, psk), undefined);
  for (let i = 0; i < sealed.length; i += 1) {
    const changed = sealed.slice();
    changed[i] ^= 1;
    assert.equal(await open(key, INFO, AAD, changed, psk), undefined, `byte ${i}`);
    assert.equal(await open(key, INFO, AAD, sealed.subarray(0, i), psk), undefined, `cut at ${i}`);
  }
});

/** HPKE binds the bytes of the key as they stand, so here `isPoint` is asked itself: what it takes, every sender could use. */
test('an encapsulated key has one spelling, and is on the curve', async () => {
  const point = uncompressed((await generateBoxKey(false)).pub);
  assert.ok(isPoint(point));
  const changed = (index, byte) => point.with(index, byte);
  const parity = point[96] & 1;
  // The point with x = 2, and the same with x not reduced.
  const two = uncompressed('AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAg');
  assert.ok(isPoint(two));
  const p =
    'fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff';
  const two_and_p = concat(Uint8Array.of(4), hex((BigInt(`0x${p}`) + 2n).toString(16)), two.subarray(49));
  for (const wrong of [
    changed(0, 6 + parity),
    changed(0, 2 + parity),
    changed(0, 0),
    changed(96, point[96] ^ 1),
    changed(1, point[1] ^ 1),
    two_and_p,
    new Uint8Array(97),
    new Uint8Array(),
    point.subarray(0, 96),
    concat(point, Uint8Array.of(0)),
    concat(Uint8Array.of(2 + parity), point.subarray(1, 49)),
  ]) {
    assert.ok(!isPoint(wrong), toHex(wrong));
  }
});

/** OpenSSL takes points in hybrid spelling (06 and 07), too: who seals with one must not be understood here, and nowhere else. */
test('a sender cannot choose the spelling of its key', async () => {
  const key = await generateBoxKey(false);
  const to = uncompressed(key.pub);
  const ECDH = { name: 'ECDH', namedCurve: 'P-384' };
  const pair = await crypto.subtle.generateKey(ECDH, false, ['deriveBits']);
  const point = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  const other = await crypto.subtle.importKey('raw', to, ECDH, false, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ ...ECDH, public: other }, pair.privateKey, 384));
  // RFC 9180 by hand, with any bytes as `enc`.
  const [kem, suite] = ['HPKE-v1KEM\x00\x11', 'HPKE-v1HPKE\x00\x11\x00\x02\x00\x02'];
  const sealed = async enc => {
    const prk = await hmac('', kem, 'eae_prk', dh);
    const shared = await expand(prk, 48, Uint8Array.of(0, 48), kem, 'shared_secret', enc, to);
    const hashes = [await hmac('', suite, 'psk_id_hash'), await hmac('', suite, 'info_hash', INFO)];
    const scheduled = concat(Uint8Array.of(0), ...hashes);
    const secret = await hmac(shared, suite, 'secret');
    const derive = (label, length) =>
      expand(secret, length, Uint8Array.of(0, length), suite, label, scheduled);
    const aes = await crypto.subtle.importKey('raw', await derive('key', 32), 'AES-GCM', false, ['encrypt']);
    const gcm = { name: 'AES-GCM', iv: await derive('base_nonce', 12), additionalData: AAD };
    const ct = new Uint8Array(await crypto.subtle.encrypt(gcm, aes, utf8('hello')));
    return concat(Uint8Array.of(1), enc, ct);
  };
  assert.deepEqual(await open(key, INFO, AAD, await sealed(point)), utf8('hello'));
  assert.equal(await open(key, INFO, AAD, await sealed(point.with(0, 6 + (point[96] & 1)))), undefined);
});

test('what nobody sealed is refused, whatever it is', async () => {
  const key = await generateBoxKey(false);
  for (const wrong of [
    new Uint8Array(),
    bytes(1, 1),
    bytes(114, 1),
    bytes(4096, 0),
    crypto.getRandomValues(bytes(4096, 0)),
  ]) {
    assert.equal(await open(key, INFO, AAD, wrong), undefined);
    assert.equal(await openMessage(key, undefined, () => undefined, wrong), 'seal');
  }
  for (const wrong of ['', 'A', 'AQ', 'hello!', 'A'.repeat(227)]) {
    assert.equal(await openQuestion(key, 'https://connecto.id', wrong), undefined);
  }
});

test('private keys cannot be read out', async () => {
  const [box, signer] = [await generateBoxKey(false), await generateSigningKey(false)];
  for (const { key } of [box, signer]) {
    for (const format of ['pkcs8', 'jwk']) {
      await assert.rejects(crypto.subtle.exportKey(format, key), /extractable/);
    }
  }
  assert.deepEqual(box.key.usages, ['deriveBits']);
  assert.deepEqual(signer.key.usages, ['sign']);
  const open = await generateBoxKey(true);
  assert.equal((await crypto.subtle.exportKey('jwk', open.key)).crv, 'P-384');
});

test('a signature holds for its bytes and signer', async () => {
  const [signer, other] = [await generateSigningKey(false), await generateSigningKey(false)];
  const signature = await sign(signer, utf8('hello'));
  assert.equal(signature.length, 96);
  assert.equal(await verify(signer.pub, signature, utf8('hello')), true);
  assert.equal(await verify(signer.pub, signature, utf8('hallo')), false);
  assert.equal(await verify(other.pub, signature, utf8('hello')), false);
  for (const wrong of [signature.subarray(0, 95), new Uint8Array(), bytes(96, 0), bytes(97, 1)]) {
    assert.equal(await verify(signer.pub, wrong, utf8('hello')), false);
  }
});

/** RFC 4231 has no vector for an empty key; Python: hmac.new(b"", b"abc", "sha384").hexdigest() */
test('hmac takes an empty key', async () => {
  assert.equal(
    toHex(await hmac('', 'a', utf8('bc'))),
    '948f7c5caa500c31d7d4a0f52f3e3da7e33c8a9fe6ef528b8a9ac3e4adc4e24d908e6f40b737510e82354759dc5e9f06',
  );
});

/** Node's own HKDF, with the info in one part. */
test('hkdf is that of others', async () => {
  const base = await crypto.subtle.importKey('raw', bytes(64, 5), 'HKDF', false, ['deriveBits']);
  for (const salt of [bytes(48, 0), bytes(16, 0xff)]) {
    const params = { name: 'HKDF', hash: 'SHA-384', salt, info: utf8('two parts') };
    for (const length of [8, 12, 32, 48]) {
      const theirs = new Uint8Array(await crypto.subtle.deriveBits(params, base, length * 8));
      assert.deepEqual(await hkdf(salt, bytes(64, 5), length, 'two ', utf8('parts')), theirs);
    }
  }
});

test('a message takes the smallest of three sizes, and no more than the largest', async () => {
  const [key, signer] = [await generateBoxKey(false), await generateSigningKey(false)];
  const secret = bytes(32, 7);
  const size = async (length, n = 1) => {
    const content = { typ: 'note', note: bytes(length, 1) };
    return (await sealMessage(key.pub, secret, signer, n, 1_795_170_000_000, content))?.data.length;
  };
  assert.deepEqual(
    await Promise.all([0, 1900, 2000, 4200, 4300, 8892].map(length => size(length))),
    [4096, 4096, 8192, 8192, 16_384, 16_384],
  );
  // 8,892 bytes with the longest counter there is.
  assert.equal(await size(8892, Number.MAX_SAFE_INTEGER), 16_384);
  assert.equal(await size(8893, Number.MAX_SAFE_INTEGER), undefined);
  assert.equal(await size(8920), undefined);
});

test('what no receiver would take is not sealed', async () => {
  const [key, signer] = [await generateBoxKey(false), await generateSigningKey(false)];
  const re = 'A'.repeat(64);
  const back = { key: key.pub, relays: ['https://connecto.id'], secret: bytes(32, 8) };
  const sealed = (content, n = 1, ts = 0) => sealMessage(key.pub, undefined, signer, n, ts, content);
  const candidate = { candidate: 'candidate:1 1 udp 1 192.0.2.1 9 typ host', sdpMLineIndex: 0 };
  for (const good of [
    { typ: 'offer', connectoid: back, sasCommit: bytes(48, 1), sdp: SDP },
    { typ: 'answer', re, sasNonce: bytes(32, 1), sdp: SDP },
    { typ: 'candidate', re, candidates: Array(32).fill(candidate) },
    { typ: 'refuse', re, reason: 'declined' },
    { typ: 'bye' },
  ]) {
    const { data } = await sealed(good);
    const opened = await openMessage(key, undefined, () => signer.pub, data);
    assert.deepEqual(opened.content, good);
    assert.deepEqual([opened.n, opened.ts, opened.ik], [1, 0, signer.pub]);
  }
  const { secret: _, ...withoutSecret } = back;
  for (const wrong of [
    { typ: 'offer', connectoid: withoutSecret, sasCommit: bytes(48, 1), sdp: SDP },
    { typ: 'offer', connectoid: back, sasCommit: bytes(47, 1), sdp: SDP },
    { typ: 'offer', connectoid: back, sasCommit: bytes(48, 1), sdp: 'v=0\r\n' },
    { typ: 'offer', connectoid: back, sasCommit: bytes(48, 1), sdp: `${SDP}\ud800` },
    { typ: 'answer', re: 'hello', sasNonce: bytes(32, 1), sdp: SDP },
    { typ: 'candidate', re, candidates: [] },
    { typ: 'candidate', re, candidates: Array(33).fill(candidate) },
    { typ: 'candidate', re, candidates: [candidate, []] },
    { typ: 'candidate', re, candidates: [candidate, 1.5] },
    { typ: 'refuse', re, reason: 'tired' },
  ]) {
    assert.equal(await sealed(wrong), undefined, JSON.stringify(wrong));
  }
  for (const wrong of [-1, 1.5, 2 ** 53, Number.NaN]) {
    assert.equal(await sealed({ typ: 'bye' }, wrong), undefined);
    assert.equal(await sealed({ typ: 'bye' }, 1, wrong), undefined);
  }
});

test('an envelope ends where it says, and what a message is about comes before who signed it', async () => {
  const [key, signer] = [await generateBoxKey(false), await generateSigningKey(false)];
  /** A message signed as it should be, whose envelope fills all of the plaintext, and says that it were `more` longer. */
  const signed = async (fields, more) => {
    const payload = encode(utf8(JSON.stringify({ v: 1, n: 1, ts: 0, to: key.pub, ...fields })));
    const sig = encode(await sign(signer, concat('connectoid/1 sig\0', payload)));
    const envelope = lp32(JSON.stringify({ alg: 'ES384', payload, sig }).padEnd(3978));
    new DataView(envelope.buffer).setUint32(0, 3978 + more);
    return seal(key.pub, 'connectoid/1 message', utf8('connectoid/1\x01'), envelope);
  };
  const opened = async (sealed, known) => openMessage(key, undefined, () => known, await sealed);
  assert.deepEqual((await opened(signed({ typ: 'bye' }, 0), signer.pub)).content, { typ: 'bye' });
  assert.equal(await opened(signed({ typ: 'bye' }, 1), signer.pub), 'envelope');
  assert.equal(await opened(signed({ typ: 'bye' }, 2 ** 32 - 3979), signer.pub), 'envelope');
  assert.equal(await opened(signed({ typ: 'candidate', re: 'A'.repeat(64) }, 0)), 'signer');
  assert.equal(await opened(signed({ typ: 'candidate', re: 'A'.repeat(63) }, 0)), 'envelope');
  assert.equal(await opened(signed({ typ: 'candidate' }, 0)), 'envelope');
});

test('what sealing is about is bound to it', async () => {
  // A message is no question, and a question no message: both are sealed to the same key.
  const [key, signer] = [await generateBoxKey(false), await generateSigningKey(false)];
  const { data } = await sealMessage(key.pub, undefined, signer, 1, 0, { typ: 'bye' });
  assert.equal(await openQuestion(key, 'https://connecto.id', encode(data)), undefined);
  const aad = concat(Uint8Array.of(0, 19), 'https://connecto.id', compressedBytes(key.pub));
  const question = async (length, info = 'connectoid/1 question') =>
    encode(await seal(key.pub, info, aad, bytes(length, 1)));
  assert.equal(await openQuestion(key, 'https://connecto.id', await question(56)), encode(bytes(56, 1)));
  assert.equal(await openQuestion(key, 'https://other.example', await question(56)), undefined);
  assert.equal(
    await openQuestion(key, 'https://connecto.id', await question(56, 'connectoid/1 message')),
    undefined,
  );
  for (const length of [0, 55, 57, 3982]) {
    assert.equal(await openQuestion(key, 'https://connecto.id', await question(length)), undefined);
  }
  assert.equal(await openMessage(key, undefined, () => undefined, decode(await question(56))), 'seal');
});
