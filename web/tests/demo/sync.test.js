// Two documents made one over a channel: what goes over it, what does not, and what ends it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dice } from '../world/dice.js';
import { pair, settled } from './channels.js';
import model from './load.js';

const { List, Y, converse, hold } = model;

const texts = list => list.items.map(({ text }) => text);

function listOf(...texts) {
  const list = new List('one');
  list.rename('Home');
  for (const text of texts) list.add(text);
  return list;
}

const copy = list => new List(list.id, list.state);

/** One side of a conversation, and what it was told. */
function side(channel, list, more = {}) {
  const told = { names: [], ends: [], flowing: 0 };
  const about = {
    doc: list.doc,
    list: list.id,
    me: 'me',
    opened: false,
    who: told,
    greeted: name => told.names.push(name),
    flows: () => {
      told.flowing += 1;
    },
    ended: trouble => told.ends.push(trouble),
    ...more,
  };
  told.end = converse(channel, hold(channel), about);
  return told;
}

/** Two who talk of their lists. */
function talk(one, two) {
  const channels = pair();
  const bob = side(channels[1], two, { me: 'Bob' });
  const alice = side(channels[0], one, { me: 'Alice', opened: true });
  return { channels, alice, bob };
}

const binary = channel => channel.sent.filter(data => typeof data !== 'string');

test('what goes over the channel', async () => {
  const [one, two] = [listOf('Milk'), new List('one')];
  const { channels, alice, bob } = talk(one, two);
  await settled();
  assert.deepEqual([alice.names, bob.names], [['Bob'], ['Alice']]);
  assert.equal(channels[0].sent[0], '{"v":1,"list":"one","name":"Alice"}');
  assert.equal(channels[1].sent[0], '{"v":1,"list":"one","name":"Bob"}');
  // A piece that is the last one, of a vector that says that nothing is there.
  assert.deepEqual(new Uint8Array(channels[1].sent[1]), Uint8Array.of(1, 0, 0));
  assert.deepEqual([...new Uint8Array(channels[0].sent[2])].slice(0, 2), [1, 1]);
  assert.deepEqual(texts(two), ['Milk']);
  assert.equal(two.name, 'Home');
});

test('both end with the same, and each change goes over once', async () => {
  const one = listOf('Milk', 'Bread');
  const two = copy(one);
  one.add('Eggs');
  two.edit(two.items[0].id, 'Oat milk');
  const { channels, alice, bob } = talk(one, two);
  await settled();
  assert.deepEqual(texts(one), ['Oat milk', 'Bread', 'Eggs']);
  assert.deepEqual(one.items, two.items);
  const before = channels.map(({ sent }) => sent.length);
  one.add('Tea');
  await settled();
  two.tick(two.items[3].id, true);
  await settled();
  assert.deepEqual(one.items, two.items);
  assert.equal(one.items[3].done, true);
  // It is not sent back to where it came from.
  assert.deepEqual(
    channels.map(({ sent }) => sent.length),
    [before[0] + 1, before[1] + 1],
  );
  alice.end();
  await settled();
  assert.deepEqual([alice.ends, bob.ends], [[undefined], [undefined]]);
  one.add('After');
  await settled();
  assert.deepEqual(texts(two), ['Oat milk', 'Bread', 'Eggs', 'Tea']);
});

test('what one changes reaches a third through the second', async () => {
  const [one, two, three] = [listOf('Milk'), new List('one'), new List('one')];
  talk(one, two);
  const { channels } = talk(two, three);
  await settled();
  one.add('Bread');
  await settled();
  assert.deepEqual(texts(three), ['Milk', 'Bread']);
  three.add('Eggs');
  await settled();
  assert.deepEqual(texts(one), ['Milk', 'Bread', 'Eggs']);
  // In a circle it comes to rest.
  talk(three, one);
  await settled();
  const sent = channels[0].sent.length;
  one.add('Tea');
  await settled();
  await settled();
  assert.ok(channels[0].sent.length - sent <= 1);
  assert.deepEqual(one.items, three.items);
  assert.deepEqual(one.items, two.items);
});

test('a large list goes in pieces of 16 KiB', async () => {
  const one = listOf(...Array.from({ length: 300 }, (_, number) => `${number} ${'x'.repeat(400)}`));
  const two = new List('one');
  const { channels } = talk(one, two);
  await settled();
  assert.equal(two.items.length, 300);
  const pieces = binary(channels[0]).slice(1);
  assert.ok(pieces.length > 7);
  assert.ok(pieces.slice(0, -1).every(piece => piece.byteLength === 16_385));
  assert.deepEqual(
    pieces.map(piece => new Uint8Array(piece)[0]),
    [...pieces.slice(1).map(() => 0), 1],
  );
});

test('whoever is slow gets all of it later, as one', async () => {
  const one = listOf('Milk');
  const two = copy(one);
  const { channels } = talk(one, two);
  await settled();
  channels[0].isStuck = true;
  const [{ id }] = one.items;
  let most = 0;
  for (let number = 0; number < 5000; number += 1) {
    one.edit(id, `${number} `.repeat(100));
    most = Math.max(most, channels[0].bufferedAmount);
  }
  assert.ok(most > 1_048_576 && most < 1_100_000, `${most}`);
  const sent = channels[0].sent.length;
  two.add('Bread');
  await settled();
  assert.deepEqual(texts(one).slice(1), ['Bread']);
  channels[0].isStuck = false;
  await settled();
  assert.deepEqual(one.items, two.items);
  assert.equal(two.items[0].text, '4999 '.repeat(100).trim());
  const { length } = channels[0].sent;
  assert.ok(length > sent && length < sent + 20, `${length - sent}`);
  one.tick(id, true);
  await settled();
  assert.equal(two.items[0].done, true);
});

test('who asks again and again without taking anything is not answered without end', async () => {
  const one = listOf(...Array.from({ length: 300 }, (_, number) => `${number} ${'x'.repeat(400)}`));
  const [channel, other] = pair();
  side(channel, one);
  other.send('{"v":1,"list":"one","name":"Mallory"}');
  await settled();
  channel.isStuck = true;
  for (let number = 0; number < 1000; number += 1) other.send(Uint8Array.of(1, 0, 0));
  await settled();
  assert.ok(channel.bufferedAmount < 1_500_000, `${channel.bufferedAmount}`);
});

/** Everything that is no hello of this list. */
const NO_HELLO = [
  ['no-list', ''],
  ['no-list', 'hello'],
  ['no-list', 'null'],
  ['no-list', '[]'],
  ['no-list', '7'],
  ['no-list', '{"v":2,"list":"one","name":"x"}'],
  ['no-list', '{"v":1,"list":1,"name":"x"}'],
  ['no-list', '{"v":1,"list":"one"}'],
  ['no-list', '{"v":1,"list":"one","name":{}}'],
  ['no-list', JSON.stringify({ v: 1, list: 'one', name: 'x'.repeat(1100) })],
  ['no-list', Uint8Array.of(1, 0, 0)],
  ['wrong-list', '{"v":1,"list":"two","name":"x"}'],
  ['wrong-list', '{"v":1,"list":"","name":"x"}'],
];

test('who does not say hello, or of another list, is not listened to', async () => {
  for (const [trouble, data] of NO_HELLO) {
    for (const opened of [true, false]) {
      const one = listOf('Milk');
      const [channel, other] = pair();
      const alice = side(channel, one, { opened });
      other.send(data);
      await settled();
      assert.deepEqual([alice.names, alice.ends], [[], [trouble]], `${data}`);
      assert.equal(channel.readyState, 'closed');
      assert.equal(channel.sent.length, opened ? 1 : 0);
      one.add('Bread');
    }
  }
});

test('a name is cut to 40 characters', async () => {
  const [channel, other] = pair();
  const alice = side(channel, listOf());
  other.send(JSON.stringify({ v: 1, list: 'one', name: ` ${'x'.repeat(50)} ` }));
  await settled();
  assert.deepEqual(alice.names, ['x'.repeat(40)]);
});

/** An update with something before it that is not sent. */
function standsOnNothing() {
  const list = listOf('Milk');
  const vector = Y.encodeStateVector(list.doc);
  list.edit(list.items[0].id, 'Oat milk');
  return Uint8Array.of(1, 1, ...Y.encodeStateAsUpdate(list.doc, vector));
}

const RUBBISH = {
  text: ['{"v":1,"list":"one","name":"again"}'],
  nothing: [Uint8Array.of()],
  'a piece of nothing': [Uint8Array.of(1)],
  'another flag': [Uint8Array.of(2, 0, 0)],
  'another kind': [Uint8Array.of(1, 2, 0)],
  'no vector': [Uint8Array.of(1, 0, 255, 255)],
  'no update': [Uint8Array.of(1, 1, 255, 255, 255)],
  'an update that was cut': [Uint8Array.of(1, 1, ...listOf('Milk').state.slice(0, -3))],
  'an update that stands on nothing': [standsOnNothing()],
  'a piece that is too long': [new Uint8Array(16_386)],
  'pieces without end': Array.from({ length: 257 }, () => new Uint8Array(16_385)),
};

test('rubbish ends the conversation, and nothing else', async () => {
  for (const [name, messages] of Object.entries(RUBBISH)) {
    const one = listOf('Milk');
    const before = one.state;
    const [channel, other] = pair();
    const alice = side(channel, one);
    other.send('{"v":1,"list":"one","name":"Mallory"}');
    for (const message of messages) other.send(message);
    await settled();
    assert.deepEqual(alice.ends, ['no-list'], name);
    assert.equal(channel.readyState, 'closed', name);
    assert.deepEqual(one.state, before, name);
    assert.equal(one.doc.store.pendingStructs, null, name);
    one.add('Bread');
    assert.deepEqual(texts(copy(one)), ['Milk', 'Bread'], name);
  }
});

/** What Mallory sends, after all that Alice has, made by doing something to it. */
function sentBy(list, does) {
  const theirs = new List('one', list.state);
  does(theirs.doc.getMap('items'), theirs.doc);
  return Y.encodeStateAsUpdate(theirs.doc, Y.encodeStateVector(list.doc));
}

/** An update in pieces. */
function inPieces(update) {
  const message = Buffer.concat([Uint8Array.of(1), update]);
  const pieces = [];
  for (let start = 0; start < message.length; start += 16_384) {
    const isLast = start + 16_384 >= message.length;
    pieces.push(Buffer.concat([Uint8Array.of(isLast ? 1 : 0), message.subarray(start, start + 16_384)]));
  }
  return pieces;
}

/** Alice, to whom Mallory sends an update. */
async function struck(one, update) {
  const [channel, other] = pair();
  const alice = side(channel, one);
  other.send('{"v":1,"list":"one","name":"Mallory"}');
  for (const piece of inPieces(update)) other.send(piece);
  await settled();
  return alice;
}

function deep(type, levels) {
  let inner = type;
  for (let level = 0; level < levels; level += 1) {
    const next = new Y.Map();
    inner.set('a', next);
    inner = next;
  }
}

/** All that Yjs takes, and a list is not made of. */
const NO_LIST = {
  'something embedded in a text': items => items.values().next().value.get('text').insertEmbed(1, { a: 1 }),
  'a map embedded in a text': items => {
    const map = new Y.Map();
    items.values().next().value.get('text').insertEmbed(1, map);
    deep(map, 3);
  },
  'a format': items => items.values().next().value.get('text').format(0, 2, { bold: true }),
  'maps in maps': items => deep(items.values().next().value, 3),
  'maps in maps without end': items => deep(items.values().next().value, 3000),
  'a map in an entry of no text': items =>
    items.set('x', new Y.Map([['text', new Y.Map([['a', new Y.Text()]])]])),
  'a document': items => items.set('x', new Y.Doc()),
  bytes: items => items.set('x', new Uint8Array(3)),
  'an object': items => items.set('x', { a: { b: 1 } }),
  'a long value': items => items.set('x', 'x'.repeat(2001)),
  'another root': (_, doc) => doc.getMap('other').set('x', 1),
  'more entries than a list has': (items, doc) =>
    doc.transact(() => {
      for (let number = 0; number < 20_001; number += 1) items.set(`${number}`, 1);
    }),
};

test('what a list is not made of ends the conversation, and none of it is taken', {
  timeout: 60_000,
}, async () => {
  for (const [name, does] of Object.entries(NO_LIST)) {
    const one = listOf('Milk', 'Bread');
    const before = one.state;
    const alice = await struck(one, sentBy(one, does));
    assert.deepEqual(alice.ends, ['no-list'], name);
    assert.deepEqual(one.state, before, name);
    let updates = 0;
    one.doc.on('update', () => {
      updates += 1;
    });
    one.edit(one.items[0].id, 'Oat milk');
    one.add('Eggs');
    assert.equal(updates, 2, name);
  }
});

test('what a list is made of is taken, all of it', async () => {
  const one = listOf('Milk', 'Bread', 'Eggs');
  const theirs = copy(one);
  theirs.edit(theirs.items[0].id, 'x'.repeat(500));
  theirs.edit(theirs.items[0].id, 'Oat milk 🥛');
  theirs.remove([theirs.items[1].id]);
  theirs.tick(theirs.items[1].id, true);
  theirs.rename('Party');
  theirs.move(theirs.add('Tea'), theirs.items[0].id);
  theirs.doc.getMap('items').delete(theirs.items[2].id);
  const alice = await struck(one, Y.encodeStateAsUpdate(theirs.doc, Y.encodeStateVector(one.doc)));
  assert.deepEqual([alice.ends, alice.flowing], [[], 1]);
  assert.deepEqual(one.items, theirs.items);
  assert.deepEqual(texts(one), ['Tea', 'Oat milk 🥛']);
});

test('what was taken in parts is taken as a whole by somebody new', async () => {
  const one = listOf('Milk');
  const theirs = copy(one);
  const text = theirs.doc.getMap('items').get(theirs.items[0].id).get('text');
  for (const part of ['a', 'b']) {
    const before = Y.encodeStateVector(theirs.doc);
    text.insert(text.length, part.repeat(1500));
    assert.deepEqual((await struck(one, Y.encodeStateAsUpdate(theirs.doc, before))).ends, []);
  }
  one.add('Bread');
  const carols = new List('one');
  const { bob } = talk(one, carols);
  await settled();
  assert.deepEqual([bob.ends, bob.flowing], [[], 1]);
  assert.equal(carols.items[1].text, 'Bread');
  assert.deepEqual(carols.items, one.items);
});

test('a message comes in full pieces, and says once what the other side has', async () => {
  for (const pieces of [
    [Uint8Array.of(0, 1), Uint8Array.of(1, 0, 0)],
    [Uint8Array.of(1, 0, 0), Uint8Array.of(1, 0, 0)],
  ]) {
    const [channel, other] = pair();
    const alice = side(channel, listOf('Milk'));
    other.send('{"v":1,"list":"one","name":"Mallory"}');
    for (const piece of pieces) other.send(piece);
    await settled();
    assert.deepEqual(alice.ends, ['no-list']);
  }
});

/** So many bytes of what one can be filled with. */
function fill(list, bytes, mark) {
  list.doc.transact(() => {
    for (let number = 0; number < bytes / 1800; number += 1) {
      list.doc.getMap('items').set(`${mark}${number}`, new Y.Map([['x', 'x'.repeat(1740)]]));
    }
  });
}

test('what is larger than a list may be is not taken, so that the rest of it goes on', async () => {
  const one = listOf('Milk');
  const theirs = copy(one);
  fill(theirs, 1_900_000, 'a');
  assert.ok(theirs.state.length > 1_800_000 && theirs.state.length < 2_097_152, `${theirs.state.length}`);
  assert.deepEqual((await struck(one, theirs.state)).ends, []);
  // All of it goes to somebody new, too.
  const { bob } = talk(one, new List('one'));
  for (let turn = 0; turn < 10; turn += 1) await settled();
  assert.deepEqual([bob.ends, bob.flowing], [[], 1]);
  const before = one.state;
  const others = new List('one');
  fill(others, 400_000, 'b');
  const alice = await struck(one, others.state);
  assert.deepEqual(alice.ends, ['too-large']);
  assert.deepEqual(one.state, before);
  assert.deepEqual((await struck(one, new Uint8Array(2_097_153))).ends, ['no-list']);
});

test('it is told when both have the same', async () => {
  const [one, two] = [listOf('Milk'), new List('one')];
  const { channels, alice, bob } = talk(one, two);
  channels[0].isStuck = true;
  await settled();
  assert.deepEqual([alice.flowing, bob.flowing], [0, 0]);
  channels[0].isStuck = false;
  await settled();
  assert.deepEqual([alice.flowing, bob.flowing], [1, 1]);
  one.add('Bread');
  await settled();
  assert.deepEqual([alice.flowing, bob.flowing], [1, 1]);
});

test('updates that were changed by chance harm nothing', { timeout: 30_000 }, async () => {
  const base = listOf('Milk', 'Bread', 'Eggs');
  const theirs = copy(base);
  theirs.edit(theirs.items[0].id, 'Oat milk');
  theirs.remove([theirs.items[2].id]);
  theirs.add('Tea');
  const update = Y.encodeStateAsUpdate(theirs.doc, Y.encodeStateVector(base.doc));
  let ended = 0;
  for (let seed = 1; seed <= 400; seed += 1) {
    const dice = new Dice(seed);
    const one = copy(base);
    const [channel, other] = pair();
    const alice = side(channel, one);
    other.send('{"v":1,"list":"one","name":"Mallory"}');
    for (let round = 0; round < 5; round += 1) {
      const changed = Uint8Array.from(update);
      for (let change = dice.between(1, 4); change > 0; change -= 1) {
        changed[dice.below(changed.length)] = dice.below(dice.coin() ? 256 : 12);
      }
      other.send(Uint8Array.of(1, 1, ...changed));
    }
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    ended += alice.ends.length;
    one.add('Bread and butter');
    assert.ok(texts(one).includes('Bread and butter'), `seed ${seed}`);
    assert.ok(texts(copy(one)).includes('Bread and butter'), `seed ${seed}`);
  }
  assert.ok(ended > 300, `${ended}`);
});

test('a channel that is closed ends it, also before anything was said', async () => {
  const one = listOf('Milk');
  const [channel, other] = pair();
  const held = hold(channel);
  other.close();
  await settled();
  const ends = [];
  converse(channel, held, {
    doc: one.doc,
    list: 'one',
    me: '',
    opened: false,
    who: {},
    greeted() {},
    flows() {},
    ended: trouble => ends.push(trouble),
  });
  assert.deepEqual(ends, [undefined]);

  // One that is closed on this side says nothing of it.
  const two = copy(one);
  const { channels, alice } = talk(one, two);
  await settled();
  channels[0].readyState = 'closed';
  one.add('Bread');
  assert.deepEqual(alice.ends, [undefined]);

  const again = talk(one, two);
  await settled();
  assert.deepEqual(texts(two), ['Milk', 'Bread']);
  one.doc.destroy();
  await settled();
  assert.deepEqual([again.alice.ends, again.bob.ends], [[undefined], [undefined]]);
});

test('what came before anybody listened is heard', async () => {
  const [one, two] = [listOf('Milk'), new List('one')];
  const [channel, other] = pair();
  const held = hold(channel);
  side(other, two, { opened: true });
  await settled();
  assert.equal(held.length, 1);
  converse(channel, held, {
    doc: one.doc,
    list: 'one',
    me: '',
    opened: false,
    who: {},
    greeted() {},
    flows() {},
    ended() {},
  });
  await settled();
  assert.deepEqual(texts(two), ['Milk']);
});

test('two channels at once do no harm', async () => {
  const one = listOf('Milk');
  const two = new List('one');
  const [alice, bob] = [{}, {}];
  for (const opened of [true, false]) {
    const channels = pair();
    side(channels[0], one, { opened, who: alice });
    side(channels[1], two, { opened: !opened, who: bob });
  }
  await settled();
  two.add('Bread');
  one.tick(one.items[0].id, true);
  await settled();
  assert.deepEqual(one.items, two.items);
  assert.deepEqual(texts(one), ['Milk', 'Bread']);
});
