// What is left of Yjs in the app understands the whole of it, and is understood: whatever comes, and in whichever order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as whole from 'yjs';
import model from './load.js';

const less = model.Y;

/** The same numbers each time. */
function numbers(seed) {
  let state = seed;
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Something that is done to a document, by that Yjs. */
function edit(Y, doc, below) {
  const map = doc.getMap('map');
  const key = `k${below(4)}`;
  const there = map.get(key);
  const has = there?.length ?? 0;
  const at = below(has + 1);
  switch (below(9)) {
    case 0:
      return map.set(key, new Y.Text('some words'));
    case 1:
      return map.set(key, [1, null, 'x', { a: [true, 2.5] }][below(4)]);
    case 2:
      return map.set(key, new Y.Map([['in', new Y.Text('inner')]]));
    case 3:
      return map.delete(key);
    case 4:
      return map.set(key, below(1000));
    case 5:
      return has && there instanceof Y.Text && there.delete(Math.min(at, has - 1), 1);
    case 6:
      return there instanceof Y.Text && there.format(0, at, { bold: below(2) === 1 || null });
    default:
      return there instanceof Y.Text && there.insert(at, '\u{1f34e}é');
  }
}

test('documents of both are the same in the end, whatever comes late', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const below = numbers(seed);
    const all = [less, whole, less, whole].map((Y, i) => {
      const doc = new Y.Doc();
      doc.clientID = i + 1;
      const waiting = [];
      return { Y, doc, waiting };
    });
    for (const one of all) {
      one.doc.on('update', (update, origin) => {
        if (origin === 'other') return;
        for (const { waiting } of all.filter(other => other !== one)) waiting.push(update);
      });
    }
    for (let step = 0; step < 150; step++) {
      const { Y, doc, waiting } = all[below(4)];
      // Any of them, not the first one: those before it are missing then, and it waits.
      if (below(2) && waiting.length) {
        Y.applyUpdate(doc, waiting.splice(below(waiting.length), 1)[0], 'other');
      } else {
        edit(Y, doc, below);
      }
      // What waits goes along with the rest.
      if (below(20) === 0) {
        const other = all[below(4)];
        other.Y.applyUpdate(other.doc, Y.encodeStateAsUpdate(doc), 'other');
      }
      if (below(20) === 0) {
        const other = all[below(4)];
        const lacking = Y.encodeStateAsUpdate(doc, other.Y.encodeStateVector(other.doc));
        other.Y.applyUpdate(other.doc, lacking, 'other');
      }
    }
    for (const { Y, doc, waiting } of all) {
      for (const update of waiting) Y.applyUpdate(doc, update, 'other');
      assert.deepEqual([doc.store.pendingStructs, doc.store.pendingDs], [null, null]);
    }
    const [first, ...others] = all.map(({ Y, doc }) => [
      doc.getMap('map').toJSON(),
      Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc))),
    ]);
    for (const other of others) assert.deepEqual(other, first);
  }
});

test('what waits is the same in both', () => {
  const doc = new whole.Doc();
  const updates = [];
  doc.on('update', update => updates.push(update));
  const text = doc.getText('text');
  for (const letter of 'abcdef') text.insert(text.length, letter);
  text.delete(0, 2);
  const [first, second, ...late] = updates;
  for (const update of [second, ...late]) {
    const states = [less, whole].map(Y => {
      const doc = new Y.Doc();
      for (const one of [update, ...late]) Y.applyUpdate(doc, one);
      assert.equal(doc.getText('text').toString(), '');
      assert.ok(doc.store.pendingStructs && doc.store.pendingDs);
      return Y.encodeStateAsUpdate(doc);
    });
    for (const state of states) {
      for (const Y of [less, whole]) {
        const doc = new Y.Doc();
        for (const one of [state, second, first]) Y.applyUpdate(doc, one);
        assert.equal(doc.getText('text').toString(), 'cdef');
        assert.deepEqual([doc.store.pendingStructs, doc.store.pendingDs], [null, null]);
      }
    }
  }
});

test('arrays and the types of XML are refused', () => {
  for (const make of [
    () => new whole.Array(),
    () => new whole.XmlElement('p'),
    () => new whole.XmlFragment(),
    () => new whole.XmlHook('x'),
    () => new whole.XmlText('x'),
  ]) {
    const doc = new whole.Doc();
    doc.getMap('map').set('x', make());
    assert.throws(() => less.applyUpdate(new less.Doc(), whole.encodeStateAsUpdate(doc)), TypeError);
  }
});
