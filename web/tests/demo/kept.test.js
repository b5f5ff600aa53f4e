// What is kept on the device: one write after the other, and again what could not be written.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDBFactory } from 'fake-indexeddb';
import { frail } from './disk.js';
import model from './load.js';

const { List, keeper, load, ME } = model;

const LIST = { id: 'one', made: 1, name: 'Home', state: Uint8Array.of(1, 2) };

/** A keeper of these lists, which are loaded first as the app does. */
async function keep(factory, lists) {
  const told = [];
  const loaded = await load(factory);
  const keeps = keeper(
    factory,
    loaded.lists.map(({ id }) => id),
    id => lists.get(id),
    () => lists.get(ME) ?? '',
    failed => told.push(failed),
  );
  return { ...keeps, told };
}

test('a device that keeps nothing yet', async () => {
  assert.deepEqual(await load(new IDBFactory()), { me: '', lists: [] });
});

test('lists are kept, in the order they were made, and deleted', async () => {
  const factory = new IDBFactory();
  const lists = new Map([
    ['one', { ...LIST, made: 5 }],
    ['two', { ...LIST, id: 'two', made: 3, leaving: true }],
    [ME, 'Alice'],
  ]);
  const keeps = await keep(factory, lists);
  for (const what of lists.keys()) keeps.changed(what);
  assert.equal(await keeps.stored(), true);
  assert.deepEqual(await load(factory), { me: 'Alice', lists: [lists.get('two'), lists.get('one')] });
  lists.delete('two');
  keeps.changed('two');
  lists.set('one', { ...LIST, state: Uint8Array.of(3) });
  keeps.changed('one');
  assert.equal(await keeps.stored(), true);
  assert.deepEqual(await load(factory), { me: 'Alice', lists: [{ ...LIST, state: Uint8Array.of(3) }] });
  assert.deepEqual(keeps.told, []);
});

test('what changes while something is written is written after it', async () => {
  const disk = frail();
  const lists = new Map([['one', LIST]]);
  const keeps = await keep(disk, lists);
  for (let number = 0; number < 30; number += 1) {
    lists.set('one', { ...LIST, state: Uint8Array.of(number) });
    keeps.changed('one');
    if (number % 3 === 0) await new Promise(setImmediate);
  }
  assert.equal(await keeps.stored(), true);
  assert.deepEqual([...(await load(disk)).lists[0].state], [29]);
  assert.equal(disk.most, 1);
  assert.ok(disk.writes < 15, `${disk.writes}`);
});

test('what could not be stored is tried again, and told once', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const disk = frail();
  const lists = new Map([['one', LIST]]);
  const keeps = await keep(disk, lists);
  disk.fails = true;
  keeps.changed('one');
  assert.equal(await keeps.stored(), false);
  assert.deepEqual(keeps.told, [true]);
  // With the next change, with the next call, and by itself.
  assert.equal(await keeps.stored(), false);
  lists.set('two', { ...LIST, id: 'two', made: 2 });
  keeps.changed('two');
  assert.equal(await keeps.stored(), false);
  assert.deepEqual(keeps.told, [true]);
  assert.deepEqual((await load(disk)).lists, []);
  disk.fails = false;
  t.mock.timers.tick(3999);
  const { writes } = disk;
  await new Promise(setImmediate);
  assert.equal(disk.writes, writes);
  t.mock.timers.tick(1);
  while (keeps.told.length < 2) await new Promise(setImmediate);
  assert.deepEqual(keeps.told, [true, false]);
  assert.deepEqual((await load(disk)).lists, [LIST, lists.get('two')]);
});

/** A document with these entries, begun with another one. */
function stateOf(texts, before) {
  const list = new List('one', before);
  for (const text of texts) list.add(text);
  return list.state;
}

const textsOf = ({ lists }) => new List('one', lists[0].state).items.map(({ text }) => text).sort();

/** Two tabs: the first has a change that its disk does not take when the second takes over, and adds something, too. */
async function twoTabs(t) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const disk = frail();
  const milk = { ...LIST, state: stateOf(['Milk']) };
  const first = new Map([['one', milk]]);
  const old = await keep(disk, first);
  old.changed('one');
  assert.equal(await old.stored(), true);
  first.set('one', { ...milk, state: stateOf(['Bread'], milk.state) }).set(ME, 'Alice');
  disk.fails = true;
  old.changed('one');
  old.changed(ME);
  assert.equal(await old.stored(), false);
  old.stop();
  disk.fails = false;
  const second = new Map([
    ['one', { ...milk, state: stateOf(['Eggs'], milk.state) }],
    [ME, 'Carol'],
  ]);
  const now = await keep(disk, second);
  now.changed(ME);
  return { disk, old, now, first, second, milk };
}

/** The first tab tries again, by itself. */
async function tryAgain(t, old) {
  const before = old.told.length;
  t.mock.timers.tick(1000);
  while (old.told.length === before) await new Promise(setImmediate);
}

test('what a tab that lost the app could not store is added to what the other one stored', async t => {
  const { disk, old, now, second, milk } = await twoTabs(t);
  now.changed('one');
  assert.equal(await now.stored(), true);
  await tryAgain(t, old);
  assert.deepEqual(textsOf(await load(disk)), ['Bread', 'Eggs', 'Milk']);
  assert.equal((await load(disk)).me, 'Carol');
  // And stays there, though the other tab does not know it.
  for (const text of ['Tea', 'Rice']) {
    second.set('one', { ...milk, state: stateOf([text], second.get('one').state) });
    now.changed('one');
    assert.equal(await now.stored(), true);
  }
  assert.deepEqual(textsOf(await load(disk)), ['Bread', 'Eggs', 'Milk', 'Rice', 'Tea']);
});

test('a tab that lost the app writes nothing that changes later', async t => {
  const { disk, old, first, milk } = await twoTabs(t);
  await tryAgain(t, old);
  const { writes } = disk;
  first.set('one', { ...milk, state: stateOf(['Tea'], milk.state) });
  old.changed('one');
  assert.equal(await old.stored(), true);
  await old.close();
  assert.equal(disk.writes, writes);
  assert.deepEqual(textsOf(await load(disk)), ['Bread', 'Milk']);
});

test('what another tab deletes stays deleted', async t => {
  const { disk, old, now, second, milk } = await twoTabs(t);
  const remains = { ...milk, state: Uint8Array.of(), leaving: true };
  second.set('one', remains);
  now.changed('one');
  assert.equal(await now.stored(), true);
  await tryAgain(t, old);
  assert.deepEqual((await load(disk)).lists, [remains]);
});

test('what another tab deleted stays deleted', async t => {
  const { disk, old, now, second } = await twoTabs(t);
  second.delete('one');
  now.changed('one');
  assert.equal(await now.stored(), true);
  await tryAgain(t, old);
  assert.deepEqual((await load(disk)).lists, []);
});

test('a list that was deleted can come again', async () => {
  const lists = new Map([['one', { ...LIST, leaving: true }]]);
  const factory = new IDBFactory();
  const keeps = await keep(factory, lists);
  for (const now of [lists.get('one'), LIST, undefined, LIST]) {
    if (now) lists.set('one', now);
    else lists.delete('one');
    keeps.changed('one');
    assert.equal(await keeps.stored(), true);
    assert.deepEqual((await load(factory)).lists, now ? [now] : []);
  }
});

test('what the user deleted is not written back', async () => {
  const factory = new IDBFactory();
  const keeps = await keep(factory, new Map([['one', LIST]]));
  await new Promise(done => {
    factory.deleteDatabase('shopping-list').onsuccess = done;
  });
  keeps.changed('one');
  assert.equal(await keeps.stored(), false);
  assert.equal(await keeps.close(), false);
  assert.ok(keeps.told.every(failed => failed === 'deleted') && keeps.told.length > 0);
  assert.deepEqual(await load(factory), { me: '', lists: [] });
});

test('what is no list is left out', async () => {
  const factory = new IDBFactory();
  const lists = new Map([
    ['one', LIST],
    ['two', { id: 'two' }],
    ['three', { ...LIST, id: 'three', state: 'x' }],
    [ME, 7],
  ]);
  const keeps = await keep(factory, lists);
  for (const what of lists.keys()) keeps.changed(what);
  assert.equal(await keeps.close(), true);
  assert.deepEqual(await load(factory), { me: '', lists: [LIST] });
});
