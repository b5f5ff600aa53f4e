// People with the shopping list before them: what they press and type, by the words that they see.

import assert from 'node:assert/strict';
import { until } from '../../chromium/harness.js';

/** A page with the app in a browser of its own, or in one that runs. */
export async function visit(world, { path = '/demo/', browser, before, ...more } = {}) {
  browser ??= await world.browser(more.viewport ? more : undefined);
  const page = await browser.open(path, async page => {
    await page.addInitScript(online);
    await before?.(page);
  });
  page.browser = browser;
  return page;
}

/** Chromium says that a computer with nothing but loopback is offline. Here a page is when the test says so. */
function online() {
  const isOffline = () => sessionStorage.getItem('offline') !== null;
  Object.defineProperty(Navigator.prototype, 'onLine', { get: () => !isOffline() });
}

/** Takes the network from a page, or gives it back: in words only; to be gone is the relay's part. */
export function setOnline(page, isOnline) {
  return page.evaluate(isOnline => {
    if (isOnline) sessionStorage.removeItem('offline');
    else sessionStorage.setItem('offline', '');
    dispatchEvent(new Event(isOnline ? 'online' : 'offline'));
  }, isOnline);
}

/** Makes the first list. */
export async function makeList(page, name) {
  page.browser.world.keep(name);
  await page.getByRole('textbox', { name: 'Name of the list' }).fill(name);
  await page.getByRole('button', { name: 'Make the list' }).click();
  await page.getByRole('heading', { name, level: 1 }).waitFor();
}

/** Adds entries, and waits until they are on the disk: nobody reloads a page or closes it within the moment that this takes. */
export async function add(page, ...texts) {
  const field = page.getByRole('textbox', { name: 'Add an entry' });
  for (const text of texts) {
    page.browser.world.keep(text);
    await field.fill(text);
    await field.press('Enter');
  }
  await until('it to be stored', () => isStored(page, texts.at(-1)));
}

/** Whether the list that is kept on the device has this in it. */
const isStored = (page, text) =>
  page.evaluate(
    text =>
      new Promise((done, failed) => {
        const request = indexedDB.open('shopping-list');
        request.onerror = () => failed(request.error);
        request.onsuccess = () => {
          const all = request.result.transaction('lists').objectStore('lists').getAll();
          all.onsuccess = () => {
            request.result.close();
            done(all.result.some(({ state }) => new TextDecoder().decode(state).includes(text)));
          };
        };
      }),
    text,
  );

export const tick = (page, text) => page.getByRole('checkbox', { name: text, exact: true }).click();

export async function edit(page, text, to) {
  page.browser.world.keep(to);
  await page.getByRole('button', { name: `Edit ${text}`, exact: true }).click();
  const field = page.getByRole('textbox', { name: `Edit ${text}`, exact: true });
  await field.fill(to);
  await field.press('Enter');
}

/** On a phone the button is there once the entry is edited. */
export async function remove(page, text) {
  const button = page.getByRole('button', { name: `Delete ${text}`, exact: true });
  if (!(await button.isVisible()))
    await page.getByRole('button', { name: `Edit ${text}`, exact: true }).click();
  await button.click();
}

/** What stands on the list: to buy, then bought. */
export const entries = page =>
  page.evaluate(() => {
    const texts = section =>
      [...document.querySelectorAll(`${section} li .text`)].map(text => text.innerText);
    return { toBuy: texts('.to-buy'), bought: texts('.bought') };
  });

/** Waits until just this stands on a list, at all of these pages. */
export async function sees(pages, toBuy, bought = []) {
  for (const page of [pages].flat()) {
    let last;
    try {
      await until('the entries', async () => {
        last = await entries(page);
        return JSON.stringify(last) === JSON.stringify({ toBuy, bought });
      });
    } catch {
      assert.deepEqual(last, { toBuy, bought });
    }
  }
}

/** The line below the name of a list. */
export const standing = page => page.locator('.standing').innerText();

export async function stands(page, words) {
  let last;
  try {
    await until(words, async () => {
      last = await standing(page);
      return last === words;
    });
  } catch {
    const { relay } = page.browser.world;
    assert.equal(last, words, `The relay was asked:\n${relay.story()}`);
  }
}

/** Shares the list that is open by a link, which is given. `own`: asked the first time. */
export async function share(page, { whom, own, list }) {
  const { world } = page.browser;
  for (const name of [whom, own]) if (name) world.keep(name);
  await page.getByRole('button', { name: 'Share', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: `Share “${list}”` });
  await dialog.getByLabel('Who is it for?').fill(whom);
  if (own) await dialog.getByLabel(`How should ${whom} see you?`).fill(own);
  await dialog.getByRole('button', { name: 'Make the link' }).click();
  const made = page.getByRole('dialog', { name: `The link for ${whom}` });
  const link = await made.getByLabel('The link', { exact: true }).inputValue();
  world.keepLink(link);
  return link;
}

export async function closeDialog(page) {
  await page.getByRole('dialog').getByRole('button', { name: 'Close', exact: true }).click();
  await until('the dialog to go', async () => (await page.getByRole('dialog').count()) === 0);
}

/** Uses the link that a page was opened with. */
export async function join(page, { from, list, own }) {
  page.browser.world.keep(own);
  await page.getByRole('heading', { name: `${from} shares “${list}” with you`, level: 1 }).waitFor();
  await page.getByLabel(`How should ${from} see you?`).fill(own);
  await page.getByRole('button', { name: 'Join' }).click();
  await page.getByRole('heading', { name: list, level: 1 }).waitFor();
}

export const ALICE = 'Alice Liddell';
export const BOB = 'Bob Cratchit';
export const CAROL = 'Carol Kennicott';
export const LIST = 'Groceries for Sunday';

/** Alice shares a list with Bob; both see it, and that the other is there. */
export async function pair(
  world,
  { alices = {}, bobs = {}, texts = ['Oat milk, 2 l', 'Rye bread', 'Red apples'] } = {},
) {
  const [alice, browser] = await Promise.all([
    visit(world, alices),
    world.browser(bobs.viewport ? bobs : undefined),
  ]);
  await makeList(alice, LIST);
  await add(alice, ...texts);
  const link = await share(alice, { whom: BOB, own: ALICE, list: LIST });
  await closeDialog(alice);
  const bob = await visit(world, { ...bobs, browser, path: link });
  await join(bob, { from: ALICE, list: LIST, own: BOB });
  await Promise.all([stands(alice, `${BOB} is here`), stands(bob, `${ALICE} is here`)]);
  await sees(bob, texts);
  return { alice, bob, link };
}

/** The people of a list: on a phone behind a button. */
export async function people(page) {
  const column = page.getByRole('complementary', { name: 'People' });
  if (await column.count()) return column;
  await page.getByRole('button', { name: /^People: / }).click();
  return page.getByRole('dialog', { name: 'People' });
}
