// People with pages: how most tests begin.

import assert from 'node:assert/strict';

/** Somebody with a browser and a page in which a client is open. */
export async function visit(world, path = '/', more = {}) {
  const browser = await world.browser();
  return open(browser, path, more);
}

/** Another page in a browser that runs. */
export async function open(browser, path = '/', { before, ...options } = {}) {
  const page = await browser.open(path, before);
  page.browser = browser;
  await start(page, options);
  return page;
}

/** Opens the client in a page, as after each load. */
export async function start(page, options = {}) {
  const relays = [page.browser.world.relay.url];
  await page.evaluate(options => app.open(options), { relays, ...options });
}

/** Uses the link that stands in the page's address, and cleans that. */
export function useLink(page, name) {
  return page.evaluate(async name => {
    await app.client.connect(location, name);
    history.replaceState(null, '', app.connectoid.withoutConnectoid(location));
  }, name);
}

/** Waits for the next event of this type at a page. */
export async function next(page, type, contact) {
  try {
    return await page.evaluate(([type, contact]) => app.next(type, contact), [type, contact]);
  } catch (error) {
    error.message += `\nThe relay was asked:\n${page.browser.world.relay.story()}`;
    throw error;
  }
}

export const contact = (page, name) => page.evaluate(name => app.client.contact(name), name);

/** The code with which a call is refused. */
export const refusal = (page, call, ...args) =>
  page.evaluate(
    ([call, args]) =>
      app.client[call](...args).then(
        () => 'done',
        error => error.code,
      ),
    [call, args],
  );

/** What both were told at `connected`. They agree on the seven emoji, and on who made the offer. */
export async function connected(alice, bob, { bobsName = 'Bob', alicesName = 'Alice' } = {}) {
  const [here, there] = await Promise.all([
    next(alice, 'connected', bobsName),
    next(bob, 'connected', alicesName),
  ]);
  assert.equal(here.emoji.length, 7);
  assert.deepEqual(here.emoji, there.emoji);
  assert.notEqual(here.offerer, there.offerer);
  return { here, there };
}

/** Alice shares a link, Bob opens it, and they are connected. */
export async function pair(world) {
  const [alice, browser] = await Promise.all([visit(world), world.browser()]);
  const link = await alice.evaluate(() => app.client.share('Bob'));
  const bob = await open(browser, link);
  await useLink(bob, 'Alice');
  const { here } = await connected(alice, bob);
  return { alice, bob, link, sas: here.sas };
}

/** A word goes each way, on a channel that each opens. */
export async function talk(alice, bob, label = `talk-${crypto.randomUUID()}`) {
  const say = (page, to, label, words) =>
    page.evaluate(
      async ([to, label, words]) => {
        const { channel } = await app.opens(to, label);
        channel.send(words);
      },
      [to, label, words],
    );
  const hear = (page, from, label) =>
    page.evaluate(
      async ([from, label]) => {
        const kept = await app.channel(from, label);
        await app.until('a word', () => kept.came.length > 0);
        return kept.came[0];
      },
      [from, label],
    );
  const [, , atBob, atAlice] = await Promise.all([
    say(alice, 'Bob', `${label}-a`, 'marco'),
    say(bob, 'Alice', `${label}-b`, 'polo'),
    hear(bob, 'Alice', `${label}-a`),
    hear(alice, 'Bob', `${label}-b`),
  ]);
  assert.deepEqual([atBob, atAlice], ['marco', 'polo']);
}
