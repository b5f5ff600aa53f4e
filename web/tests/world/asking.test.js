// What relays are asked, and how often: in the background, in the foreground, idle, asleep, and whatever strangers or the relay do.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Dishonesty } from './attacks.js';
import { boxesOf, connectoidOf, noteOf, offerFrom, sealedBy, sealedByEnd, stranger } from './strangers.js';
import { DAY, HOUR, MINUTE, OTHER, RELAY, SECOND, World } from './world.js';

/** The requests that come to the first relay in so much time. */
async function requestsIn(world, time) {
  const before = world.relays[0].seen.length;
  await world.pass(time);
  return world.relays[0].seen.length - before;
}

test('a check a minute in the background, a long poll in the foreground, nothing while idle', async () => {
  const world = new World(101, 1);
  await world.share(0, 'Bob');
  await world.pass(SECOND);
  assert.equal(await requestsIn(world, HOUR), 59, 'a minute after the last was replied to');
  await world.foreground(0);
  // Each waits 25 s at the relay.
  const polls = await requestsIn(world, HOUR);
  assert.ok(polls >= 143 && polls <= 145, `${polls}`);
  assert.ok(world.requests(100).every(({ wait }) => wait === 25));
  await world.foreground(0, false);
  await world.idle(0);
  await world.pass(MINUTE);
  assert.equal(await requestsIn(world, DAY), 0);
  const before = world.relays[0].seen.length;
  await world.idle(0, false);
  assert.equal(world.relays[0].seen.length - before, 1, 'at once');
  assert.equal(await requestsIn(world, HOUR), 59);
});

test('who is idle and wants to connect goes on trying', async () => {
  const world = await World.ofTwo(102);
  await world.hangUp();
  await world.idle(1);
  await world.reconnect(1);
  await world.bothConnected(2, 3 * MINUTE);
  // And is idle again.
  await world.pass(5 * MINUTE);
  const boxes = world.contact(1).boxes.map(({ key }) => key.pub);
  const before = world.relays[0].seen.length;
  await world.pass(HOUR);
  const asked = world
    .requests(before)
    .filter(request => request.boxes.some(({ key }) => boxes.includes(key)));
  assert.equal(asked.length, 0);
});

test('who is idle says goodbye all the same', async () => {
  const world = await World.ofTwo(103);
  await world.hangUp();
  await world.idle(0);
  await world.unshare(0);
  await world.pass(3 * MINUTE);
  for (const { disk } of world.ends) assert.equal(disk.contacts.size, 0, world.story());
});

test('a long poll hears of a message at once', async () => {
  const world = await World.ofTwo(104);
  await world.hangUp();
  await world.foreground(0);
  await world.pass(10 * SECOND);
  await world.note(1, 'now');
  await world.mustRun(500, () => world.told(0, 'note') === 1);
});

test('after a message was sent its answer is waited for, for two minutes', async () => {
  const world = new World(105);
  const link = await world.share(0, 'Bob');
  world.turnOff(0);
  await world.connect(1, link, 'Alice');
  await world.pass(4 * MINUTE);
  const waits = world.requests().flatMap(({ boxes, wait }) => (boxes ? [wait] : []));
  // The first is that of Alice.
  assert.deepEqual(waits.slice(1, 3), [0, 25]);
  assert.deepEqual(waits.slice(-2), [0, 0]);
  assert.ok(waits.filter(wait => wait === 25).length <= 6, `${waits}`);
});

test('a relay that lets nobody wait is asked every five seconds', async () => {
  const world = new World(106, 1);
  const { answer } = world.relays[0];
  world.relays[0].answer = (request, now) => answer.call(world.relays[0], request, now, false);
  await world.share(0, 'Bob');
  await world.foreground(0);
  const asked = await requestsIn(world, HOUR);
  assert.ok(asked >= 700 && asked <= 720, `${asked}`);
});

test('a relay that is down is left alone for longer and longer, up to a minute', async () => {
  const world = new World(107, 1);
  world.down[0] = true;
  await world.share(0, 'Bob');
  await world.foreground(0);
  await world.pass(10 * MINUTE);
  const times = world.relays[0].seen.map(({ now }) => now / 1_000_000);
  const pauses = times.slice(1).map((time, index) => Math.round(time - times[index]));
  assert.deepEqual(pauses.slice(0, 6), [2, 4, 8, 16, 32, 60]);
  assert.deepEqual([...new Set(pauses.slice(5))], [60]);
});

test('a stranger’s junk does not hold up what is awaited', async () => {
  const world = await World.ofTwo(108);
  await world.foreground(0);
  await world.pass(MINUTE);
  const [, alice] = boxesOf(world, 0);
  // All that the log of a relay shows: the key, but not the secret.
  const seen = { ...alice, secret: undefined };
  const { signer } = await stranger();
  const junk = async n => world.put(alice.key, await sealedBy(signer, n, seen, noteOf('junk')));
  const skipped = () => world.told(0, 'skipped', { why: 'seal' });
  // Often enough at first that every check finds some; then three times a minute.
  for (let n = 1; n <= 40; n += 1) {
    await junk(n);
    await world.pass(SECOND);
  }
  await world.pass(10 * SECOND);
  for (let n = 41; n <= 49; n += 1) {
    assert.equal(skipped(), n - 1);
    await junk(n);
    await world.mustRun(6 * SECOND, () => skipped() === n);
    await world.pass(20 * SECOND);
  }
  await junk(50);
  await world.pass(SECOND);
  await world.put(alice.key, await sealedByEnd(world, 1, alice, noteOf('to the point')));
  await world.mustRun(6 * SECOND, () => world.told(0, 'note') === 1);
});

test('a new box keeps no other from being asked about', async () => {
  const world = new World(109, 1);
  await world.foreground(0);
  const asked = () => world.requests().map(({ boxes }) => boxes.length);
  await world.share(0, 'Bob');
  await world.pass(SECOND);
  assert.deepEqual(asked(), [1]);
  await world.share(0, 'Carol');
  await world.pass(SECOND);
  assert.deepEqual(asked(), [1, 2]);
});

test('boxes at one relay with one ext are one check', async () => {
  const world = new World(110, 1, [RELAY, OTHER]);
  await world.share(0, 'Bob');
  await world.share(0, 'Carol');
  await world.share(0, 'Dave', { ext: 'a2V5' });
  await world.pass(10 * MINUTE);
  const last = relay =>
    world.requests(relay.seen.length - 2, relay).map(({ ext, boxes }) => [ext, boxes.length]);
  for (const relay of world.relays) {
    assert.deepEqual(new Set(last(relay).map(String)), new Set([',2', 'a2V5,1']));
  }
});

test('more boxes than a check takes are all looked at, and not too often', async () => {
  const world = new World(56);
  for (let number = 0; number < 150; number += 1)
    await world.share(0, `contact ${String(number).padStart(3, '0')}`);
  const link = connectoidOf(world.contact(0, 'contact 149').boxes[0]);
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  await world.mustRun(2 * MINUTE, () => world.connected(0) === 1);
  await world.pass(MINUTE);
  const before = world.relays[0].seen.length;
  await world.pass(10 * MINUTE);
  const asked = world.requests(before).reduce((sum, { boxes }) => sum + (boxes?.length ?? 0), 0);
  assert.ok(asked >= 1500 && asked < 6500, `a relay takes 600 boxes a minute: ${asked}`);
});

test('a relay that repeats an offer is not asked at once', async () => {
  const world = new World(57);
  const link = await world.share(0, 'Bob');
  world.dishonesty = await Dishonesty.of(0, ['replay'], 100, world.micros(30 * MINUTE), world.dice);
  // There is nothing to be repeated but the one offer of Bob, and the answer of Alice.
  world.frameOnItsWay = () => undefined;
  await world.connect(1, link, 'Alice');
  await world.mustRun(5 * MINUTE, () => world.ends[0].frames.length > 0);
  await world.disconnect(1);
  const before = world.relays[0].seen.length;
  await world.pass(10 * MINUTE);
  assert.ok(world.dishonesty.counts.get('replay') > 10);
  const asked = world.relays[0].seen.length - before;
  assert.ok(asked < 150, `${asked} requests in ten minutes`);
});

test('a goodbye that is refused is not sent at once again', async () => {
  const world = await World.ofTwo(58, 10 * SECOND);
  world.dishonesty = await Dishonesty.of(0, ['not-allowed'], 100, world.micros(world.now + HOUR), world.dice);
  const before = world.relays[0].seen.length;
  await world.unshare(0);
  await world.pass(30 * MINUTE);
  assert.equal(world.sends(before), 1);
  // The next one, after an hour, is taken.
  await world.pass(45 * MINUTE);
  assert.equal(world.ends[1].disk.contacts.size, 0, world.story());
});

test('a message that a relay will not take is told, and not sent there again', async () => {
  const world = new World(59, 2, [RELAY, OTHER]);
  const link = await world.share(0, 'Bob');
  world.dishonesty = await Dishonesty.of(0, ['not-allowed'], 100, world.micros(HOUR), world.dice);
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 3 * MINUTE);
  assert.equal(world.told(1, 'not-sent', { contact: 'Alice', relay: RELAY, why: 'Not allowed' }), 1);
  assert.equal(world.told(0, 'not-sent', { contact: 'Bob', relay: RELAY }), 1);
});

test('every half hour all is asked for again', async () => {
  const world = await World.ofTwo(60, 10 * SECOND);
  await world.note(1, 'one');
  await world.pass(2 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['one']);
  // The relay puts the next one where Alice has been already.
  await world.note(1, 'two');
  const [, alice] = boxesOf(world, 0);
  await world.mustRun(SECOND, () => world.relays[0].messages(alice.key).length > 0);
  for (const message of world.relays[0].messages(alice.key)) message.at = world.micros(SECOND);
  await world.pass(10 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), []);
  await world.pass(25 * MINUTE);
  assert.deepEqual(await world.takeNotes(0), ['two']);
});

test('eight strangers are refused, and one alarm is enough', async () => {
  const world = new World(53, 2);
  const link = await world.share(0, 'Bob');
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 5 * MINUTE);
  const before = world.relays[0].seen.length;
  const boxes = [];
  for (let count = 0; count < 10; count += 1) {
    const { signer, connectoid } = await stranger();
    boxes.push(connectoid.key);
    await world.put(link.key, await sealedBy(signer, 1, link, offerFrom(connectoid)));
    await world.pass(2 * MINUTE);
  }
  const refused = world
    .requests(before)
    .filter(({ action, key }) => action === 'send' && boxes.includes(key));
  assert.equal(refused.length, 8);
  assert.equal(world.told(0, 'alarm', { alarm: 'link-used-twice' }), 1);
});

test('a channel must be proven within ten seconds, and open within five minutes', async () => {
  const world = new World(54);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  world.frameOnItsWay = () => undefined;
  await world.connect(1, link, 'Alice');
  await world.mustRun(MINUTE, () => world.ends[0].frames.length > 0);
  await world.pass(9 * SECOND);
  assert.ok(world.peer(0, 'pending'));
  await world.pass(2 * SECOND);
  assert.equal(world.peer(0, 'pending'), undefined);
  assert.equal(world.connected(0) + world.connected(1), 0);

  const other = new World(55);
  await other.connect(1, await other.share(0, 'Bob'), 'Alice');
  await other.foreground(0);
  await other.mustRun(MINUTE, () => other.contact(0).link.answered === 1);
  // Bob goes away, and with him his peer connection.
  await other.disconnect(1);
  await other.pass(4 * MINUTE);
  assert.ok(other.peer(0, 'pending'));
  await other.pass(2 * MINUTE);
  assert.equal(other.peer(0, 'pending'), undefined);
});

test('a try that was slept through is made on waking up', async () => {
  const world = new World(400);
  const link = await world.share(0, 'Bob');
  world.down[0] = true;
  await world.connect(1, link, 'Alice');
  await world.pass(20 * SECOND);
  // The clock of the waits stands still meanwhile; three tries were missed.
  world.slept = 3 * HOUR;
  world.down[0] = false;
  await world.foreground(0);
  for (const end of [0, 1]) await world.wakeUp(end);
  await world.bothConnected(1, 2 * SECOND);
});

test('a network that comes back is used at once', async () => {
  const world = new World(401);
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  world.down[0] = true;
  await world.connect(1, link, 'Alice');
  await world.pass(4 * MINUTE);
  assert.equal(world.told(1, 'relays-down'), 1);
  world.down[0] = false;
  for (const end of [0, 1]) await world.wakeUp(end);
  await world.bothConnected(1, 2 * SECOND);
});

test('a page that is shown asks at once, whatever failed before', async () => {
  const world = await World.ofTwo(71);
  await world.hangUp();
  await world.foreground(0);
  world.down[0] = true;
  await world.pass(10 * MINUTE + 30 * SECOND);
  world.down[0] = false;
  const before = world.relays[0].seen.length;
  await world.wakeUp(0);
  await world.pass(SECOND);
  assert.ok(world.relays[0].seen.length > before);
});

test('but not a relay that wants to be left alone', async () => {
  const world = await World.ofTwo(72);
  await world.hangUp();
  await world.foreground(0);
  const reply = { status: 429, body: JSON.stringify({ ok: false, error: 'Too often', retryAfter: 300 }) };
  world.dishonesty = { instead: async () => ({ reply }) };
  await world.pass(MINUTE);
  world.dishonesty = undefined;
  const before = world.relays[0].seen.length;
  for (let shown = 0; shown < 5; shown += 1) {
    await world.wakeUp(0);
    await world.pass(SECOND);
  }
  assert.equal(world.relays[0].seen.length, before);
  await world.pass(5 * MINUTE);
  assert.ok(world.relays[0].seen.length > before);
});
