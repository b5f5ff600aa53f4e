// The rules of a contact that need no relay and no time.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  connectoidOf,
  count,
  generateBox,
  hasExpired,
  isLedHereBy,
  linkedContact,
  mayExchange,
  movesTo,
  offersFrom,
  peerAt,
  peerSignsWith,
  pinned,
  readBoxes,
  sharedContact,
  signingKey,
  takeNote,
} from '../dist/contact.js';
import { generateSigningKey } from '../dist/keys.js';
import { afterTries, triesBy } from '../dist/sessions/connect.js';

const RELAY = 'https://connecto.id';
const turn = {
  now: 5,
  elapsed: 0,
  random: length => Uint8Array.from(randomBytes(length)),
  extractable: false,
};
const box = (relay = RELAY) => generateBox(turn, [relay]);
const contact = async () => sharedContact('Bob', await box(), Infinity, 5);
const newKey = async () => (await generateSigningKey(false)).pub;
const note = (ik, n, length = 1) => ({ relay: RELAY, ik, n, ts: 5, note: new Uint8Array(length) });
/** A note to the box of the link. */
const take = (bob, letter) => takeNote(bob, bob.boxes[0].key.pub, letter);

/** Somebody who connected by the link. */
async function connected() {
  const bob = await contact();
  bob.peer = peerAt(connectoidOf(await box()));
  peerSignsWith(bob, await newKey());
  bob.peer.pinned = true;
  bob.link.state = 'connected';
  return bob;
}

test('each counter counts once', async () => {
  const bob = await contact();
  const ik = await newKey();
  for (const n of [5, 3, 100, 4]) {
    assert.equal(take(bob, note(ik, n)), undefined, n);
    assert.equal(take(bob, note(ik, n)), 'repeated', n);
  }
  for (let n = 101; n < 200; n++) assert.equal(take(bob, note(ik, n)), undefined, n);
  // 64 are remembered, 136 to 199; all below count as seen.
  for (const n of [1, 5, 100, 135, 136, 199]) assert.equal(take(bob, note(ik, n)), 'repeated', n);
  assert.equal(take(bob, note(ik, 200)), undefined);
  assert.equal(bob.seen[0].n.length, 64);
  assert.deepEqual([bob.seen[0].n[0], bob.seen[0].n[63]], [137, 200]);
});

test('the window is of the highest, in whichever order they come', () => {
  const seen = [];
  for (let n = 64; n >= 1; n--) assert.ok(count(seen, n), n);
  assert.deepEqual(
    seen,
    Array.from({ length: 64 }, (_, index) => index + 1),
  );
  assert.ok(!count(seen, 0));
  assert.ok(count(seen, 65));
  assert.ok(!count(seen, 1));
});

test('signers of notes are remembered for ever, up to 1024', async () => {
  const bob = await contact();
  const some = await newKey();
  bob.seen = Array.from({ length: 1023 }, () => ({ ik: some, n: [] }));
  assert.equal(take(bob, note(await newKey(), 1)), undefined);
  assert.equal(take(bob, note(await newKey(), 1)), 'too-many-signers');
  assert.equal(take(bob, note(some, 1)), undefined);
});

test('an inbox holds 256 notes or a mebibyte, and what finds no room is not counted', async () => {
  const ik = await newKey();
  let bob = await contact();
  for (let n = 1; n <= 256; n++) assert.equal(take(bob, note(ik, n)), undefined, n);
  assert.equal(take(bob, note(ik, 257)), 'inbox-full');
  bob.inbox = [];
  assert.equal(take(bob, note(ik, 257)), undefined);
  bob = await contact();
  assert.equal(take(bob, note(ik, 1, 1_048_577)), 'inbox-full');
  assert.equal(take(bob, note(ik, 1, 1_048_575)), undefined);
  assert.equal(take(bob, note(ik, 2, 2)), 'inbox-full');
  assert.equal(take(bob, note(ik, 2, 1)), undefined);
});

test('anyone writes notes to a link, and only the pinned key to other boxes', async () => {
  const bob = await connected();
  const theirs = pinned(bob);
  const stranger = await newKey();
  bob.boxes.push(await box());
  const [link, later] = bob.boxes.map(own => own.key.pub);
  assert.equal(takeNote(bob, link, note(stranger, 1)), undefined);
  assert.equal(takeNote(bob, later, note(stranger, 2)), 'unknown-signer');
  assert.equal(takeNote(bob, later, note(theirs, 1)), undefined);
  assert.equal(takeNote(bob, link, note(theirs, 1)), 'repeated');
  bob.peer.pinned = false;
  assert.equal(takeNote(bob, later, note(theirs, 2)), 'unknown-signer');
  assert.equal(takeNote(bob, link, note(theirs, 2)), undefined);
  bob.link.state = 'closed';
  assert.equal(takeNote(bob, link, note(stranger, 3)), 'unknown-signer');
});

test('who wrote notes before the offer keeps the counters of the notes', async () => {
  const bob = await contact();
  const [theirs, stranger] = [await newKey(), await newKey()];
  for (const ik of [theirs, stranger]) assert.equal(take(bob, note(ik, 7)), undefined);
  bob.peer = peerAt(connectoidOf(await box()));
  peerSignsWith(bob, theirs);
  assert.deepEqual([bob.peer.ik, bob.peer.seen, bob.peer.pinned], [theirs, [7], false]);
  assert.deepEqual(bob.seen, [{ ik: stranger, n: [7] }]);
  // The same key again keeps them, another has none.
  bob.peer.unanswered = { payload: new Uint8Array(1), to: bob.boxes[0].key.pub, came: 5 };
  peerSignsWith(bob, theirs);
  assert.ok(bob.peer.seen.length && bob.peer.unanswered);
  peerSignsWith(bob, await newKey());
  assert.deepEqual([bob.peer.seen, bob.peer.unanswered], [[], undefined]);
});

test('a link expires, but who claimed it in time may still connect', async () => {
  const bob = await contact();
  assert.ok(!hasExpired(bob, Number.MAX_SAFE_INTEGER), 'it has no end');
  bob.link.expires = 604_800_000;
  assert.ok(!hasExpired(bob, 604_799_999));
  assert.ok(hasExpired(bob, 604_800_000));
  Object.assign(bob.link, { state: 'claimed', claimed: 604_000_000 });
  assert.ok(!hasExpired(bob, 604_800_000));
  assert.ok(!hasExpired(bob, 604_000_000 + 172_799_999));
  assert.ok(hasExpired(bob, 604_000_000 + 172_800_000));
  bob.peer = { ...peerAt(connectoidOf(bob.boxes[0])), ik: await newKey(), pinned: true };
  assert.ok(!hasExpired(bob, Number.MAX_SAFE_INTEGER));
});

test('which boxes are read', async () => {
  const bob = await contact();
  assert.equal(readBoxes(bob).length, 1);
  bob.link.state = 'closed';
  assert.deepEqual(readBoxes(bob), [], 'closed before anybody connected');
  const connectedBob = await connected();
  connectedBob.link.state = 'closed';
  assert.equal(readBoxes(connectedBob).length, 1);
  connectedBob.leaving = 'own';
  assert.deepEqual(readBoxes(connectedBob), []);
});

test('whether app data may flow', async () => {
  const bob = await connected();
  assert.equal(mayExchange(bob), true);
  bob.unproven = true;
  assert.equal(mayExchange(bob), false);
  bob.verification = 'verified';
  assert.equal(mayExchange(bob), true);
  bob.verification = 'mismatch';
  assert.equal(mayExchange(bob), false);
  Object.assign(bob, { unproven: false, verification: 'verified' });
  bob.peer.pinned = false;
  assert.equal(mayExchange(bob), false);
});

test('a link without a secret, and one that came in a query, proves nothing', async () => {
  const link = connectoidOf(await box());
  const { secret, ...bare } = link;
  assert.equal(secret.length, 32);
  const unproven = (connectoid, seen) => linkedContact('Al', own, connectoid, seen, 5).unproven;
  const own = await box();
  assert.deepEqual([unproven(link, false), unproven(link, true), unproven(bare, false)], [false, true, true]);
  const without = await box();
  delete without.secret;
  assert.equal(sharedContact('Bob', without, Infinity, 5).unproven, true);
  assert.equal(sharedContact('Bob', own, Infinity, 5).unproven, false);
});

test('the other side does not lead to this machine', async () => {
  const bob = await contact();
  const at = async relay => connectoidOf(await box(relay));
  for (const relay of ['http://127.0.0.1:631', 'http://localhost', 'https://[::1]:8443/x']) {
    assert.ok(isLedHereBy(bob, await at(relay)), relay);
  }
  assert.ok(!isLedHereBy(bob, await at(RELAY)));
  // Who tries it out on one machine has a relay here.
  bob.boxes = [await box('http://127.0.0.1:8080')];
  assert.ok(!isLedHereBy(bob, await at('http://127.0.0.1:8080')));
});

test('an old offer brings no old box back', async () => {
  const [link, first, second, other] = await Promise.all(
    [0, 1, 2, 3].map(async () => connectoidOf(await box())),
  );
  const peer = peerAt(link);
  assert.ok(offersFrom(peer, first, 3));
  assert.ok(!offersFrom(peer, first, 3) && !offersFrom(peer, other, 2), 'overtaken');
  assert.ok(count(peer.seen, 3));
  movesTo(peer, second);
  // Sent before the move, delivered after it: its counter is new, its box is not.
  assert.ok(!offersFrom(peer, first, 4));
  assert.equal(peer.connectoid, second);
});

test('an offer made before a move does not count after it', async () => {
  const [link, second, never] = await Promise.all([0, 1, 2].map(async () => connectoidOf(await box())));
  const peer = peerAt(link);
  for (const n of [2, 5, 3]) assert.ok(count(peer.seen, n));
  movesTo(peer, second);
  for (const n of [1, 4, 5]) assert.ok(!offersFrom(peer, never, n), n);
  assert.equal(peer.connectoid, second);
  assert.ok(offersFrom(peer, never, 6));
  assert.equal(peer.connectoid, never);
});

test('sixteen boxes that were replaced are remembered', async () => {
  const boxes = await Promise.all(Array.from({ length: 18 }, async () => connectoidOf(await box())));
  const peer = peerAt(boxes[0]);
  for (const connectoid of boxes.slice(1)) movesTo(peer, connectoid);
  assert.equal(peer.replaced.length, 16);
  assert.ok(!offersFrom(peer, boxes[1], 1));
  assert.ok(offersFrom(peer, boxes[0], 1), 'the seventeenth is forgotten');
});

test('a signing key is made once, and nobody can read it out', async () => {
  const bob = await contact();
  const key = await signingKey(bob, false);
  assert.equal(await signingKey(bob, false), key);
  assert.equal(bob.signer.key, key);
  assert.deepEqual([key.key.extractable, bob.boxes[0].key.key.extractable], [false, false]);
  const readable = await generateBox({ ...turn, extractable: true }, [RELAY], 'a2V5');
  assert.deepEqual([readable.key.key.extractable, readable.ext], [true, 'a2V5']);
});

test('offers that were missed are not made up for', () => {
  const minutes = (tries, passed) => afterTries(triesBy(tries, passed * 60_000)) / 60_000;
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map(tries => minutes(tries, 0)),
    [0, 5, 15, 50, 110, 170],
  );
  assert.equal(minutes(0, 600), 0, 'the first is due whenever it is');
  assert.equal(minutes(1, 600), 650, 'after ten hours asleep');
  assert.equal(minutes(2, 15), 50);
});
