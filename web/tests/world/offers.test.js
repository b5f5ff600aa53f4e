// Offers, answers and candidates: what is fresh in each, how often they count, and for how long.

import assert from 'node:assert/strict';
import test from 'node:test';
import { decode } from '../../dist/base64url.js';
import { openMessage } from '../../dist/seal/message.js';
import {
  boxesOf,
  deliver,
  noteOf,
  offerFrom,
  sealedBy,
  sealedByEnd,
  sealedWithHash,
  stranger,
} from './strangers.js';
import { MINUTE, SECOND, World } from './world.js';

/** All that was sent to boxes, opened as their owners could. */
async function opened(world) {
  const contents = [];
  for (const { action, key, data } of world.requests()) {
    if (action !== 'send') continue;
    const { own } = world.boxes.get(key);
    contents.push((await openMessage(own.key, own.secret, () => undefined, decode(data))).content);
  }
  return contents;
}

/** How many there are, and all different. */
function different(values) {
  const texts = values.map(value => Buffer.from(value).toString('hex'));
  assert.equal(new Set(texts).size, texts.length, `the same twice: ${texts}`);
  return texts.length;
}

test('what makes an offer, an answer or a channel fresh is never used again', async () => {
  const world = new World(151);
  const link = await world.share(0, 'Bob');
  // The program of Alice does not run for the first offer of the attempt.
  world.turnOff(0);
  await world.connect(1, link, 'Alice');
  await world.pass(5 * MINUTE + SECOND);
  await world.restart(0);
  await world.bothConnected(1, 5 * MINUTE);
  await world.pass(MINUTE);
  await world.hangUp();
  await world.reconnect(1);
  await world.bothConnected(2, 5 * MINUTE);

  const contents = await opened(world);
  assert.equal(different(contents.filter(({ typ }) => typ === 'offer').map(({ sasCommit }) => sasCommit)), 3);
  assert.equal(different(contents.filter(({ typ }) => typ === 'answer').map(({ sasNonce }) => sasNonce)), 2);
  const frames = world.ends.flatMap(({ frames }) => frames.map(text => JSON.parse(text)));
  const hellos = frames.filter(({ t }) => t === 'hello');
  assert.equal(different(hellos.map(({ nonce }) => nonce)), 4);
  assert.equal(different(hellos.flatMap(({ r }) => r ?? [])), 2);
});

test('three messages of candidates a side', async () => {
  const world = new World(51);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  await world.pass(150);
  const { session } = world.peer(1, 'pending');
  for (let times = 0; times < 5; times += 1) {
    await world.call(1, (sessions, turn) => sessions.localCandidates(turn, session, [{ candidate: 'c' }]));
  }
  await world.pass(SECOND);
  assert.equal(world.sends(), 1 + 3, 'the offer and its candidates');
});

/** An offer of Bob to Alice, and messages of candidates for it. */
async function offerWithCandidates(world, count) {
  const [, alice] = boxesOf(world, 0);
  const [, bob] = boxesOf(world, 1);
  const { data, re } = await sealedWithHash(world, 1, alice, offerFrom(bob));
  const messages = [data];
  for (let number = 1; number <= count; number += 1) {
    const content = { typ: 'candidate', re, candidates: [{ candidate: String(number) }] };
    messages.push(await sealedByEnd(world, 1, alice, content));
  }
  await deliver(world, 0, alice.key, ...messages);
}

test('candidates in one batch with their offer reach the app, a fourth message of them does not', async () => {
  const world = await World.ofTwo(152);
  await world.hangUp();
  const before = world.ends[0].outputs.length;
  await offerWithCandidates(world, 5);
  const outputs = world.ends[0].outputs.slice(before);
  const added = outputs.flatMap(output => (output.do === 'add-candidates' ? output.candidates : []));
  assert.deepEqual(added, [{ candidate: '1' }, { candidate: '2' }, { candidate: '3' }]);
  const steps = outputs.map(output => output.do);
  assert.ok(steps.indexOf('make-answer') < steps.indexOf('add-candidates'));
});

test('an offer that is delivered again is refused once', async () => {
  const world = await World.ofTwo(153);
  const [link] = boxesOf(world, 0);
  const { signer, connectoid } = await stranger();
  const offer = await sealedBy(signer, 1, link, offerFrom(connectoid));
  const before = world.relays[0].seen.length;
  const counts = () => [world.sends(before), world.told(0, 'skipped', { why: 'repeated' })];
  for (let times = 0; times < 3; times += 1) {
    await deliver(world, 0, link.key, offer);
    await world.pass(10 * SECOND);
    assert.deepEqual(counts(), [1, times]);
  }
  // The next one is another.
  await deliver(world, 0, link.key, await sealedBy(signer, 2, link, offerFrom(connectoid)));
  await world.pass(10 * SECOND);
  assert.deepEqual(counts(), [2, 2]);
});

test('a stored offer is answered within five minutes or not at all', async () => {
  for (const [away, answers] of [
    [4 * MINUTE + 58 * SECOND, 1],
    [5 * MINUTE + SECOND, 0],
  ]) {
    const world = await World.ofTwo(154);
    await world.hangUp();
    const [, alice] = boxesOf(world, 0);
    const [, bob] = boxesOf(world, 1);
    // The program of Alice ends before her app made an answer.
    world.crash = (end, output) => (end === 0 && output.do === 'make-answer' ? 'before' : undefined);
    const restart = world.restart;
    world.restart = end => world.turnOff(end);
    await world.put(alice.key, await sealedByEnd(world, 1, alice, offerFrom(bob)));
    await world.mustRun(2 * MINUTE, () => world.crashed === 1);
    world.restart = restart;
    const before = world.ends[0].outputs.length;
    await world.pass(away);
    await world.restart(0);
    await world.pass(SECOND);
    const made = world.ends[0].outputs.slice(before).filter(output => output.do === 'make-answer');
    assert.equal(made.length, answers, `${away}`);
  }
});

test('a message is sent again for an hour', async () => {
  for (const [down, sent] of [
    [58 * MINUTE, 1],
    [60 * MINUTE, 0],
  ]) {
    const world = await World.ofTwo(155);
    const before = world.relays[0].seen.length;
    world.down[0] = true;
    await world.note(1, 'late');
    await world.pass(down);
    const tried = world.sends(before);
    world.down[0] = false;
    await world.pass(5 * MINUTE);
    assert.ok(tried > 50, `${tried} tries`);
    assert.equal(world.sends(before) - tried, sent);
    assert.deepEqual(await world.takeNotes(0), sent ? ['late'] : []);
    const bodies = world.relays[0].seen
      .slice(before)
      .map(({ body }) => body)
      .filter(body => body.includes('"send"'));
    assert.equal(new Set(bodies).size, 1, 'the same bytes');
  }
});

test('an offer with counter 0 claims nothing', async () => {
  const world = new World(156, 1);
  const link = await world.share(0, 'Bob');
  const { signer, connectoid } = await stranger();
  await deliver(world, 0, link.key, await sealedBy(signer, 0, link, offerFrom(connectoid)));
  assert.equal(world.contact(0).link.state, 'open');
  assert.equal(world.contact(0).peer, undefined);
  await deliver(world, 0, link.key, await sealedBy(signer, 1, link, offerFrom(connectoid)));
  assert.equal(world.contact(0).link.state, 'claimed');
});

test('of one batch the latest offer is answered', async () => {
  const world = new World(157, 1);
  const link = await world.share(0, 'Bob');
  const { signer, connectoid } = await stranger();
  const messages = [];
  for (const n of [2, 3, 1]) messages.push(await sealedBy(signer, n, link, offerFrom(connectoid)));
  await deliver(world, 0, link.key, ...messages);
  const answers = world.ends[0].outputs.filter(output => output.do === 'make-answer');
  assert.equal(answers.length, 1);
  assert.deepEqual([...world.contact(0).peer.seen], [1, 2, 3]);
  assert.equal(world.contact(0).peer.saidAt, 3);
});

test('an offer that does not count claims no link', async () => {
  const world = new World(158);
  const link = await world.share(0, 'Bob');
  const { signer, connectoid } = await stranger();
  await deliver(world, 0, link.key, await sealedBy(signer, 5, link, noteOf('hello')));
  await deliver(world, 0, link.key, await sealedBy(signer, 5, link, offerFrom(connectoid)));
  assert.equal(world.told(0, 'skipped', { why: 'repeated' }), 1);
  assert.equal(world.contact(0).link.state, 'open');
  assert.equal(world.contact(0).peer, undefined);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 5 * MINUTE);
  assert.equal(world.told(0, 'alarm'), 0);
});

test('what comes too late is counted and stored', async () => {
  const world = await World.ofTwo(159);
  const [old] = boxesOf(world, 1);
  const [, alice] = boxesOf(world, 0);
  const stored = () => world.ends[0].disk.contacts.get('Bob').peer.seen.at(-1);
  await deliver(world, 0, alice.key, await sealedByEnd(world, 1, alice, offerFrom(old)));
  assert.equal(world.told(0, 'skipped', { why: 'overtaken' }), 1);
  assert.equal(stored(), world.contact(1).signer.n);
  const sdp = offerFrom(old).sdp;
  const answer = { typ: 'answer', re: 'A'.repeat(64), sasNonce: new Uint8Array(32), sdp };
  await deliver(world, 0, alice.key, await sealedByEnd(world, 1, alice, answer));
  assert.equal(world.told(0, 'skipped', { why: 'no-such-offer' }), 1);
  assert.equal(stored(), world.contact(1).signer.n);
});
