// A list as a document: what people do with it, what two do at the same time, and what others may put in.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dice } from '../world/dice.js';
import model from './load.js';

const { List, Y, randomId, tidy } = model;

const texts = list => list.items.map(({ text }) => text);
const state = list => list.items.map(({ text, done }) => (done ? `${text}*` : text));

/** A list with these entries, and their ids. */
function listOf(...texts) {
  const list = new List('one');
  list.rename('Home');
  return [list, ...texts.map(text => list.add(text))];
}

/** The same list on another device. */
const copy = list => new List(list.id, list.state);

/** Both have what each of them has. */
function merge(one, two) {
  const [first, second] = [one.state, two.state];
  Y.applyUpdate(one.doc, second);
  Y.applyUpdate(two.doc, first);
  assert.deepEqual(one.items, two.items);
  assert.equal(one.name, two.name);
}

test('entries are added, edited, ticked, moved, removed and restored', () => {
  const [list, milk, bread, eggs] = listOf('Milk', ' Bread  and\nbutter ', 'Eggs');
  assert.equal(list.name, 'Home');
  assert.deepEqual(list.items, [
    { id: milk, text: 'Milk', done: false },
    { id: bread, text: 'Bread and butter', done: false },
    { id: eggs, text: 'Eggs', done: false },
  ]);
  list.edit(bread, 'Rye bread');
  list.tick(milk, true);
  assert.deepEqual(state(list), ['Milk*', 'Rye bread', 'Eggs']);
  list.move(eggs, milk);
  assert.deepEqual(state(list), ['Eggs', 'Milk*', 'Rye bread']);
  list.move(milk, undefined);
  assert.deepEqual(state(list), ['Eggs', 'Rye bread', 'Milk*']);
  list.move(milk, bread);
  assert.deepEqual(state(list), ['Eggs', 'Milk*', 'Rye bread']);
  list.remove([milk, eggs]);
  assert.deepEqual(state(list), ['Rye bread']);
  list.restore([milk]);
  assert.deepEqual(state(list), ['Milk*', 'Rye bread']);
  list.rename('Party');
  assert.equal(copy(list).name, 'Party');
  assert.deepEqual(copy(list).items, list.items);
});

test('what makes no sense does nothing', () => {
  const [list, milk] = listOf('Milk');
  const before = list.state;
  assert.equal(list.add(' \n '), '');
  list.edit(milk, '  ');
  list.edit(milk, ' Milk ');
  list.edit('nothing', 'x');
  list.tick('nothing', true);
  list.tick(milk, false);
  list.move('nothing', milk);
  list.move(milk, milk);
  list.remove(['nothing']);
  list.restore(['nothing', milk]);
  list.rename(' ');
  list.rename('Home');
  assert.deepEqual(list.state, before);
});

test('a text has its length', () => {
  assert.equal(tidy('x'.repeat(501), 500), 'x'.repeat(500));
  assert.equal(tidy(`${'x'.repeat(499)}😀`, 500), 'x'.repeat(499));
  assert.equal(tidy(`${'x'.repeat(498)}😀`, 500), `${'x'.repeat(498)}😀`);
  assert.equal(tidy(' \t a \u00a0 b ', 500), 'a b');
});

test('what did not change stays the same object', () => {
  const [list, milk, bread] = listOf('Milk', 'Bread');
  const [before] = [list.items];
  assert.equal(list.items, before);
  list.edit(milk, 'Oat milk');
  assert.notEqual(list.items, before);
  assert.equal(list.items[1], before[1]);
  const then = list.items;
  list.move(bread, milk);
  assert.deepEqual(list.items, [then[1], then[0]]);
  assert.equal(list.items[0], then[1]);
  const moved = list.items;
  list.rename('Party');
  assert.equal(list.items, moved);
});

test('what is not seen is not in a text', () => {
  assert.equal(tidy('Bob\u202etxt\u2066\u200b\u0000\ufeff\u00ad', 40), 'Bobtxt');
  assert.equal(tidy('a\u0000b', 40), 'ab');
  assert.equal(tidy('Ame\u0301lie', 40), 'Am\u00e9lie');
  assert.equal(tidy('👩‍👩‍👧 می‌خواهم', 40), '👩‍👩‍👧 می‌خواهم');
  for (const nothing of ['\u200b', '\u202e \u2066', '\u200d\u200c', '\u200d \u200d', '\u0007']) {
    assert.equal(tidy(nothing, 40), '');
  }
});

test('two edits of one text both survive', () => {
  // Ids of documents decide what is at one place: these are at different ones, whatever the ids.
  for (const [from, one, two, both] of Array(20)
    .fill([
      ['Milk', 'Oat milk', 'Milk, 2 l', 'Oat milk, 2 l'],
      ['Bread', 'Rye bread', 'Bread rolls', 'Rye bread rolls'],
      ['Tea 😀', 'Tea 😁', 'Green tea 😀', 'Green tea 😁'],
      ['👍🏽', '👍🏿', '👍🏽 ok', '👍🏿 ok'],
      ['aaa', 'aa', 'aaaa', 'aaa'],
    ])
    .flat()) {
    const [alice, id] = listOf(from);
    const bob = copy(alice);
    alice.edit(id, one);
    bob.edit(id, two);
    merge(alice, bob);
    assert.deepEqual(texts(alice), [both]);
  }
});

test('whoever changed what another deleted gets it back', () => {
  for (const change of [
    (list, id) => list.edit(id, 'Oat milk'),
    (list, id) => list.tick(id, true),
    (list, id) => list.edit(id, 'Milk!'),
  ]) {
    const [alice, id] = listOf('Milk', 'Bread');
    const bob = copy(alice);
    alice.remove([id]);
    change(bob, id);
    const changed = bob.items;
    merge(alice, bob);
    assert.deepEqual(alice.items, changed);
    alice.remove([id]);
    merge(alice, bob);
    assert.deepEqual(state(bob), ['Bread']);
  }
  const [alice, id] = listOf('Milk');
  const bob = copy(alice);
  alice.remove([id]);
  bob.remove([id]);
  merge(alice, bob);
  assert.deepEqual(state(bob), []);
  // A place is no change of what it is.
  const [carol, milk, bread] = listOf('Milk', 'Bread');
  const dave = copy(carol);
  carol.remove([bread]);
  dave.move(bread, milk);
  merge(carol, dave);
  assert.deepEqual(state(carol), ['Milk']);
});

test('whoever uses an entry again keeps it, whatever was deleted once', () => {
  for (const [change, back] of [
    [(list, id) => list.tick(id, true), (list, id) => list.tick(id, false)],
    [(list, id) => list.edit(id, 'Oat milk'), (list, id) => list.edit(id, 'Milk')],
  ]) {
    const [alice, id] = listOf('Milk');
    const bob = copy(alice);
    alice.remove([id]);
    change(bob, id);
    merge(alice, bob);
    back(alice, id);
    merge(alice, bob);
    assert.deepEqual(state(bob), ['Milk']);
    // Who deletes it meanwhile deletes it.
    change(alice, id);
    merge(alice, bob);
    back(alice, id);
    bob.remove([id]);
    const carol = copy(alice);
    carol.remove([id]);
    merge(alice, carol);
    assert.deepEqual(state(carol), []);
  }
});

test('two shorten an entry until nothing is left: it is there still', () => {
  const [alice, id] = listOf('Milk');
  const bob = copy(alice);
  alice.edit(id, 'M');
  bob.edit(id, 'lk');
  merge(alice, bob);
  assert.deepEqual(alice.items, [{ id, text: '', done: false }]);
  bob.edit(id, 'Milk');
  merge(alice, bob);
  assert.deepEqual(texts(alice), ['Milk']);
});

test('between entries of one place there is room for another', () => {
  const [alice] = listOf('First');
  const bob = copy(alice);
  const carol = copy(alice);
  for (const [list, text] of [
    [alice, 'a'],
    [bob, 'b'],
    [carol, 'c'],
  ]) {
    list.add(text);
  }
  merge(alice, bob);
  merge(alice, carol);
  const keys = [...alice.doc.getMap('items').values()].map(item => item.get('at'));
  assert.equal(new Set(keys).size, 2);
  assert.deepEqual(texts(alice).sort(), ['First', 'a', 'b', 'c']);

  for (const from of [0, 1, 2, 3]) {
    for (const to of [0, 1, 2, 3, 4]) {
      const list = copy(alice);
      const order = texts(list);
      const [moved] = list.items.slice(from);
      const before = list.items[to];
      list.move(moved.id, before?.id);
      const expected = order.filter(text => text !== moved.text);
      const place = before && before !== moved ? expected.indexOf(before.text) : expected.length;
      expected.splice(place, 0, moved.text);
      assert.deepEqual(texts(list), before === moved ? order : expected, `${from} before ${to}`);
    }
  }
});

test('so often moved to one place, keys begin anew', () => {
  const [list, , last] = listOf('First', 'Last');
  const ids = Array.from({ length: 20 }, (_, number) => list.add(`${number}`));
  for (let round = 0; round < 2000; round += 1) {
    const id = ids[round % 20];
    list.move(id, round % 2 ? last : list.items[1].id);
    assert.equal(list.items.length, 22);
  }
  const longest = Math.max(...[...list.doc.getMap('items').values()].map(item => item.get('at').length));
  assert.ok(longest <= 210, `${longest}`);
  assert.equal(texts(list)[0], 'First');
});

/** One change by chance. What was added and inserted goes into `added` and `inserted`. */
function change(dice, list, added, mark) {
  const { items } = list;
  const [one, two] = [dice, dice].map(() => (items.length ? dice.pick(items) : undefined));
  switch (one ? dice.below(7) : 0) {
    case 0:
    case 1:
      added.add(list.add(`${mark()} 😀 ${mark()}`));
      break;
    case 2:
    case 3: {
      const points = [...one.text];
      points.splice(dice.below(points.length + 1), dice.below(2), mark());
      list.edit(one.id, points.join(''));
      break;
    }
    case 4:
      list.tick(one.id, dice.coin());
      break;
    case 5:
      list.move(one.id, dice.coin() ? two.id : undefined);
      break;
    default:
      if (dice.below(4) === 0) {
        list.remove([one.id]);
      } else {
        list.restore([dice.pick([...added])]);
      }
  }
}

test('three who change one list while apart end with the same, and nothing is lost', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const dice = new Dice(seed);
    const [first] = listOf('Milk', 'Bread', 'Tea 🍵');
    const lists = [first, copy(first), copy(first)];
    const added = new Set(first.items.map(({ id }) => id));
    /** Each mark is one character that is inserted once. */
    let marks = 0x4e00;
    const mark = () => String.fromCodePoint(marks++);
    /** The marks that somebody deleted, by what each list had and has no more after a change of its own. */
    const deleted = new Set();
    const marksOf = list => {
      const texts = [...list.doc.getMap('items').values()].map(item => `${item.get('text')}`);
      return new Set(texts.join('').match(/[\u4e00-\u9fff]/g));
    };
    for (let round = 0; round < 6; round += 1) {
      for (let step = 0; step < 12; step += 1) {
        const list = dice.pick(lists);
        const before = marksOf(list);
        change(dice, list, added, mark);
        const after = marksOf(list);
        for (const one of before) {
          if (!after.has(one)) deleted.add(one);
        }
      }
      // Some of them meet.
      const [from, to] = [dice.pick(lists), dice.pick(lists)];
      Y.applyUpdate(to.doc, Y.encodeStateAsUpdate(from.doc, Y.encodeStateVector(to.doc)));
    }
    for (const to of lists) {
      const updates = lists.map(list => list.state).sort(() => (dice.coin() ? 1 : -1));
      for (const update of [...updates, ...updates]) Y.applyUpdate(to.doc, update);
    }
    for (const list of lists) {
      assert.deepEqual(list.items, lists[0].items, `seed ${seed}`);
      // All of it is in the document; none is gone but what is as it was when it was deleted.
      const items = list.doc.getMap('items');
      for (const id of added) {
        const gone = items.get(id).get('gone')?.split(' ');
        const isShown = list.items.some(item => item.id === id);
        const text = items.get(id).get('text').toString();
        const isAsThen =
          gone?.[0] === (items.get(id).get('done') ? '1' : '0') && gone[1] === `${text.length}`;
        assert.ok(isShown || isAsThen, `seed ${seed}`);
        assert.ok(gone || isShown, `seed ${seed}`);
        assert.ok(!text.includes('\ufffd'), text);
      }
      const there = marksOf(list);
      for (let code = 0x4e00; code < marks; code += 1) {
        const one = String.fromCodePoint(code);
        assert.ok(there.has(one) || deleted.has(one), `seed ${seed}: ${one} was lost`);
      }
      assert.deepEqual(copy(list).items, list.items);
    }
  }
});

/** What somebody may put anywhere. */
const WRONG = [
  () => null,
  () => undefined,
  () => true,
  () => 7,
  () => -1e300,
  () => '',
  () => 'x'.repeat(3000),
  () => '\ud83d',
  () => ({}),
  () => ({ text: 7, done: 'x' }),
  () => [1, [2]],
  () => new Uint8Array(3),
  () => new Y.Map([['text', 7]]),
  () => new Y.Text('<b>'),
  () => new Y.Doc(),
];

test('a document of anything is a list still', () => {
  for (const wrong of WRONG) {
    for (const place of ['name', 'item', 'text', 'done', 'at', 'gone']) {
      const [list, milk, bread] = listOf('Milk', 'Bread');
      const bob = copy(list);
      const items = bob.doc.getMap('items');
      if (place === 'name') {
        bob.doc.getMap('meta').set('name', wrong());
      } else if (place === 'item') {
        items.set('odd', wrong());
      } else {
        items.get(milk).set(place, wrong());
      }
      Y.applyUpdate(list.doc, bob.state);
      const it = `${place}: ${wrong}`;
      assert.ok(list.name === undefined || list.name.length <= 80, it);
      for (const { id, text, done } of list.items) {
        assert.ok(typeof id === 'string' && typeof text === 'string' && text.length <= 2000, it);
        assert.equal(typeof done, 'boolean', it);
      }
      assert.ok(
        list.items.some(({ id }) => id === bread),
        it,
      );
      // It goes on.
      list.edit(milk, 'Oat milk');
      const eggs = list.add('Eggs');
      list.move(eggs, bread);
      list.move(bread, milk);
      list.tick(milk, true);
      const order = texts(list);
      assert.ok(order.indexOf('Eggs') >= 0 && order.includes('Bread'), it);
      list.move(eggs, list.items[0].id);
      assert.equal(texts(list)[0], 'Eggs', it);
      list.move(eggs, undefined);
      assert.equal(texts(list).at(-1), 'Eggs', it);
      list.remove(list.items.map(({ id }) => id));
      assert.deepEqual(list.items, [], it);
      list.restore([bread]);
      assert.deepEqual(texts(list), ['Bread'], it);
      assert.deepEqual(copy(list).items, list.items, it);
    }
  }
});

test('a text with something in it that is none is replaced when it is edited', () => {
  const [list, milk] = listOf('Milk');
  list.doc.getMap('items').get(milk).get('text').insertEmbed(1, { image: 'x' });
  assert.deepEqual(texts(list), ['Milk']);
  list.edit(milk, 'Milks');
  assert.deepEqual(texts(list), ['Milks']);
});

/** A list that somebody filled with entries whose keys are these. */
function filled(keys) {
  const list = new List('one');
  list.doc.transact(() => {
    keys.forEach((at, number) => {
      const item = new Y.Map([
        ['text', new Y.Text(`${number}`)],
        ['at', at],
      ]);
      list.doc.getMap('items').set(`${number}`, item);
    });
  });
  return list;
}

test('a list full of rubbish is shown up to 2,000 entries, and takes no more', () => {
  const list = filled(Array(1999).fill('a0'));
  assert.deepEqual([list.items.length, list.hidden], [1999, 0]);
  const last = list.add('Milk');
  assert.equal(list.items.at(-1).id, last);
  const before = list.state;
  assert.throws(() => list.add('Bread'), { code: 'too-many' });
  assert.deepEqual(list.state, before);
  list.remove([list.items[0].id]);
  list.add('Bread');
  assert.deepEqual(texts(list).slice(-2), ['Milk', 'Bread']);

  const over = filled(Array(2500).fill('a0'));
  assert.deepEqual([over.items.length, over.hidden], [2000, 500]);
  // The end is where it can be seen.
  const [{ id }] = over.items;
  over.move(id, undefined);
  assert.equal(over.items.at(-1).id, id);
  over.remove(over.items.slice(0, 100).map(({ id }) => id));
  assert.deepEqual([over.items.length, over.hidden], [2000, 400]);
});

test('whatever the order keys are, entries come to where they are put', () => {
  const smallest = `A${'0'.repeat(26)}`;
  const low = filled([`${smallest}1`, `${smallest}2`]);
  low.move('1', '0');
  assert.deepEqual(texts(low), ['1', '0']);
  const keys = [
    '',
    'a0',
    smallest,
    `${smallest}1`,
    `${smallest}01`,
    `A${'0'.repeat(25)}1`,
    'z'.repeat(27),
    'Zz',
    'a0V',
  ].concat(['a00', '~', 'a1', 'Z0', `${smallest}V`, 5, null]);
  for (let seed = 1; seed <= 400; seed += 1) {
    const dice = new Dice(seed);
    const list = filled(Array.from({ length: dice.between(1, 5) }, () => dice.pick(keys)));
    const order = list.items.map(({ id }) => id);
    const id = dice.pick(order);
    const before = dice.pick([...order, undefined].filter(other => other !== id));
    list.move(id, before);
    const expected = order.filter(other => other !== id);
    expected.splice(before ? expected.indexOf(before) : expected.length, 0, id);
    assert.deepEqual(
      list.items.map(({ id }) => id),
      expected,
      `seed ${seed}`,
    );
    const added = list.add('Milk');
    assert.equal(list.items.at(-1).id, added, `seed ${seed}`);
  }
});

test('a list has an end: first nothing is added any more, then nothing changed', () => {
  const list = new List('one');
  const milk = list.add('Milk');
  const change = code => {
    for (const [of, does] of [
      ['add', () => list.add('Bread')],
      ['add', () => list.edit(milk, `${Math.random()}`)],
      ['add', () => list.rename(`${list.name}!`)],
      ['change', () => list.tick(milk, !list.items.find(({ id }) => id === milk).done)],
      ['change', () => list.move(milk, undefined)],
      ['change', () => list.remove([milk])],
      ['change', () => list.restore([milk])],
    ]) {
      if (code[of]) {
        assert.throws(does, { code: 'too-large' });
      } else {
        does();
      }
    }
  };
  const fill = bytes => {
    const text = new Y.Text('x'.repeat(bytes - list.state.length - 100));
    list.doc.getMap('items').set(`${bytes}`, new Y.Map([['gone', text]]));
  };
  change({});
  fill(1_572_000);
  list.edit(milk, 'Milk');
  list.rename('Home');
  fill(1_572_864 + 1000);
  change({ add: true });
  fill(1_835_008 + 1000);
  const before = list.state;
  change({ add: true, change: true });
  assert.deepEqual(list.state, before);
  assert.ok(before.length < 2_097_152);
});

test('what is deleted often weighs little', () => {
  const list = new List('one');
  const id = list.add('x'.repeat(500));
  const before = list.state.length;
  for (let round = 0; round < 100; round += 1) {
    list.remove([id]);
    list.restore([id]);
  }
  assert.ok(list.state.length - before < 100, `${list.state.length - before}`);
});

test('ids are of 128 bits', () => {
  assert.match(randomId(), /^[\w-]{22}$/);
  assert.notEqual(randomId(), randomId());
});
