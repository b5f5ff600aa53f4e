// The pictures of the shopping list in docs/images, taken of it: scripts/demo-pictures calls this.

import { mkdirSync, writeFileSync } from 'node:fs';
import { until, WEB } from '../../chromium/harness.js';
import { add, closeDialog, join, makeList, sees, share, stands, tick, visit } from './people.js';
import { Demo } from './world.js';

const IMAGES = `${WEB}/../docs/images`;
const MOST = 250_000;

const PHONE = { viewport: { width: 375, height: 716 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
const WIDE = { viewport: { width: 1280, height: 840 }, deviceScaleFactor: 1.5 };

/** As README's first command serves it. */
class Shown extends Demo {
  get origin() {
    return 'http://localhost:8080';
  }
  get mayAsk() {
    return [`POST ${this.origin}`, `GET ${this.origin}`];
  }
  browser(more) {
    const { host } = new URL(this.relay.url);
    return super.browser({
      colorScheme: 'light',
      ...more,
      args: [`--host-resolver-rules=MAP localhost:8080 ${host}`],
    });
  }
  keep() {}
  keepLink() {}
}

const ends = [];
try {
  await take(await Shown.begin({ after: end => ends.push(end) }));
} finally {
  for (const end of ends) await end();
}

async function take(world) {
  const [alice, browser] = await Promise.all([visit(world, WIDE), world.browser(PHONE)]);
  await makeList(alice, 'Saturday');
  await add(alice, 'Tomatoes, 1 kg', 'Basil', 'Mozzarella', 'Bread flour', 'Coffee beans');
  await alice.getByRole('button', { name: 'What the relay sees' }).click();
  const link = await share(alice, { whom: 'Bob', own: 'Alice', list: 'Saturday' });
  await closeDialog(alice);
  const bob = await visit(world, { browser, path: link });
  await join(bob, { from: 'Alice', list: 'Saturday', own: 'Bob' });
  await Promise.all([stands(alice, 'Bob is here'), stands(bob, 'Alice is here')]);
  await tick(bob, 'Bread flour');
  await tick(bob, 'Basil');
  await add(bob, 'Olive oil', 'Candles for the cake 🎂');
  const toBuy = ['Tomatoes, 1 kg', 'Mozzarella', 'Coffee beans', 'Olive oil', 'Candles for the cake 🎂'];
  await sees([alice, bob], toBuy, ['Basil', 'Bread flour']);
  const view = alice.getByRole('complementary', { name: 'The relay' });
  await view.getByText('“Candles for the cake 🎂” was added').waitFor();
  await view
    .getByText(/gone after/)
    .first()
    .waitFor();
  for (const page of [alice, bob]) {
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement?.blur());
  }
  const wide = await alice.screenshot();
  const relay = await view.screenshot();

  // Alice's phone is the same page on a narrow screen.
  await alice.getByRole('button', { name: 'Close what the relay sees' }).click();
  await alice.setViewportSize(PHONE.viewport);
  await Promise.all([alice, bob].map(page => page.evaluate(() => scrollTo(0, 0))));
  await until('the narrow page', () => alice.getByRole('button', { name: 'People: 1' }).isVisible());
  const shots = { alice: await alice.screenshot(), bob: await bob.screenshot(), relay };

  mkdirSync(IMAGES, { recursive: true });
  await compose(world, shots);
  save('demo-relay.png', wide);
}

/** One picture of the three, as a page of its own. */
async function compose(world, shots) {
  const browser = await world.browser({ viewport: { width: 1200, height: 700 }, deviceScaleFactor: 1.5 });
  const page = await browser.context.newPage();
  const src = name => `data:image/png;base64,${shots[name].toString('base64')}`;
  await page.setContent(`<!doctype html><style>
    body { margin: 0; padding: 28px; width: max-content; display: flex; gap: 24px; align-items: flex-start; background: #f1efe9;
      font: 500 17px/1.4 system-ui, sans-serif; color: #56595a; }
    figure { margin: 0; }
    figcaption { margin-top: 12px; text-align: center; }
    img { display: block; border: 1px solid #dcd8ce; background: #fbfaf7; }
    .phone { width: 272px; border-radius: 26px; border: 7px solid #1d1f1e; }
    .relay { width: 452px; height: 533px; box-sizing: border-box; object-fit: cover; object-position: top; border-radius: 12px; }
  </style><body>
  <figure><img class="phone" src="${src('alice')}"><figcaption>Alice’s phone</figcaption></figure>
  <figure><img class="phone" src="${src('bob')}"><figcaption>Bob’s phone</figcaption></figure>
  <figure><img class="relay" src="${src('relay')}"><figcaption>and what the relay sees of it</figcaption></figure>`);
  await page.evaluate(() => Promise.all([...document.images].map(image => image.decode())));
  save('demo.png', await page.locator('body').screenshot());
}

function save(name, png) {
  if (png.length > MOST) console.error(`${name} has ${png.length} bytes, more than ${MOST}`);
  writeFileSync(`${IMAGES}/${name}`, png);
}
