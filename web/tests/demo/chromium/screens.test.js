// Each screen and dialog that one person comes to: its words, its links, and that everybody can use it, by keyboard alone as well.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import decodeQR from 'qr/decode.js';
import { options, until } from '../../chromium/harness.js';
import { isAccessible } from './accessible.js';
import {
  ALICE,
  add,
  BOB,
  closeDialog,
  LIST,
  makeList,
  people,
  sees,
  share,
  stands,
  tick,
  visit,
} from './people.js';
import { DESKTOP, Demo } from './world.js';

/** What a phone's camera reads on a page. */
async function scanned(page, image) {
  const shot = await image.screenshot({ scale: 'css' });
  const blank = await page.context().newPage();
  const { width, height, data } = await blank.evaluate(async png => {
    const bytes = Uint8Array.from(atob(png), char => char.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const { width, height } = picture;
    const context = new OffscreenCanvas(width, height).getContext('2d');
    context.drawImage(picture, 0, 0);
    return { width, height, data: [...context.getImageData(0, 0, width, height).data] };
  }, shot.toString('base64'));
  await blank.close();
  return decodeQR({ width, height, data: Uint8Array.from(data) });
}

/** Opens what is in the menu of a list. */
async function choose(page, name) {
  await page.getByRole('button', { name: 'More about this list' }).click();
  await page.getByRole('button', { name, exact: true }).click();
}

test('what one person comes to alone', options, async t => {
  const world = await Demo.begin(t);
  world.isShared = false;
  const page = await visit(world);
  await makeList(page, LIST);
  await page.getByText('Nothing on it yet. What do you need?').waitFor();
  await stands(page, 'Shared with nobody');
  await isAccessible(page, 'an empty list');
  await add(page, 'Oat milk, 2 l', 'Rye bread', 'Red apples');
  await tick(page, 'Rye bread');
  await sees(page, ['Oat milk, 2 l', 'Red apples'], ['Rye bread']);
  await page.getByRole('button', { name: 'Edit Red apples' }).click();
  await isAccessible(page, 'an entry that is edited', ['phone']);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'More about this list' }).click();
  await isAccessible(page, 'the menu of a list', ['phone']);
  await page.keyboard.press('Escape');

  for (const [name, title] of [
    ['Rename the list', 'Rename the list'],
    ['Delete the list', 'Delete the list?'],
    ['What the relay sees', 'What the relay sees'],
  ]) {
    await choose(page, name);
    await page.getByRole('dialog', { name: title }).waitFor();
    await isAccessible(page, title, ['phone']);
    await closeDialog(page);
  }

  // The link: a field that must not be empty, then copied, and scanned.
  await page.getByRole('button', { name: 'Share', exact: true }).click();
  await page.getByRole('button', { name: 'Make the link' }).click();
  await page.getByText('Say whom it is for. Only you see this name.').waitFor();
  await isAccessible(page, 'whom a list is shared with');
  await closeDialog(page);
  const link = await share(page, { whom: BOB, own: ALICE, list: LIST });
  const dialog = page.getByRole('dialog', { name: `The link for ${BOB}` });
  await dialog
    .getByText('For one person. Who joins first is in this list with you; it works for 7 days.')
    .waitFor();
  await dialog.getByRole('button', { name: 'Copy the link' }).click();
  await dialog.getByRole('button', { name: 'Copied ✓' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), link);
  const code = dialog.getByRole('img', { name: `QR code of the link for ${BOB}` });
  assert.equal(await scanned(page, code), link);
  await dialog.getByText('This address works on this computer only.').waitFor();
  await isAccessible(page, 'a link');
  await closeDialog(page);
  const sheet = await people(page);
  await sheet.getByText(`Waiting for ${BOB} to open the link`).waitFor();
  await sheet.getByRole('button', { name: `What to do with ${BOB}` }).click();
  await isAccessible(page, 'the people of a list', ['phone']);
  await sheet.getByRole('button', { name: 'Show the link' }).click();
  assert.equal(await page.getByLabel('The link', { exact: true }).inputValue(), link);
  await page
    .getByRole('dialog', { name: `The link for ${BOB}` })
    .getByRole('button', { name: 'Close' })
    .click();
  await closeDialog(page);

  // Links that lead nowhere. The link itself stays good.
  await page.goto(link);
  await page.getByRole('heading', { name: 'This link is your own' }).waitFor();
  await isAccessible(page, 'a link of one’s own');
  await page.goto(link.slice(0, -9));
  await page.getByRole('heading', { name: 'This link is not whole' }).waitFor();
  await isAccessible(page, 'a link that was cut');
  await page.goto(`${world.relay.url}/demo/#/list/${'A'.repeat(22)}`);
  await page.getByRole('heading', { name: 'This list is not here' }).waitFor();
  await isAccessible(page, 'a list that is not here');
  await page.goto(`${world.relay.url}/demo/#/about`);
  await page
    .getByText('This page comes from a server, and you have to trust whoever runs that server.')
    .waitFor();
  await page.getByText('connectoid demo --into FOLDER --relay https://relay.example').waitFor();
  await isAccessible(page, 'about');

  await page.getByRole('link', { name: 'Lists' }).click();
  await page.getByRole('textbox', { name: 'Name of a new list' }).fill('Hardware store');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Hardware store' }).waitFor();
  await page.getByRole('link', { name: 'Lists' }).click();
  await page.getByRole('link', { name: `${LIST} 2 to buy · ${BOB}` }).waitFor();
  await isAccessible(page, 'the lists', ['phone']);
  await page.getByRole('link', { name: 'Hardware store Empty' }).click();
  await choose(page, 'Delete the list');
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByText('“Hardware store” is deleted').waitFor();
  await page.getByRole('link', { name: `${LIST} 2 to buy · ${BOB}` }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Hardware store' }).count(), 0);
});

/** Presses Tab until this has the focus. */
async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name, exact: true });
  await wanted.first().waitFor();
  for (let pressed = 0; pressed < 60; pressed++) {
    if (await wanted.evaluateAll(all => all.includes(document.activeElement))) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`no way by Tab to ${role} ${name}`);
}

test('by keyboard alone: a list, a link, joined, added, ticked, moved', options, async t => {
  const world = await Demo.begin(t);
  const [alice, browser] = await Promise.all([visit(world, DESKTOP), world.browser(DESKTOP)]);
  const type = (page, words) => page.keyboard.type(words);
  await tabTo(alice, 'textbox', 'Name of the list');
  await type(alice, LIST);
  await alice.keyboard.press('Enter');
  // Who opens an empty list may write at once.
  await until('the field of a new entry to have the focus', () =>
    alice.evaluate(() => document.activeElement?.getAttribute('aria-label') === 'Add an entry'),
  );
  for (const text of ['Oat milk, 2 l', 'Rye bread', 'Red apples']) {
    world.keep(text);
    await type(alice, text);
    await alice.keyboard.press('Enter');
  }
  await tabTo(alice, 'button', 'Share');
  await alice.keyboard.press('Enter');
  await type(alice, BOB);
  await alice.keyboard.press('Tab');
  await type(alice, ALICE);
  await alice.keyboard.press('Enter');
  await tabTo(alice, 'button', 'Copy the link');
  await alice.keyboard.press('Enter');
  await alice.getByRole('button', { name: 'Copied ✓' }).waitFor();
  const link = await alice.evaluate(() => navigator.clipboard.readText());
  world.keepLink(link);
  await alice.keyboard.press('Escape');
  // The focus is where it was.
  assert.equal(await alice.evaluate(() => document.activeElement?.textContent.trim()), 'Share');

  const bob = await visit(world, { browser, path: link });
  await tabTo(bob, 'textbox', `How should ${ALICE} see you?`);
  await type(bob, BOB);
  await bob.keyboard.press('Enter');
  await sees(bob, ['Oat milk, 2 l', 'Rye bread', 'Red apples']);
  await stands(bob, `${ALICE} is here`);

  await tabTo(bob, 'textbox', 'Add an entry');
  await type(bob, 'Dish soap');
  world.keep('Dish soap');
  await bob.keyboard.press('Enter');
  await tabTo(bob, 'checkbox', 'Rye bread');
  await bob.keyboard.press('Space');
  await sees(alice, ['Oat milk, 2 l', 'Red apples', 'Dish soap'], ['Rye bread']);
  await tabTo(bob, 'button', 'Move Oat milk, 2 l');
  await bob.keyboard.press('ArrowDown');
  await bob.keyboard.press('ArrowDown');
  await sees([alice, bob], ['Red apples', 'Dish soap', 'Oat milk, 2 l'], ['Rye bread']);
  await bob.keyboard.press('Home');
  await sees([alice, bob], ['Oat milk, 2 l', 'Red apples', 'Dish soap'], ['Rye bread']);
  await tabTo(bob, 'button', 'Edit Red apples');
  await bob.keyboard.press('Enter');
  await type(bob, ', 2 kg');
  await bob.keyboard.press('Enter');
  await sees([alice, bob], ['Oat milk, 2 l', 'Red apples, 2 kg', 'Dish soap'], ['Rye bread']);
  // What another did is read out once they pause; what both did meanwhile is not.
  await until('words for who does not see it', () =>
    alice.evaluate(() =>
      [...document.querySelectorAll('[aria-live="polite"]')].some(({ textContent }) =>
        /^New: Dish soap|^3 entries were changed by others$|Red apples is now Red apples, 2 kg/.test(
          textContent,
        ),
      ),
    ),
  );
});
