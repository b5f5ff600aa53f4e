// The published vectors: what every implementation must reproduce, and what it must refuse, with its reason.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { decode, encode } from '../dist/base64url.js';
import { concat, equal, lp16, lp32, utf8 } from '../dist/bytes.js';
import { formatConnectoid, parseConnectoid } from '../dist/connectoid.js';
import { emoji, emojiNames } from '../dist/emoji.js';
import { formatFrame, parseFrame } from '../dist/frame.js';
import { compress, compressedBytes, publicKey, uncompressed } from '../dist/keys.js';
import { findConnectoid } from '../dist/link.js';
import { fingerprintOf } from '../dist/sdp.js';
import { hkdf, sha384 } from '../dist/seal/hash.js';
import { open, seal } from '../dist/seal/hpke.js';
import { hashOf, openMessage, readOffer, sealMessage } from '../dist/seal/message.js';
import { openQuestion } from '../dist/seal/question.js';
import { sasCommit, sasOf, transcript } from '../dist/seal/transcript.js';
import { boxKey, hex, signingKey, toHex, vectors } from './vectors.js';

const unhex = digits => (digits === null ? undefined : hex(digits));
const shown = bytes => (bytes === undefined ? null : toHex(bytes));

test('links', () => {
  const { connectoids, links, refused } = vectors('links');
  for (const { given, canonical, pub, relays, ext, secret } of connectoids) {
    const read = parseConnectoid(given);
    assert.equal(formatConnectoid(read), canonical);
    assert.deepEqual(
      [read.key, read.relays, read.ext ?? null, shown(read.secret)],
      [pub, relays, ext, secret],
      given,
    );
  }
  for (const { given, connectoid, place } of links) {
    const found = findConnectoid(given);
    assert.equal(formatConnectoid(found.connectoid), connectoid, given);
    assert.equal(found.place ?? null, place, given);
  }
  for (const { given, why } of refused) {
    assert.equal(findConnectoid(given), why, given);
  }
  assert.deepEqual([connectoids.length, links.length, refused.length], [10, 8, 30]);
});

/** Of public keys: private ones are never read from bytes here. */
test('keys', () => {
  const { good, refused } = vectors('keys');
  for (const text of good) {
    assert.equal(publicKey(text), text);
    assert.equal(compress(uncompressed(text)), text);
    assert.equal(encode(compressedBytes(text)), text);
  }
  for (const { given, why } of refused) {
    assert.equal(publicKey(given), undefined, why);
  }
  assert.deepEqual([good.length, refused.length], [3, 21]);
});

test('question', async () => {
  const { sk, relay, question, answer, refused, K, pub, t, r } = vectors('question');
  const key = await boxKey(hex(sk));
  assert.equal(key.pub, pub);
  assert.equal(await openQuestion(key, relay, question), answer);
  for (const { question, why } of refused) {
    assert.equal(await openQuestion(key, relay, question), undefined, why);
  }
  assert.equal(refused.length, 14);
  // What is sent back is what the relay's MAC is about.
  const head = concat(hex(t.toString(16).padStart(16, '0')), hex(r));
  const mac = createHmac('sha384', hex(K)).update(
    concat('connectoid/1 answer', lp16(relay), compressedBytes(pub), head),
  );
  assert.equal(encode(concat(head, mac.digest().subarray(0, 32))), answer);
});

test('messages', async () => {
  const { boxes, signers, good, refused, ts } = vectors('messages');
  const keys = {};
  for (const [name, { sk, pub, secret, psk }] of Object.entries(boxes)) {
    keys[name] = { key: await boxKey(hex(sk)), secret: unhex(secret) };
    assert.equal(keys[name].key.pub, pub);
    assert.equal(secret && toHex(await hkdf('connectoid/1 psk', hex(secret), 48, compressedBytes(pub))), psk);
  }
  const bob = await signingKey(hex(signers.bob.sk));
  assert.equal(bob.pub, signers.bob.ik);

  for (const { to, typ, n, payload, data, known } of good) {
    const { key, secret } = keys[to];
    const asked = [];
    const ask = re => {
      asked.push(re);
      return known ?? undefined;
    };
    const opened = await openMessage(key, secret, ask, decode(data));
    assert.equal(new TextDecoder().decode(opened.payload), payload);
    const { re } = JSON.parse(payload);
    assert.deepEqual([opened.content.typ, opened.n, opened.ts, opened.ik], [typ, n, ts, bob.pub]);
    assert.deepEqual(asked, known ? [typ === 'candidate' ? re : undefined] : []);
    if (known) {
      assert.equal(await openMessage(key, secret, () => undefined, decode(data)), 'signer');
    }
    assert.deepEqual(readOffer(opened.payload), typ === 'offer' ? opened.content : undefined);
    // The same payload, byte for byte, from what it says, and the same message but for what is random.
    const sealed = await sealMessage(key.pub, secret, bob, n, ts, opened.content);
    assert.equal(new TextDecoder().decode(sealed.payload), payload);
    assert.equal(sealed.data.length, decode(data).length);
    assert.deepEqual(await openMessage(key, secret, ask, sealed.data), opened);
  }
  for (const { name, to, why, known, data, envelope } of refused) {
    const { key, secret } = keys[to];
    const sealed = data === undefined ? await sealEnvelope(keys[to], envelope) : decode(data);
    const opened = await openMessage(key, secret, () => known ?? undefined, sealed);
    assert.equal(opened, why, name);
  }
  assert.deepEqual([good.length, refused.length], [20, 101]);
});

/** What `sealMessage` does once the envelope is there. */
async function sealEnvelope({ key, secret }, envelope) {
  const signed = lp32(envelope);
  const size = [4096, 8192, 16384].find(size => size >= signed.length + 114);
  const padded = new Uint8Array(size - 114);
  padded.set(signed);
  const psk = secret && (await hkdf('connectoid/1 psk', secret, 48, compressedBytes(key.pub)));
  return seal(key.pub, 'connectoid/1 message', utf8('connectoid/1\x01'), padded, psk);
}

test('connections', async () => {
  const { connections } = vectors('connections');
  assert.equal(connections.length, 2);
  for (const one of connections) {
    const [offer, answer] = [utf8(one.offer), utf8(one.answer)];
    const [said, reply] = [JSON.parse(one.offer), JSON.parse(one.answer)];
    assert.equal(await hashOf(offer), reply.re);
    const [rO, rA, nonceO, nonceA, fpO, fpA] = ['rO', 'rA', 'nonceO', 'nonceA', 'fpO', 'fpA'].map(name =>
      hex(one[name]),
    );
    const back = parseConnectoid(said.connectoid);
    assert.equal(toHex(back.secret), one.secretA);
    assert.equal(toHex(await sasCommit(rO, back.key, said.ik)), one.sasCommit);
    assert.equal(encode(hex(one.sasCommit)), said.sasCommit);
    assert.deepEqual([fingerprintOf(said.sdpOffer.sdp), fingerprintOf(reply.sdpAnswer.sdp)], [fpO, fpA]);

    assert.equal(toHex(await sha384('connectoid/1 transcript', lp32(offer), lp32(answer))), one.TH);
    const made = await transcript(offer, answer, unhex(one.secretO), hex(one.secretA));
    const sas = sasOf(await made.sas(rO, rA));
    assert.equal(toHex(sas.bytes), one.sas.raw);
    assert.equal(emoji(sas).join(' '), one.sas.emoji);
    assert.equal(emojiNames(sas).join(' '), one.sas.names);
    assert.deepEqual(sas.numbers, one.sas.numbers);

    const proofO = await made.proof('O', nonceA, nonceO, fpO, fpA);
    assert.equal(toHex(proofO), one.proofO);
    assert.equal(toHex(await made.proof('A', nonceO, nonceA, fpA, fpO)), one.proofA);
    assert.ok(equal(proofO, hex(one.proofO)));
    for (const { mac, why } of one.refusedFromOfferer) {
      assert.ok(!equal(proofO, hex(mac)), why);
    }
  }
});

test('fingerprints', () => {
  const { sdps } = vectors('sdp');
  for (const { sdp, fingerprint } of sdps) {
    assert.equal(shown(fingerprintOf(sdp)), fingerprint, sdp);
  }
  assert.equal(sdps.length, 20);
});

test('frames', () => {
  const { good, refused } = vectors('frames');
  for (const { given, fields, written } of good) {
    const frame = parseFrame(given);
    const read = Object.fromEntries(
      Object.entries(frame).map(([name, value]) => [
        name,
        value instanceof Uint8Array
          ? toHex(value)
          : typeof value === 'object'
            ? formatConnectoid(value)
            : value,
      ]),
    );
    const expected = Object.entries(fields).filter(([, value]) => value !== null);
    assert.deepEqual(read, Object.fromEntries(expected), given);
    assert.equal(formatFrame(frame), written);
  }
  for (const { given, why } of refused) {
    assert.equal(parseFrame(given), why, given);
  }
  assert.deepEqual([good.length, refused.length], [8, 29]);
});

/** One connection, fixed for version 1: Alice shares the link, Bob offers, Alice answers. */
test('the connection of version 1', async () => {
  const v = vectors('connectoid-1');
  const [alice, bob] = [await boxKey(hex(v.skA)), await boxKey(hex(v.skB))];
  const [signerA, signerB] = [await signingKey(hex(v.sigA)), await signingKey(hex(v.sigB))];
  const link = parseConnectoid(v.link);
  assert.equal(formatConnectoid(link), v.link);
  assert.deepEqual([link.key, link.relays], [alice.pub, [v.relay]]);
  assert.equal(await openQuestion(alice, v.relay, v.question.question), v.question.answer);

  const secretA = new Uint8Array(32).fill(8);
  const none = () => undefined;
  const offer = await openMessage(alice, link.secret, none, decode(v.offer.data));
  const answer = await openMessage(bob, secretA, none, decode(v.answer.data));
  assert.equal(await openMessage(alice, undefined, none, decode(v.offer.data)), 'seal');
  assert.deepEqual([offer.ik, answer.ik], [signerB.pub, signerA.pub]);
  assert.equal(new TextDecoder().decode(offer.payload), v.offer.payload);
  assert.equal(new TextDecoder().decode(answer.payload), v.answer.payload);
  assert.equal(answer.content.re, 'PZpbts39WwVuXKNQT9fHDiX7ZQ2woHxBCgzVwglbwoUIsyId6g-oiX7I76_SXdXX');
  assert.equal(await hashOf(offer.payload), answer.content.re);
  const { connectoid, sasCommit: commit, sdp } = offer.content;
  assert.deepEqual(connectoid, { key: bob.pub, relays: [v.relay], secret: secretA });
  assert.deepEqual(await sasCommit(hex(v.rO), bob.pub, offer.ik), commit);

  const made = await transcript(offer.payload, answer.payload, link.secret, secretA);
  const sas = sasOf(await made.sas(hex(v.rO), answer.content.sasNonce));
  assert.equal(toHex(sas.bytes), '6793d17cef3c28ef');
  assert.equal(emoji(sas).join(' '), '🍓 🎸 🌷 🌵 🤖 🦋 ⚓');
  assert.deepEqual(sas.numbers, [4314, 4909, 8799]);
  const [fpO, fpA] = [fingerprintOf(sdp), fingerprintOf(answer.content.sdp)];
  assert.deepEqual([toHex(fpO), toHex(fpA)], [v.fpO, v.fpA]);
  const [nonceO, nonceA] = [hex(v.nonceO), hex(v.nonceA)];
  assert.equal(toHex(await made.proof('O', nonceA, nonceO, fpO, fpA)), v.proofO);
  assert.equal(toHex(await made.proof('A', nonceO, nonceA, fpA, fpO)), v.proofA);
});

/** Vectors of others for the same suite, since RFC 9180 has none for P-384: RFC 9420's EncryptWithLabel is a base-mode seal. */
test('mls opens', async () => {
  const { priv, label, context, kem_output, ciphertext, plaintext } =
    vectors('mls-encrypt-with-label').encrypt_with_label;
  // MLS carries keys behind their length. Label and context are shorter than 64 bytes, so their lengths are one byte.
  const key = await boxKey(hex(priv).subarray(1));
  const named = utf8(`MLS 1.0 ${label}`);
  const info = concat(Uint8Array.of(named.length), named, Uint8Array.of(hex(context).length), hex(context));
  const sealed = concat(Uint8Array.of(1), hex(kem_output), hex(ciphertext));
  assert.equal(shown(await open(key, info, new Uint8Array(), sealed)), plaintext);
});
