// What can happen to a link on its way, and that its secret is in nothing that a relay sees.

import assert from 'node:assert/strict';
import test from 'node:test';
import { formatConnectoid } from '../../dist/connectoid.js';
import { boxesOf, deliver, noteOf, offerFrom, sealedBy, stranger } from './strangers.js';
import { DAY, HOUR, MINUTE, OTHER, RELAY, SECOND, World } from './world.js';

const alarm = { alarm: 'link-used-twice' };

test('a link replaced on its way shows in the emoji', async () => {
  // Mallory takes the link of Alice (as end 2), and gives Bob one of her own (as end 3).
  const world = new World(31, 4);
  const fromAlice = await world.share(0, 'Bob');
  const fromMallory = await world.share(3, 'Bob');
  await world.foreground(0);
  await world.foreground(3);
  await world.connect(2, fromAlice, 'Alice');
  await world.connect(1, fromMallory, 'Alice');
  await world.mustRun(MINUTE, () => [0, 1, 2, 3].every(end => world.connected(end) === 1));
  const string = (end, name) => world.contact(end, name).sas;
  assert.deepEqual(string(0, 'Bob'), string(2, 'Alice'));
  assert.deepEqual(string(1, 'Alice'), string(3, 'Bob'));
  assert.notDeepEqual(string(0, 'Bob'), string(1, 'Alice'));
  await world.verify(0, false);
  await world.pass(SECOND);
  assert.equal(world.told(2, 'disconnected'), 1);
});

test('a thief who is first is told to both', async () => {
  const world = new World(32, 3);
  const link = await world.share(0, 'Bob');
  await world.connect(2, link, 'Alice');
  await world.mustRun(5 * MINUTE, () => world.connected(2) === 1);
  await world.connect(1, link, 'Alice');
  await world.pass(3 * MINUTE);
  assert.equal(world.told(1, 'link-used', { contact: 'Alice' }), 1);
  assert.equal(world.told(0, 'alarm', alarm), 1, world.story());
  assert.equal(world.connected(1), 0, 'Bob waits, or was told; he is never connected');
});

test('a thief who is second gets nothing, and the alarm is said at each start until the strings were compared', async () => {
  const world = await World.ofTwo(33, MINUTE, { ends: 3 });
  await world.connect(2, boxesOf(world, 0)[0], 'Alice');
  await world.pass(3 * MINUTE);
  assert.equal(world.connected(2), 0);
  assert.equal(world.told(2, 'link-used'), 1);
  assert.equal(world.told(0, 'alarm', alarm), 1);
  await world.restart(0);
  assert.equal(world.told(0, 'alarm', alarm), 2);
  await world.verify(0, true);
  await world.restart(0);
  assert.equal(world.told(0, 'alarm', alarm), 2);
});

test('a link that is used again after two days is nobody’s', async () => {
  const world = await World.ofTwo(34, 49 * HOUR, { ends: 3 });
  const { own } = [...world.boxes.values()].find(({ end }) => end === 0);
  await world.connect(2, { key: own.key.pub, secret: own.secret, relays: own.relays }, 'Alice');
  await world.pass(10 * MINUTE);
  assert.equal(world.told(0, 'alarm'), 0);
  assert.equal(world.told(2, 'link-used'), 0);
  assert.equal(world.connected(2), 0);
});

test('a link that nobody uses expires, and one that was claimed has 48 hours', async () => {
  const world = new World(35, 3);
  const link = await world.share(0, 'Bob', { expiresIn: DAY });
  const other = await world.share(0, 'Carol', { expiresIn: DAY });
  await world.pass(DAY - MINUTE);
  assert.equal(world.told(0, 'link-expired'), 0);
  const { signer, connectoid } = await stranger();
  await deliver(world, 0, other.key, await sealedBy(signer, 1, other, offerFrom(connectoid)));
  assert.equal(world.told(0, 'claimed', { contact: 'Carol' }), 1);
  await world.pass(10 * MINUTE);
  assert.equal(world.told(0, 'link-expired', { contact: 'Bob' }), 1);
  assert.equal(world.told(0, 'link-expired', { contact: 'Carol' }), 0);
  const before = world.relays[0].seen.length;
  await world.connect(1, link, 'Alice');
  await world.pass(10 * MINUTE);
  assert.equal(world.connected(1), 0);
  const asked = world.requests(before).filter(({ boxes }) => boxes?.some(({ key }) => key === link.key));
  assert.equal(asked.length, 0, 'its box is not read any more');
  await world.disconnect(1);
  await world.pass(48 * HOUR);
  assert.equal(world.told(0, 'link-expired', { contact: 'Carol' }), 1);
});

test('a link may be open for ever', async () => {
  const world = new World(36);
  const link = await world.share(0, 'Bob', { expiresIn: Infinity });
  await world.pass(60 * DAY);
  assert.equal(world.told(0, 'link-expired'), 0);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 3 * MINUTE);
});

test('a note does not claim a link', async () => {
  const world = new World(37);
  const link = await world.share(0, 'Bob');
  const { signer } = await stranger();
  await deliver(world, 0, link.key, await sealedBy(signer, 1, link, noteOf('hello')));
  assert.equal(world.contact(0).link.state, 'open');
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 3 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['hello']);
});

test('a former contact reaches nobody', async () => {
  const world = await World.ofTwo(38);
  // The copy that Bob made of his keys meanwhile.
  const copy = structuredClone(world.ends[1].disk);
  await world.unshare(0);
  await world.pass(3 * MINUTE);
  world.ends[1].disk = copy;
  for (const relay of world.relays) relay.loseAll();
  await world.restart(1);
  const before = world.events.length;
  await world.reconnect(1);
  await world.pass(20 * MINUTE);
  assert.ok(
    world.events.slice(before).every(({ end }) => end === 1),
    world.story(),
  );
  assert.equal(world.connected(0), 1);
});

test('no secret and no private key is in anything that a relay sees', async () => {
  const world = new World(39, 2, [RELAY, OTHER], { extractable: true });
  world.lateCandidates = true;
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, MINUTE);
  await world.note(1, 'a note');
  await world.pass(MINUTE);
  await world.disconnect(0);
  await world.reconnect(0);
  await world.bothConnected(2, 3 * MINUTE);
  await world.unshare(1);
  await world.pass(3 * MINUTE);

  assert.ok(world.boxes.size >= 4, 'of both, before and after the new boxes');
  const secrets = [];
  for (const { own } of world.boxes.values()) {
    secrets.push(Buffer.from(own.secret));
    const { d } = await crypto.subtle.exportKey('jwk', own.key.key);
    secrets.push(Buffer.from(d, 'base64url'));
  }
  for (const { seen } of world.relays) {
    assert.ok(seen.length > 20);
    for (const { body } of seen) for (const secret of secrets) assert.ok(!contains(body, secret), body);
  }
  // And would be found.
  assert.ok(contains(`{"ext":"${formatConnectoid(link).replaceAll('.', '~')}"}`, Buffer.from(link.secret)));
});

test('the search for a secret finds it', () => {
  const secret = Buffer.from(Array.from({ length: 32 }, (_, byte) => (byte * 37) ^ 0xe5));
  const hex = secret.toString('hex');
  for (const planted of [hex, hex.toUpperCase(), secret.toString('latin1')])
    assert.ok(contains(`{${planted}}`, secret));
  for (let before = 0; before < 6; before += 1) {
    for (let after = 0; after < 6; after += 1) {
      const around = Buffer.concat([Buffer.alloc(before, 'x'), secret, Buffer.alloc(after, 'y')]);
      assert.ok(contains(around.toString('base64url'), secret), `${before} ${after}`);
      assert.ok(contains(around.toString('base64'), secret), `${before} ${after}`);
    }
  }
  assert.ok(!contains(Buffer.from(secret.map(byte => byte ^ 1)).toString('base64url'), secret));
});

/** Whether a secret is in a body: raw, in hexadecimal digits, in either base64 at any of its three alignments. */
function contains(body, secret) {
  const inBase64 = [0, 1, 2].some(shift => {
    const encoded = Buffer.concat([Buffer.alloc(shift), secret]).toString('base64url');
    // Only the characters that hold nothing but the secret.
    const url = encoded.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + secret.length) * 8) / 6));
    return body.includes(url) || body.includes(url.replaceAll('-', '+').replaceAll('_', '/'));
  });
  return (
    inBase64 ||
    body.toLowerCase().includes(secret.toString('hex')) ||
    body.includes(secret.toString('latin1'))
  );
}
