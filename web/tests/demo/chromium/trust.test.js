// Whether it is the right one who is there: seven emoji, and a link that two used.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until } from '../../chromium/harness.js';
import { isAccessible } from './accessible.js';
import {
  ALICE,
  add,
  BOB,
  CAROL,
  closeDialog,
  join,
  LIST,
  pair,
  people,
  sees,
  stands,
  visit,
} from './people.js';
import { DESKTOP, Demo } from './world.js';

/** Opens the comparison from the people of a list. */
async function compare(page, name) {
  const list = await people(page);
  await list.getByRole('button', { name: `What to do with ${name}` }).click();
  await list.getByRole('button', { name: /^Compare/ }).click();
  return page.getByRole('dialog', { name: `Is it ${name}?` });
}

const seven = dialog => dialog.getByRole('listitem').allInnerTexts();

test('both see the same seven emoji; the same verifies, others end it', options, async t => {
  const world = await Demo.begin(t);
  const { alice, bob } = await pair(world, { alices: DESKTOP, texts: ['Oat milk, 2 l'] });
  await isAccessible(alice, 'a list');
  const [here, there] = await Promise.all([compare(alice, BOB), compare(bob, ALICE)]);
  await isAccessible(alice, 'the comparison', ['desktop']);
  await isAccessible(bob, 'the comparison', ['phone']);
  const [atAlice, atBob] = await Promise.all([seven(here), seven(there)]);
  assert.equal(atAlice.length, 7);
  // A picture, and its name.
  for (const one of atAlice) assert.match(one, /^\p{Emoji}\S*\s+[A-Z][A-Za-z ]+$/u);
  assert.deepEqual(atAlice, atBob);
  await here.getByRole('button', { name: 'They are the same' }).click();
  const column = await people(alice);
  await column
    .getByRole('listitem', { name: `${BOB} verified` })
    .getByText('Connected')
    .waitFor();

  await there.getByRole('button', { name: 'They differ' }).click();
  await there.getByText(`Then this may not be ${ALICE}.`).waitFor();
  await isAccessible(bob, 'the question whether they differ', ['phone']);
  await there.getByRole('button', { name: 'End the connection' }).click();
  const alarm = bob.getByRole('alertdialog', { name: 'The emoji differ' });
  await alarm.getByText(`You said that ${ALICE} sees other emoji than you do.`).waitFor();
  await alarm.getByRole('button', { name: 'I have read it' }).click();
  if (await bob.getByRole('dialog', { name: 'People' }).count()) await closeDialog(bob);
  await stands(bob, `${ALICE}: The emoji differed`);
  await until(
    'the end at Alice',
    async () => !(await alice.locator('.standing').innerText()).includes('is here'),
  );
  await add(alice, 'Only for Alice');
  await sees(bob, ['Oat milk, 2 l']);
});

test('a link that two used: an alarm at who made it, words at who came second', options, async t => {
  const world = await Demo.begin(t);
  const [{ alice, bob, link }, browser] = await Promise.all([
    pair(world, { alices: DESKTOP, texts: ['Oat milk, 2 l'] }),
    world.browser(),
  ]);
  const carol = await visit(world, { browser, path: link });
  await carol.getByRole('button', { name: 'Join' }).waitFor();
  await isAccessible(carol, 'a link that somebody opened');
  await join(carol, { from: ALICE, list: LIST, own: CAROL });

  const alarm = alice.getByRole('alertdialog', { name: `Two people used ${BOB}’s link` });
  await alarm
    .getByText(
      `The link to “${LIST}” was meant for ${BOB} alone. Somebody else used it, too. Nothing of the list goes either way now.`,
    )
    .waitFor();
  await stands(carol, 'Nothing of it came');
  await carol.getByRole('alert').getByText('Somebody else used this link before you.').waitFor();
  await isAccessible(carol, 'a link that was used before');
  // It cannot be clicked away unread, nor by a new start.
  await alice.keyboard.press('Escape');
  await alice.mouse.click(5, 5);
  await alarm.waitFor();
  await alice.reload();
  await alarm.getByRole('button', { name: 'I have read it' }).and(alice.locator(':enabled')).waitFor();
  await isAccessible(alice, 'an alarm');

  // Nothing flows before they compared, from the alarm itself.
  await add(bob, 'Dish soap');
  await alarm.getByRole('button', { name: 'Compare' }).click();
  const here = alice.getByRole('dialog', { name: `Is it ${BOB}?` });
  const there = await compare(bob, ALICE);
  assert.deepEqual(await seven(here), await seven(there));
  await closeDialog(bob).catch(() => {});
  await sees(alice, ['Oat milk, 2 l']);
  await here.getByRole('button', { name: 'They are the same' }).click();
  await until('the alarm to go', async () => (await alice.getByRole('alertdialog').count()) === 0);
  await sees(alice, ['Oat milk, 2 l', 'Dish soap']);
  await stands(alice, `${BOB} is here`);
  // Who came second got nothing of it.
  await sees(carol, []);
  await carol.getByRole('button', { name: 'Remove this list' }).click();
  await carol.getByText('What do you need?').waitFor();
});
