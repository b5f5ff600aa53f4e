// What the screen makes of words and places: what is said of people and lists, lines that are pasted, an entry that two change at the
// same time, and one that is dragged.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const { outputFiles } = await build({
  stdin: {
    contents: ['./drag.js', './edited.js', './lines.js', './merged.js', './standing.js', '../words.js']
      .map(path => `export * from '${path}';`)
      .join(''),
    resolveDir: fileURLToPath(new URL('../../demo/src/ui/', import.meta.url)),
    loader: 'ts',
  },
  bundle: true,
  format: 'esm',
  write: false,
});
const {
  ago,
  dragged,
  editingOf,
  isolated,
  isThisComputer,
  linesOf,
  merged,
  movedTo,
  namesOf,
  standingOf,
  whatJoiningMeans,
  whatNamesakesMean,
  whatUnshareMeans,
  withEdited,
  wordsOf,
  wordsOfAlarm,
  wordsOfError,
  worksFor,
} = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);

const SAS = {};
/** Somebody who is not here now, or as they are said to be. */
const person = (name, as = {}) => ({
  contact: `list/${name}`,
  name,
  state: 'offline',
  flows: false,
  sas: SAS,
  verification: 'unverified',
  mustVerify: false,
  ...as,
});
const HERE = { state: 'connected', flows: true };

test('each line that is pasted is an entry, without the mark that it began with', () => {
  const pasted = '- Rice\r\n* Beans\n\n  [ ] Corn\n- [x] Oil\n☐ Peas\n7-Up\n2 - 3 lemons\n--\n';
  assert.deepEqual(linesOf(pasted), ['Rice', 'Beans', 'Corn', 'Oil', 'Peas', '7-Up', '2 - 3 lemons', '--']);
  assert.deepEqual(linesOf('   \n'), []);
  assert.equal(linesOf('x\n'.repeat(1000)).length, 500);
});

test('what others change elsewhere in an entry comes into what is being typed, and the cursor stays at its word', () => {
  // The cursor is after what was typed.
  assert.deepEqual(merged('Milk', 'Milk 3,5%', '2 Milk', [9, 9]), { text: '2 Milk 3,5%', marks: [11, 11] });
  assert.deepEqual(merged('Milk', '2 Milk', 'Milk 3,5%', [2, 2]), { text: '2 Milk 3,5%', marks: [2, 2] });
  assert.deepEqual(merged('red apples', 'red pears', 'apples', [9, 9]), { text: 'pears', marks: [5, 5] });
  // Nothing was typed yet.
  assert.deepEqual(merged('Milk', 'Milk', 'Cream', [4, 4]), { text: 'Cream', marks: [5, 5] });
  // Both at the same place of nothing, and both the same.
  assert.deepEqual(merged('ab', 'axb', 'ayb', [2, 2]), { text: 'ayxb', marks: [3, 3] });
  assert.deepEqual(merged('Milk', 'Cream', 'Cream', [5, 5]), { text: 'Cream', marks: [5, 5] });
});

test('where both changed the same word, what is being typed stays', () => {
  assert.equal(merged('Bread', 'Rolls', 'Bagels', [5, 5]), undefined);
});

test('an entry that is being edited stays at its place when somebody else deletes or ticks it', () => {
  const entry = (id, done = false) => ({ id, text: id, done });
  // What is bought stands below, and among the others in the list.
  const items = [entry('rice', true), entry('beans'), entry('corn'), entry('oil')];
  const editing = editingOf(items, items[1]);
  const shown = items => withEdited(items, editing).map(({ id, done }) => [id, done]);
  const expected = [
    ['rice', true],
    ['beans', false],
    ['corn', false],
    ['oil', false],
  ];
  assert.deepEqual(shown(items), expected);
  assert.deepEqual(shown(items.toSpliced(1, 1)), expected);
  assert.deepEqual(shown(items.with(1, entry('beans', true))), expected);
  assert.equal(withEdited(items, undefined), items);
});

test('how somebody stands is said in a few words, with what can be done about it', () => {
  const table = [
    [{}, 'away', 'Not here now', undefined],
    [{ sas: undefined }, 'away', 'Not connected yet', 'try-again'],
    [{ ...HERE }, 'here', 'Connected', undefined],
    // A connection alone brings no list.
    [{ state: 'connected' }, 'waiting', 'Connecting…', undefined],
    [{ state: 'connected', trouble: 'no-list' }, 'wrong', 'What came is no list', 'try-again'],
    [{ state: 'connected', trouble: 'wrong-list' }, 'wrong', 'Another list came', 'unshare'],
    [{ ...HERE, trouble: 'no-path' }, 'here', 'Connected', undefined],
    [{ state: 'interrupted' }, 'waiting', 'Connection lost', undefined],
    [{ state: 'connecting' }, 'waiting', 'Looking for Bob', undefined],
    [{ state: 'connecting', sas: undefined }, 'waiting', 'Waiting for Bob', undefined],
    [{ state: 'connecting', trouble: 'no-path' }, 'wrong', 'No way through', 'try-again'],
    [{ trouble: 'relay-down' }, 'away', 'The relay cannot be reached', undefined],
    [{ trouble: 'gave-up' }, 'away', 'Nobody answered for two days', 'try-again'],
    [{ trouble: 'declined' }, 'wrong', 'Refused', 'unshare'],
    [{ trouble: 'link-used' }, 'wrong', 'Somebody else used this link before you', 'unshare'],
    [{ trouble: 'link-expired' }, 'wrong', 'The link is too old', 'unshare'],
    [{ state: 'waiting', link: 'https://r/' }, 'waiting', 'Waiting for Bob to open the link', 'show-link'],
    [{ state: 'waiting' }, 'waiting', 'Bob opened the link', undefined],
    [{ ...HERE, verification: 'mismatch' }, 'wrong', 'The emoji differed', 'unshare'],
    [{ state: 'connected', mustVerify: true }, 'wrong', 'Compare first', 'compare'],
    [{ ...HERE, usedTwice: 1 }, 'wrong', 'Somebody else used the link, too', 'unshare'],
    [{ ...HERE, usedTwice: 1, verification: 'verified' }, 'here', 'Connected', undefined],
  ];
  for (const [as, ...expected] of table) {
    const { mark, short, remedy } = wordsOf(person('Bob', as));
    assert.deepEqual([mark, short, remedy], expected, JSON.stringify(as));
  }
  assert.equal(wordsOf(person('Bob', { trouble: 'relay-down' }), false, false).short, 'Offline');
  const { mark, short, remedy } = wordsOf(person('Bob', { state: 'connected' }), true);
  assert.deepEqual([mark, short, remedy], ['waiting', 'Connected, but the list does not come', 'try-again']);
});

test('how a list stands with the others is said in one line', () => {
  const bob = person('Bob');
  const table = [
    [[], undefined, true, 'away', 'Shared with nobody'],
    [[], 'timeout', false, 'away', 'Shared with nobody'],
    [[bob], undefined, true, 'away', 'Bob: Not here now'],
    // A relay on this device needs no network.
    [[bob], undefined, false, 'away', 'Bob: Not here now'],
    [[bob], 'network', true, 'away', 'The relay cannot be reached. Changes wait.'],
    [[bob], 'network', false, 'away', 'Offline. Changes are sent later.'],
    [[person('Bob', HERE)], 'network', false, 'here', 'Bob is here'],
    [[person('Bob', HERE), person('Carol', HERE)], undefined, true, 'here', 'Bob and Carol are here'],
    [[person('Bob', { state: 'connected' })], undefined, true, 'waiting', 'Bob: Connecting…'],
    [
      [person('Bob', { state: 'connected' })],
      'network',
      true,
      'away',
      'The relay cannot be reached. Changes wait.',
    ],
    [[person('Bob', { state: 'connecting' })], undefined, true, 'waiting', 'Looking for Bob'],
    [[bob, person('Carol')], undefined, true, 'away', 'Shared with Bob and Carol; none of them is here now'],
    [
      [person('Bob', HERE), person('Carol', { trouble: 'declined' })],
      undefined,
      true,
      'wrong',
      'Carol: Refused',
    ],
  ];
  for (const [people, relayDown, isOnline, mark, words] of table) {
    assert.deepEqual(standingOf({ people }, { relayDown }, isOnline), { mark, words });
  }
  const lost = { people: [person('Bob', { trouble: 'link-used' })], isAwaited: true };
  assert.deepEqual(standingOf(lost, {}, true), { mark: 'wrong', words: 'Nothing of it came' });
});

test('who joins a list that is here already hears who comes to it, and that a name is taken', () => {
  const list = people => ({ name: 'Groceries', people: people.map(name => person(name)) });
  assert.equal(
    whatJoiningMeans(list(['Bob', 'Carol'])),
    'You have this list already, as “Groceries”. Whoever made this link gets all that is on it, and may change it. It is shared with Bob and Carol already.',
  );
  assert.equal(
    whatJoiningMeans(list([])),
    'You have this list already, as “Groceries”. Whoever made this link gets all that is on it, and may change it. It is shared with nobody now.',
  );
  const words =
    'Alice is in this list already: this link is somebody else’s, or from another device of Alice. Ask Alice.';
  assert.equal(whatNamesakesMean(list(['Bob', 'Alice']), 'Alice'), words);
  assert.equal(whatNamesakesMean({ people: [person('ALICE')] }, 'Alice'), words);
  // She is called something else here.
  assert.equal(whatNamesakesMean({ people: [person('My sister', { ownName: 'Alice' })] }, 'Alice'), words);
  assert.equal(whatNamesakesMean(list(['Bob']), 'Alice'), undefined);
  assert.equal(whatNamesakesMean({ people: [person('Bob')] }, ''), undefined);
});

test('names that are read from right to left leave the words around them in their order', () => {
  const table = [
    ['Bob', 'Bob'],
    ['Zoë 🍏', 'Zoë 🍏'],
    ['李', '李'],
    ['חוה', '\u2068חוה\u2069'],
    ['ليلى 2', '\u2068ليلى 2\u2069'],
    ['\u{10900}', '\u2068\u{10900}\u2069'],
    ['Bob\u202e', '\u2068Bob\u202e\u2069'],
  ];
  for (const [name, expected] of table) assert.equal(isolated(name), expected);
  const eve = person('חוה', HERE);
  assert.equal(standingOf({ people: [eve] }, {}, true).words, '\u2068חוה\u2069 is here');
  assert.equal(
    wordsOf({ ...eve, state: 'offline' }).more,
    'Changes reach \u2068חוה\u2069 when you are both here.',
  );
  assert.equal(
    wordsOfAlarm({ alarm: 'link-used-twice', name: 'חוה' }, 'List').title,
    'Two people used \u2068חוה\u2069’s link',
  );
});

test('what it means to unshare somebody', () => {
  const [bob, carol] = [person('Bob'), person('Carol')];
  assert.equal(
    whatUnshareMeans('Bob', { people: [bob, carol], isAwaited: false }),
    'Bob keeps what is in the list by now, and gets nothing more from you. Others who share it with Bob go on doing so. To share it again, make a new link.',
  );
  assert.equal(whatUnshareMeans('Bob', { people: [bob], isAwaited: true }), 'Nothing came by this link.');
});

test('several names are one phrase', () => {
  const names = (...all) => namesOf(all.map(name => ({ name })));
  assert.equal(names(), '');
  assert.equal(names('A'), 'A');
  assert.equal(names('A', 'B'), 'A and B');
  assert.equal(names('A', 'B', 'C'), 'A, B and C');
  assert.equal(names('A', 'B', 'C', 'D', 'E'), 'A, B and 3 more');
});

test('what went wrong, times and addresses are said in words', () => {
  const table = [
    [{ code: 'name-taken' }, 'There is a Bob in this list already. Take another name, like “Bob at work”.'],
    [{ code: 'too-many' }, 'This list is full. Clear what is bought to make room.'],
    [{ code: 'too-large' }, 'This list is full, with all that ever was on it. Go on with a new one.'],
    [{ code: 'deleted' }, 'The data of this site was deleted meanwhile. Reload the page.'],
    [new Error('x'), 'That did not work. Try it again; if it stays so, reload the page.'],
  ];
  for (const [error, words] of table) assert.equal(wordsOfError(error, 'Bob'), words);
  const HOUR = 3_600_000;
  assert.deepEqual(
    [0, 59_000, 60_000, 5 * HOUR, 26 * HOUR].map(time => ago(0, time)),
    ['just now', 'just now', '1 minute ago', '5 hours ago', 'yesterday'],
  );
  assert.deepEqual(
    [0, 1, 3, 35, 36, 168].map(hours => worksFor(hours * HOUR, 0)),
    ['for less than an hour', 'for 1 hour', 'for 3 hours', 'for 35 hours', 'for 2 days', 'for 7 days'],
  );
  assert.deepEqual(
    [
      'http://localhost:1/',
      'http://127.0.0.2',
      'http://[::1]:8',
      'https://a.localhost',
      'https://r.example',
      '',
    ].map(isThisComputer),
    [true, true, true, true, false, false],
  );
});

test('an entry that is dragged comes before the one it was held above, whatever comes and goes meanwhile', () => {
  const rows = ['a', 'b', 'c', 'd'].map((item, index) => ({ item, top: index * 50, height: 50 }));
  const table = [
    ['b', 0, 'c', [0, 0, 0, 0]],
    ['b', 20, 'c', [0, 20, 0, 0]],
    ['b', 60, 'd', [0, 60, -50, 0]],
    ['b', 500, undefined, [0, 500, -50, -50]],
    ['d', -60, 'c', [0, 0, 50, -60]],
    ['d', -500, 'a', [50, 50, 50, -500]],
    ['a', 60, 'c', [60, -50, 0, 0]],
  ];
  for (const [item, by, before, shifts] of table)
    assert.deepEqual(dragged(rows, item, by), { shifts, before }, `${item} by ${by}`);
  assert.equal(dragged(rows, 'x', 10), undefined);

  // It was held above c, when somebody put two more before it.
  assert.equal(movedTo(['x', 'y', 'a', 'b', 'c', 'd'], 'd', 'c'), 4);
  assert.equal(movedTo(['a', 'b', 'c', 'd'], 'a', 'd'), 2);
  assert.equal(movedTo(['a', 'b', 'c', 'd'], 'a', undefined), 3);
  // Nothing changes, or the other one is gone, or it is.
  assert.equal(movedTo(['a', 'b', 'c'], 'a', 'b'), undefined);
  assert.equal(movedTo(['a', 'b', 'c'], 'c', undefined), undefined);
  assert.equal(movedTo(['a', 'b', 'd'], 'd', 'c'), undefined);
  assert.equal(movedTo(['a', 'b', 'c'], 'd', 'a'), undefined);
});
