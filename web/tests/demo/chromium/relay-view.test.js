// What the relay sees: the page shows of it what the gateway before the relay saw, and no word of the list is in it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../../../dist/index.js';
import { memory } from '../../../dist/memory.js';
import { sendNote } from '../../../dist/notes.js';
import { options, until } from '../../chromium/harness.js';
import { isAccessible } from './accessible.js';
import { ALICE, add, BOB, closeDialog, join, LIST, makeList, sees, share, stands, visit } from './people.js';
import { DESKTOP, Demo } from './world.js';

/** What stands behind this word in the view's table. */
const said = (page, word) =>
  page
    .locator('.relay-numbers div')
    .filter({ has: page.getByText(word, { exact: true }) })
    .getByRole('definition')
    .innerText();

test('what the relay sees is what the page says of it', options, async t => {
  const world = await Demo.begin(t);
  const { relay } = world;
  const [alice, browser] = await Promise.all([visit(world, DESKTOP), world.browser()]);
  await makeList(alice, LIST);
  await add(alice, 'Oat milk, 2 l');
  await alice.getByRole('button', { name: 'What the relay sees' }).click();
  const view = alice.getByRole('complementary', { name: 'The relay' });
  await view
    .getByText('As long as you share nothing there is nothing to pass on, and it is asked nothing.')
    .waitFor();
  await view.getByText('Nothing of your list goes through the relay.').waitFor();
  // But for one thing: how it sees who asks.
  await view
    .getByText('the address that you ask from: it takes this page for 127.0.0.1, and when you ask;')
    .waitFor();
  assert.equal(relay.requests.length, 0);

  // A link makes a box, which waits.
  const link = await share(alice, { whom: BOB, own: ALICE, list: LIST });
  await closeDialog(alice);
  const box = /connectoid=([\w-]{66})\./.exec(link)[1];
  await view.getByRole('heading', { name: `Box ${box.slice(0, 6)}… yours, for ${BOB}` }).waitFor();
  await view.getByText('Empty, and nothing came since this page was opened.').waitFor();

  // Somebody without a page, and without a name, seals a note to the link: 11 bytes, filled up to 4,096.
  const stranger = await Client.open({ relays: [relay.url], storage: memory(), webrtc: null });
  t.after(() => stranger.close());
  await sendNote(stranger, link, 'Hello Alice');
  await view.getByText(/^4,096 bytes, stored at \d\d:\d\d:\d\d; gone after (less than )?\d\.\d s$/).waitFor();
  assert.equal(await said(alice, 'Messages sent and received'), '1');
  assert.equal(await said(alice, 'Stored now, for you'), '0');

  // The page's numbers are the gateway's. What waits at the relay was asked and has no reply yet.
  await until('the same numbers', async () => {
    const asked = relay.requests.filter(({ headers }) => headers.origin !== undefined);
    const sum = of => asked.reduce((sum, one) => sum + (one[of] ?? 0), 0).toLocaleString('en');
    const [requests, up, down] = await Promise.all(
      ['Requests', 'Bytes sent', 'Bytes received'].map(word => said(alice, word)),
    );
    return requests === String(asked.length) && up === sum('up') && down === sum('down');
  });
  await view
    .getByText(/This view looked into box \S+…, with the owner’s proof, and took nothing away\./)
    .first()
    .waitFor();
  await isAccessible(alice, 'what the relay sees', ['desktop']);

  const bob = await visit(world, { browser, path: link });
  await join(bob, { from: ALICE, list: LIST, own: BOB });
  await Promise.all([stands(alice, `${BOB} is here`), stands(bob, `${ALICE} is here`)]);
  await view
    .getByText(
      `You are connected with ${BOB}: all that either of you changes goes straight from device to device.`,
    )
    .waitFor();
  // Bob's offer and Alice's answer, and whatever ends the link's box: the number that stands then stays.
  const count = () => said(alice, 'Messages sent and received');
  const isSent = ({ body, status }) => body?.action === 'send' && status === 200;
  await until('all messages', async () => (await count()) === String(relay.requests.filter(isSent).length));
  const before = await count();
  const sent = relay.requests.filter(isSent).length;
  await add(bob, 'Dish soap', 'Coffee beans', 'Lemons, three');
  await add(alice, 'Red apples');
  await sees([alice, bob], ['Oat milk, 2 l', 'Dish soap', 'Coffee beans', 'Lemons, three', 'Red apples']);
  await view.getByText('“Red apples” was added').waitFor();
  assert.deepEqual([await count(), relay.requests.filter(isSent).length], [before, sent]);
  await view.getByText('The relay saw nothing of it.').waitFor();

  // On a phone it is in the list's menu.
  await bob.getByRole('button', { name: 'More about this list' }).click();
  await bob.getByRole('button', { name: 'What the relay sees' }).click();
  const sheet = bob.getByRole('dialog', { name: 'What the relay sees' });
  await sheet.getByText('Nothing of your list goes through the relay.').waitFor();
  await sheet
    .getByRole('heading', { name: `yours, for ${ALICE}` })
    .first()
    .waitFor();
  await isAccessible(bob, 'what the relay sees', ['phone']);
});
