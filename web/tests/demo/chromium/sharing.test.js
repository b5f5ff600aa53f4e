// One link, two people: what one changes the other sees, also what they changed while apart.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { options, until } from '../../chromium/harness.js';
import {
  ALICE,
  add,
  BOB,
  CAROL,
  closeDialog,
  edit,
  entries,
  join,
  LIST,
  makeList,
  pair,
  people,
  remove,
  sees,
  share,
  stands,
  tick,
  visit,
} from './people.js';
import { DESKTOP, Demo } from './world.js';

test('a link shares a list; what either side does to it arrives', options, async t => {
  const world = await Demo.begin(t);
  const { alice, bob, link } = await pair(world, { alices: DESKTOP });
  const hash = new URL(link).hash;
  assert.match(
    hash,
    /^#\/join\/[\w-]{22}\/Groceries%20for%20Sunday\/Alice%20Liddell\?connectoid=A[\w-]{65}\.[\w-]+\.\.A[\w-]{43}$/,
  );
  // The link is used: it stands nowhere any more.
  assert.match(bob.url(), /\/demo\/#\/list\/[\w-]{22}$/);
  const both = [alice, bob];

  await add(bob, 'Dish soap');
  await add(alice, 'Coffee beans');
  await sees(both, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Dish soap', 'Coffee beans']);

  await tick(bob, 'Rye bread');
  await sees(both, ['Oat milk, 2 l', 'Red apples', 'Dish soap', 'Coffee beans'], ['Rye bread']);
  await tick(alice, 'Rye bread');
  await sees(both, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Dish soap', 'Coffee beans']);

  await edit(alice, 'Red apples', 'Red apples, 2 kg');
  await edit(bob, 'Oat milk, 2 l', 'Oat milk, 3 l');
  await sees(both, ['Oat milk, 3 l', 'Rye bread', 'Red apples, 2 kg', 'Dish soap', 'Coffee beans']);

  await bob.getByRole('button', { name: 'Move Oat milk, 3 l' }).press('ArrowDown');
  await sees(both, ['Rye bread', 'Oat milk, 3 l', 'Red apples, 2 kg', 'Dish soap', 'Coffee beans']);
  const grip = await alice.getByRole('button', { name: 'Move Coffee beans' }).boundingBox();
  const top = await alice.getByRole('button', { name: 'Move Rye bread' }).boundingBox();
  await alice.mouse.move(grip.x + grip.width / 2, grip.y + grip.height / 2);
  await alice.mouse.down();
  await alice.mouse.move(top.x + top.width / 2, top.y + 2, { steps: 8 });
  await alice.mouse.up();
  await sees(both, ['Coffee beans', 'Rye bread', 'Oat milk, 3 l', 'Red apples, 2 kg', 'Dish soap']);

  await remove(bob, 'Dish soap');
  await sees(both, ['Coffee beans', 'Rye bread', 'Oat milk, 3 l', 'Red apples, 2 kg']);
  await bob.getByRole('button', { name: 'Undo' }).click();
  await sees(both, ['Coffee beans', 'Rye bread', 'Oat milk, 3 l', 'Red apples, 2 kg', 'Dish soap']);

  await alice.getByRole('button', { name: 'More about this list' }).click();
  await alice.getByRole('button', { name: 'Rename the list' }).click();
  const rename = alice.getByRole('dialog', { name: 'Rename the list' });
  await rename.getByLabel('Name').fill('Sunday brunch');
  world.keep('Sunday brunch');
  await rename.getByRole('button', { name: 'Rename' }).click();
  for (const page of both) await page.getByRole('heading', { name: 'Sunday brunch', level: 1 }).waitFor();

  await unshare(alice, BOB);
  await isUnshared(bob, ALICE);
  await apart(alice, bob, ['Coffee beans', 'Rye bread', 'Oat milk, 3 l', 'Red apples, 2 kg', 'Dish soap']);
  await until('the boxes to go', async () => (await world.relay.boxes()) === 0);
});

/** Ends it with somebody. */
async function unshare(page, name) {
  const list = await people(page);
  await list.getByRole('button', { name: `What to do with ${name}` }).click();
  await list.getByRole('button', { name: 'Unshare', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: `Unshare ${name}?` });
  const words = `${name} keeps what is in the list by now, and gets nothing more from you. To share it again, make a new link.`;
  await dialog.getByText(words, { exact: true }).waitFor();
  await dialog.getByRole('button', { name: 'Unshare' }).click();
  await page.getByText(`The list is not shared with ${name} any more.`).first().waitFor();
  await list.getByText('It is shared with nobody.').waitFor();
  if (await page.getByRole('dialog').count()) await closeDialog(page);
}

/** It was ended by the other side: that is said, once. */
async function isUnshared(page, by) {
  const words = `${by} does not share this list with you any more. What is in it stays here.`;
  await page.getByText(words).waitFor();
  await page.getByRole('button', { name: 'I have read it' }).click();
  await page.reload();
  await stands(page, 'Shared with nobody');
  assert.equal(await page.getByText(words).count(), 0);
}

/** Both have the list, and what one changes does not come to the other. */
async function apart(alice, bob, texts) {
  await Promise.all([alice, bob].map(page => stands(page, 'Shared with nobody')));
  await add(alice, 'Only for Alice');
  await add(bob, 'Only for Bob');
  await sees(alice, [...texts, 'Only for Alice']);
  await sees(bob, [...texts, 'Only for Bob']);
}

test(
  'what both change while apart is merged; a reload and a dead relay keep everything',
  options,
  async t => {
    const world = await Demo.begin(t);
    const { alice, bob } = await pair(world);
    const both = [alice, bob];

    // The relay dies while they are connected: they go on.
    await world.relay.kill();
    await add(bob, 'Dish soap');
    await sees(both, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Dish soap']);

    // Bob's page is loaded anew without it: what he has is there, and what is missing is said in words.
    await bob.reload();
    await sees(bob, ['Oat milk, 2 l', 'Rye bread', 'Red apples', 'Dish soap']);
    await Promise.all(both.map(page => stands(page, 'The relay cannot be reached. Changes wait.')));
    const sheet = await people(alice);
    await sheet.getByText('The relay cannot be reached').waitFor();
    await closeDialog(alice);

    // Apart, both change the same entry, and each changes what the other deletes.
    await edit(alice, 'Oat milk, 2 l', 'Oat milk, 2 l, barista');
    await edit(bob, 'Oat milk, 2 l', 'Fresh Oat milk, 2 l');
    await remove(alice, 'Rye bread');
    await edit(bob, 'Rye bread', 'Rye bread, sliced');
    await tick(alice, 'Dish soap');
    await remove(bob, 'Red apples');
    await add(alice, 'Alices flour');
    await add(bob, 'Bobs butter');
    await sees(alice, ['Oat milk, 2 l, barista', 'Red apples', 'Alices flour'], ['Dish soap']);
    await sees(bob, ['Fresh Oat milk, 2 l', 'Rye bread, sliced', 'Dish soap', 'Bobs butter']);
    // And Bob closes his browser altogether.
    await bob.browser.close();

    await world.relay.start();
    await bob.browser.start();
    const again = await visit(world, { browser: bob.browser });
    await Promise.all([stands(alice, `${BOB} is here`), stands(again, `${ALICE} is here`)]);
    // Two who added at one place are put in an order that is the same for both, but up to chance.
    const merged = {
      toBuy: ['Alices flour', 'Bobs butter', 'Fresh Oat milk, 2 l, barista', 'Rye bread, sliced'],
      bought: ['Dish soap'],
    };
    await seesInSomeOrder([alice, again], merged);
    await alice.reload();
    await stands(alice, `${BOB} is here`);
    assert.deepEqual(await entries(alice), await entries(again));
    await add(alice, 'Lemons, three');
    await until('the last change', async () => (await entries(again)).toBuy.includes('Lemons, three'));
  },
);

/** Waits until just this stands on a list at all pages, and in the same order. */
async function seesInSomeOrder(pages, wanted) {
  let last;
  try {
    await until('the entries', async () => {
      last = await Promise.all(pages.map(entries));
      const [first, ...others] = last.map(all => JSON.stringify(all));
      const sorted = { ...last[0], toBuy: last[0].toBuy.toSorted() };
      return others.every(other => other === first) && JSON.stringify(sorted) === JSON.stringify(wanted);
    });
  } catch {
    assert.deepEqual(
      last,
      pages.map(() => wanted),
      'or in another order',
    );
  }
}

test('a relay that is killed before Bob joined comes back, and so does he', options, async t => {
  const world = await Demo.begin(t);
  const alice = await visit(world);
  await makeList(alice, LIST);
  await add(alice, 'Oat milk, 2 l');
  const browser = await world.browser();
  const link = await share(alice, { whom: BOB, own: ALICE, list: LIST });
  await closeDialog(alice);
  await stands(alice, `Waiting for ${BOB} to open the link`);
  const bob = await visit(world, { browser, path: link });
  await bob.getByRole('heading', { name: `${ALICE} shares “${LIST}” with you` }).waitFor();
  await world.relay.kill();
  await join(bob, { from: ALICE, list: LIST, own: BOB });
  const words = 'The relay cannot be reached. Changes wait.';
  await Promise.all([stands(alice, words), stands(bob, words)]);
  await bob.getByText(`${ALICE}: The relay cannot be reached.`).waitFor();
  await world.relay.start();
  await Promise.all([stands(alice, `${BOB} is here`), stands(bob, `${ALICE} is here`)]);
  await sees(bob, ['Oat milk, 2 l']);

  await unshare(bob, ALICE);
  await isUnshared(alice, BOB);
  await apart(alice, bob, ['Oat milk, 2 l']);
});

test('three people: what one changes comes to the other through the one who knows both', options, async t => {
  const world = await Demo.begin(t);
  const [{ alice, bob }, browser] = await Promise.all([
    pair(world, { alices: DESKTOP, texts: ['Oat milk, 2 l'] }),
    world.browser(),
  ]);
  const link = await share(alice, { whom: CAROL, list: LIST });
  await closeDialog(alice);
  const carol = await visit(world, { browser, path: link });
  await join(carol, { from: ALICE, list: LIST, own: CAROL });
  await stands(alice, `${BOB} and ${CAROL} are here`);
  await sees(carol, ['Oat milk, 2 l']);
  await add(bob, 'From Bob to all');
  await sees([alice, carol], ['Oat milk, 2 l', 'From Bob to all']);
  await edit(carol, 'From Bob to all', 'From Carol to all');
  await sees([alice, bob], ['Oat milk, 2 l', 'From Carol to all']);

  await alice.close();
  await Promise.all([bob, carol].map(page => stands(page, `Looking for ${ALICE}`)));
  await add(bob, 'Bobs butter');
  await edit(carol, 'Oat milk, 2 l', 'Oat milk, 3 l');
  await sees(bob, ['Oat milk, 2 l', 'From Carol to all', 'Bobs butter']);
  await sees(carol, ['Oat milk, 3 l', 'From Carol to all']);

  const again = await visit(world, { browser: alice.browser });
  await sees([again, bob, carol], ['Oat milk, 3 l', 'From Carol to all', 'Bobs butter']);
});
