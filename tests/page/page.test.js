// The relay's pages in a real Chromium: what they say, what they do, and that they send nothing.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { browser, person, serve } from './relay.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const KEY = 'A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw';
const RELAY = 'aHR0cHM6Ly9jb25uZWN0by5pZA';
const SECRET = 'AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH';
// The prime of the curve.
const P = 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n;
const FULL = `${KEY}.${RELAY}..${SECRET}`;

let relay;
let chromium;

before(async () => {
  [relay, chromium] = await Promise.all([serve(), browser()]);
});

after(async () => {
  await chromium?.close();
  await relay?.stop();
});

// All that may be asked for, whatever is done on a page: no other path, no query, no body.
const FILES = ['/', '/privacy', '/page.css', '/page.js', '/icon.svg'];

/** A page of a fresh browser profile, watched: at the end there must be no error, and no request but for `FILES`. */
async function open(test, path = '/', { url = relay.url, within = chromium, ...options } = {}) {
  const context = await within.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const requests = [];
  const errors = [];
  context.on('request', request => requests.push(request));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) errors.push(message.text());
  });
  page.on('pageerror', error => errors.push(String(error)));
  if (options.javaScriptEnabled !== false) {
    await page.addInitScript(() => {
      addEventListener('securitypolicyviolation', event => console.error(`refused: ${event.violatedDirective}`));
    });
  }
  test.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
    for (const request of requests) {
      const asked = request.url().split('#')[0];
      assert.ok([path, ...FILES].some(file => asked === url + file), asked);
      assert.deepEqual([request.method(), request.postData()], ['GET', null]);
    }
  });
  await page.goto(url + path);
  return { page, context, requests };
}

const said = (page, id) => page.locator(`#${id}`).textContent();
const make = page => page.getByRole('button', { name: 'Make a link', exact: true });
const takeApart = page => page.getByRole('button', { name: 'Take it apart' });
const linkField = page => page.getByLabel('A link, or the connectoid in it');

async function makeLink(page) {
  const before = await said(page, 'made-connectoid');
  await make(page).click();
  await page.waitForFunction(old => document.getElementById('made-connectoid').textContent !== old, before);
  await page.locator('#made-title:focus').waitFor();
  return { link: await said(page, 'made-link'), connectoid: await said(page, 'made-connectoid') };
}

/** What the page says is in a link, as [name, text] pairs. */
async function parts(page) {
  await page.locator('#taken').waitFor();
  return page.locator('#parts > div').evaluateAll(rows =>
    rows.map(row => [row.querySelector('dt').textContent, row.querySelector('dd').textContent]));
}

// --- As it looks ---

for (const width of [320, 390, 1280]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`fits and is accessible at ${width} px, ${colorScheme}`, async t => {
      const { page } = await open(t, '/', { viewport: { width, height: 800 }, colorScheme });
      const fits = async what => {
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.equal(wide, width, `${what} scrolls sideways`);
        await page.evaluate(AXE);
        const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
        const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join(' ')}`);
        assert.deepEqual(found, [], what);
        assert.ok(passes.some(({ id }) => id === 'color-contrast'), `${what}: axe did not look at contrast`);
      };
      await fits('the page as it comes');
      const wrapped = await page.locator('.rows dt').evaluateAll(labels => labels.filter(label => {
        const range = document.createRange();
        range.selectNodeContents(label);
        return range.getClientRects().length > 1;
      }).map(label => label.textContent));
      assert.deepEqual(wrapped, [], 'labels in two lines');

      const { link } = await makeLink(page);
      await page.getByRole('button', { name: 'Show the private key' }).click();
      await page.locator('#key-pem').waitFor();
      await linkField(page).fill(link);
      await takeApart(page).click();
      await parts(page);
      await fits('with a link made and taken apart');

      await page.getByLabel('Relay, or up to four').fill(`http://${'a'.repeat(60)}.example`);
      await make(page).click();
      await linkField(page).fill('x'.repeat(500));
      await takeApart(page).click();
      assert.match(await said(page, 'make-said'), /would not be encrypted/);
      assert.match(await said(page, 'take-said'), /Was it cut/);
      await fits('with errors');

      await page.getByRole('link', { name: 'Privacy' }).click();
      await page.getByRole('heading', { name: 'What this relay keeps' }).waitFor();
      await fits('/privacy');
      await page.getByRole('link', { name: 'connectoid', exact: true }).click();
      await page.getByRole('heading', { name: 'Three calls' }).waitFor();
      assert.equal(page.url(), `${relay.url}/`);
    });
  }
}

test('light and dark are two looks', async t => {
  const colours = [];
  for (const colorScheme of ['light', 'dark']) {
    const { page } = await open(t, '/', { colorScheme });
    colours.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
  }
  assert.deepEqual(colours, ['rgb(251, 250, 247)', 'rgb(19, 22, 21)']);
});

test('nothing moves for those who want no motion', async t => {
  for (const [reducedMotion, seconds] of [['no-preference', '0.12s'], ['reduce', '0s']]) {
    const { page } = await open(t, '/', { reducedMotion });
    const duration = await make(page).evaluate(button => getComputedStyle(button).transitionDuration);
    assert.equal(duration.split(',')[0], seconds);
  }
});

test('the lock file names no registry', () => {
  const lock = readFileSync(new URL('package-lock.json', import.meta.url), 'utf8');
  assert.match(lock, /"integrity": "sha512-/);
  assert.doesNotMatch(lock, /resolved|:\/\//);
});

test('all that the browser asks for', async t => {
  const { page, requests } = await open(t);
  await page.waitForLoadState('networkidle');
  const asked = [...new Set(requests.map(request => new URL(request.url()).pathname))].sort();
  assert.deepEqual(asked, ['/', '/icon.svg', '/page.css', '/page.js']);
  const sizes = await Promise.all(asked.map(async path => {
    const reply = await fetch(relay.url + path, { headers: { accept: 'text/html' } });
    return (await reply.arrayBuffer()).byteLength;
  }));
  const weight = sizes.reduce((sum, size) => sum + size);
  assert.ok(weight < 30_000, `${weight} bytes`);
});

test('the policy holds: no inline script, no request, no markup from text', async t => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(relay.url);
  const refused = await page.evaluate(async () => {
    const violations = [];
    addEventListener('securitypolicyviolation', event => violations.push(event.effectiveDirective));
    const script = document.createElement('script');
    try { script.textContent = 'document.title = "changed"'; } catch { violations.push('trusted types'); }
    document.body.append(script);
    try { document.body.innerHTML = '<b>x</b>'; } catch { violations.push('trusted types'); }
    await fetch('/info').catch(() => violations.push('fetch'));
    const image = new Image();
    const failed = new Promise(done => { image.onerror = done; });
    image.src = 'https://elsewhere.example/x.png';
    await failed;
    return violations;
  });
  assert.equal(await page.title(), 'connectoid relay');
  for (const what of ['trusted types', 'fetch', 'connect-src', 'img-src']) assert.ok(refused.includes(what), `${what}: ${refused}`);
});

// --- The calls ---

test('the copy buttons copy the calls, and a shell runs them', async t => {
  const { page, context } = await open(t);
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: relay.url });
  const copy = async name => {
    const button = page.getByRole('button', { name: `Copy the ${name}` });
    // It says so for two seconds only, which a busy machine could miss: so this looks from before the click on.
    await button.evaluate(watched => {
      globalThis.copied = new Promise(done => {
        new MutationObserver(() => watched.textContent === 'Copied' && done()).observe(watched, { childList: true });
      });
    });
    await button.click();
    await page.evaluate(() => globalThis.copied);
    await page.getByRole('status').getByText('Copied').waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const alice = person(t);
  const send = await copy('send call');
  const body = rest => `'{\n  "pub": "${KEY}",\n  "ext": null,\n  ${rest}\n}'`;
  assert.equal(send, `curl ${relay.url}/ -d ${body('"action": "send",\n  "data": "aGVsbG8"')}`);
  assert.equal(alice.shell(send), '{"ok":true}\n');
  const check = await copy('check call');
  assert.equal(check, `curl ${relay.url}/ -d ${body('"action": "check",\n  "at": 0')}`);
  assert.match(alice.shell(check), /^\{"ok":true,"found":true,"question":"AQ/);
  const receive = await copy('receive call');
  assert.match(alice.shell(receive), /^\{"ok":true,"at":\d+,"data":"aGVsbG8"\}\n$/);
  const link = await copy('command to make a link');
  assert.equal(link, `connectoid link --relay ${relay.url} --for Bob`);
  assert.match(alice.shell(link), /^A/);
});

test('where the browser gives no clipboard, the old way copies', async t => {
  const { page, context } = await open(t);
  await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  await page.getByRole('button', { name: 'Copy the check call' }).click();
  await page.getByRole('status').getByText('Copied').waitFor();
  await context.grantPermissions(['clipboard-read'], { origin: relay.url });
  const other = await context.newPage();
  await other.goto(relay.url);
  assert.match(await other.evaluate(() => navigator.clipboard.readText()), /"action": "check"/);
});

// --- Make a link ---

test('a link is made here, a note comes through it, and nothing of it is sent', async t => {
  const { page, requests } = await open(t);
  const { link, connectoid } = await makeLink(page);
  assert.equal(link, `${relay.url}/#connectoid=${connectoid}`);
  assert.match(connectoid, /^A[g-z0-9_-][\w-]{64}\.[\w-]+\.\.A[Q-Za-f][\w-]{42}$/);
  const [key, relays, ext, secret] = connectoid.split('.');
  assert.equal(Buffer.from(key, 'base64url').length, 49);
  assert.equal(Buffer.from(relays, 'base64url').toString(), relay.url);
  assert.equal(ext, '');
  assert.deepEqual([Buffer.from(secret, 'base64url').length, Buffer.from(secret, 'base64url')[0]], [33, 1]);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'made-title');

  assert.equal(await said(page, 'key-pem'), '', 'the private key is there only when it is asked for');
  await page.getByRole('button', { name: 'Show the private key' }).click();
  await page.locator('#key-pem').waitFor();
  const pem = await said(page, 'key-pem');
  const commands = (await said(page, 'key-use')).split('\n');

  const [alice, bob] = [person(t), person(t)];
  alice.write('key.pem', pem);
  assert.equal(alice.shell(commands[0]), `${connectoid}\n`);
  bob.shell(`connectoid send '${link}'`, 'Bread, please');
  assert.equal(commands[1], 'connectoid receive Bob');
  assert.equal(alice.shell(commands[1]), 'Bread, please');

  await page.getByRole('button', { name: 'Hide the private key' }).click();
  assert.equal(await page.locator('#key').isVisible(), false);
  assert.equal(await said(page, 'key-pem'), '');
  const again = await makeLink(page);
  assert.notEqual(again.connectoid.split('.')[0], key);
  assert.notEqual(again.connectoid.split('.')[3], secret);

  // `open` sees to it that only the page's own files were asked for; neither do headers carry anything of it.
  const headers = JSON.stringify(requests.map(request => request.headers()));
  assert.ok(headers.includes('user-agent'), headers);
  for (const text of [secret, key, ...pem.split('\n').slice(1, -2)]) assert.equal(headers.includes(text), false, text);
});

test('a link with relays of one’s own choice, in the one spelling of their URLs', async t => {
  const { page } = await open(t);
  const field = page.getByLabel('Relay, or up to four');
  assert.equal(await field.inputValue(), relay.url);
  const program = person(t);
  for (const [given, expected] of [
    ['https://connecto.id/', ['https://connecto.id']],
    ['  HTTPS://Connecto.ID:443  https://user:pw@example.com/relay?x=1#y ', ['https://connecto.id', 'https://example.com/relay']],
    ['https://bücher.example http://[::1]:8080/ http://127.1:80 http://relay.localhost/a/', [
      'https://xn--bcher-kva.example', 'http://[::1]:8080', 'http://127.0.0.1', 'http://relay.localhost/a/',
    ]],
  ]) {
    await field.fill(given);
    const { connectoid } = await makeLink(page);
    assert.equal(Buffer.from(connectoid.split('.')[1], 'base64url').toString(), expected.join(' '));
    assert.deepEqual(JSON.parse(program.shell(`connectoid link show --json ${connectoid}`)).relays, expected);
  }
  const before = await said(page, 'made-connectoid');
  for (const [given, wrong] of [
    ['', 'A link names 1 to 4 relays, this names 0.'],
    ['https://a.example https://b.example https://c.example https://d.example https://e.example', 'A link names 1 to 4 relays, this names 5.'],
    ['relay', 'relay is not a URL like https://connecto.id'],
    ['http://192.168.1.5', 'http://192.168.1.5 would not be encrypted: http is for this machine only, use https.'],
    ['ftp://example.com', 'ftp://example.com must begin with https://'],
    [`https://example.com/${'x'.repeat(2048)}`, 'The URL of a relay is longer than 2048 characters.'],
  ]) {
    await field.fill(given);
    await field.press('Enter');
    assert.equal(await said(page, 'make-said'), wrong);
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
  }
  assert.equal(await said(page, 'made-connectoid'), before);
  await field.fill('https://connecto.id');
  await field.press('Enter');
  await page.locator('#made-title:focus').waitFor();
  assert.equal(await said(page, 'make-said'), '');
  assert.equal(await field.getAttribute('aria-invalid'), null);
});

test('over http from another machine it says why no key can be made', async t => {
  const within = await browser('--host-resolver-rules=MAP relay.example 127.0.0.1');
  t.after(() => within.close());
  const url = relay.url.replace('127.0.0.1', 'relay.example');
  const context = await within.newContext();
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', error => errors.push(String(error)));
  await page.goto(url);
  assert.equal(await page.evaluate(() => isSecureContext), false);
  assert.equal(await make(page).isDisabled(), true);
  assert.equal(
    await said(page, 'make-said'),
    'A browser makes keys only on a page that came by https, or from this machine. This one did not: make the link on the command line.',
  );
  await linkField(page).fill(FULL);
  await takeApart(page).click();
  assert.deepEqual((await parts(page)).at(-1), ['Secret', 'Yes, 32 bytes that no relay sees.']);
  assert.deepEqual(errors, []);
});

test('a relay that asks for API keys: its calls run with one, and links carry it', async t => {
  const [operator, alice, bob] = [person(t), person(t), person(t)];
  const database = `sqlite://${operator.home}/relay.db`;
  const closed = await serve('--require-api-key', '--database', database);
  t.after(() => closed.stop());
  const apiKey = operator.shell(`connectoid admin keys add shop --database ${database}`).trim();
  const { page } = await open(t, '/', { url: closed.url });
  const text = await page.locator('body').innerText();
  assert.equal(text.includes('run as they stand'), false);
  assert.ok(text.includes('This relay answers only who has an API key: ask whoever runs it for one, and put it for API-KEY.'), text);

  const call = name => page.getByRole('group', { name: `The ${name}` }).textContent();
  const run = async (who, name) => who.shell((await call(name)).replaceAll('API-KEY', apiKey));
  assert.match(await call('send call'), /"ext": "API-KEY"/);
  assert.match(alice.shell(await call('send call')), /Not allowed/);
  assert.equal(await run(alice, 'send call'), '{"ok":true}\n');
  assert.match(await run(alice, 'check call'), /^\{"ok":true,"found":true,"question":"AQ/);
  assert.match(await run(alice, 'receive call'), /^\{"ok":true,"at":\d+,"data":"aGVsbG8"\}\n$/);
  assert.equal(await call('command to make a link'), `connectoid link --relay ${closed.url} --api-key API-KEY --for Bob`);
  assert.ok((await run(alice, 'command to make a link')).split('.')[2] === apiKey);

  const field = page.getByLabel('API key, from whoever runs the relay');
  const none = 'An API key has 43 characters of base64url, this is none. Was it cut?';
  for (const [given, wrong] of [
    ['', 'This relay asks for an API key: paste the one you got from whoever runs it.'],
    [apiKey.slice(1), none],
    [`${apiKey.slice(0, 42)}B`, none],
    [`${apiKey.slice(0, 42)}+`, none],
    [Buffer.alloc(33).toString('base64url'), none],
  ]) {
    await field.fill(given);
    await make(page).click();
    assert.equal(await said(page, 'make-said'), wrong, given);
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
  }
  assert.equal(await said(page, 'made-connectoid'), '');
  await field.fill(` ${apiKey} `);
  const { link, connectoid } = await makeLink(page);
  assert.equal(await field.getAttribute('aria-invalid'), null);
  assert.equal(connectoid.split('.')[2], apiKey);
  await page.getByRole('button', { name: 'Show the private key' }).click();
  await page.locator('#key-pem').waitFor();
  alice.write('key.pem', await said(page, 'key-pem'));
  const commands = (await said(page, 'key-use')).replaceAll(' Bob', ' Carol').split('\n');
  alice.shell(commands[0]);
  bob.shell(`connectoid send '${link}'`, 'Bread, please');
  assert.equal(alice.shell(commands[1]), 'Bread, please');

  // An open relay asks for none.
  const other = await open(t);
  assert.equal(await other.page.getByLabel('API key, from whoever runs the relay').isVisible(), false);
});

// --- Take a link apart ---

test('what is in a link', async t => {
  const { page } = await open(t);
  const program = person(t);
  const b64 = text => Buffer.from(text).toString('base64url');
  const two = b64('https://one.example/ https://TWO.example/relay');
  const box = ['Box, a public key', KEY];
  const one = ['Relay', 'https://connecto.id'];
  const none = ['Secret', 'None. Who runs a relay of this link can pretend to be the one who uses it.'];
  const yes = ['Secret', 'Yes, 32 bytes that no relay sees.'];
  const ext = text => ['For the relays (ext)', text];
  const asText = text => [ext(b64(text)), ['The same as text', text]];
  for (const [link, expected] of [
    [FULL, [box, one, yes]],
    [` connectoid=${FULL}\n`, [box, one, yes]],
    [`https://app.example.com/#connectoid=${FULL}`, [box, one, yes]],
    [`https://app.example.com/x?y=1#/lists?id=7&connectoid=${FULL}&z=1`, [box, one, yes]],
    [`https://app.example.com/?connectoid=${KEY}.${RELAY}#connectoid=${FULL}`, [box, one, yes]],
    [`https://app.example.com/?connectoid=${FULL}`, [box, one, ['Secret', 'Yes, but in the query: the server that this link names saw it.']]],
    [`https://app.example.com/?connectoid=${KEY}.${RELAY}`, [box, one, none]],
    [`${KEY}.${two}`, [box, ['Relay 1', 'https://one.example'], ['Relay 2', 'https://two.example/relay'], none]],
    [`${KEY}.${RELAY}.YXBpa2V5`, [box, one, ...asText('apikey'), none]],
    [`${KEY}.${RELAY}.${b64('<b>key</b> für dich')}.${SECRET}`, [box, one, ...asText('<b>key</b> für dich'), yes]],
    // What is no text, or shows as another than it is, stays as it is.
    [`${KEY}.${RELAY}._w`, [box, one, ext('_w'), none]],
    [`${KEY}.${RELAY}.${b64('a\u202eb')}`, [box, one, ext('YeKArmI'), none]],
    ...['\u034f', '\u3164', '\u115f', '\ufe0f', '\u2800', '\u00a0', '\u200b'].map(unseen =>
      [`${KEY}.${RELAY}.${b64(`a${unseen}b`)}`, [box, one, ext(b64(`a${unseen}b`)), none]]),
  ]) {
    await linkField(page).fill(link);
    await takeApart(page).click();
    assert.deepEqual(await parts(page), expected, link);
    assert.equal(await said(page, 'take-said'), '');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'taken-title');
    // The program shows the same.
    const shown = JSON.parse(program.shell(`connectoid link show --json '${link.trim()}'`));
    assert.equal(shown.ext ?? undefined, expected.find(([name]) => name === 'For the relays (ext)')?.[1]);
  }
});

test('what is wrong with a link, in the page and in the program', async t => {
  const { page } = await open(t);
  const program = person(t);
  const b64 = bytes => Buffer.from(bytes).toString('base64url');
  const bytes = Buffer.from(KEY, 'base64url');
  const changed = (at, byte) => b64(bytes.map((old, n) => (n === at ? byte : old)));
  const first = 'Its first part, the public key,';
  for (const [link, wrong] of [
    ['', 'Paste a link first.'],
    ['hello', 'A connectoid has 2, 3 or 4 parts joined by dots, this has 1. Was it cut?'],
    [`${FULL}.`, 'A connectoid has 2, 3 or 4 parts joined by dots, this has 5. Was it cut?'],
    ['https://app.example.com/', 'There is no connectoid=… in this link. Was it cut?'],
    [`https://app.example.com/#myconnectoid=${FULL}`, 'There is no connectoid=… in this link. Was it cut?'],
    [`${KEY.slice(0, 60)}.${RELAY}`, `${first} has 60 characters instead of 66. Was it cut?`],
    [`${KEY}=.${RELAY}`, `${first} is not base64url. Was it cut or changed?`],
    // The same 49 bytes, with a bit set behind them.
    [`${KEY.slice(0, 65)}x.${RELAY}`, `${first} is not base64url in its one spelling. Was it cut or changed?`],
    [`${changed(0, 5)}.${RELAY}`, `${first} is not a compressed one: its first byte must be 02 or 03.`],
    [`${changed(48, 0x88)}.${RELAY}`, `${first} is no point on the curve P-384. Was a character changed?`],
    // The point with x = 0, written as x = p.
    [`${b64([2, ...Buffer.from(P.toString(16), 'hex')])}.${RELAY}`, `${first} is no point on the curve P-384. Was a character changed?`],
    [`${KEY}.${RELAY}!`, 'Its second part, the relays, is not base64url. Was it cut or changed?'],
    [`${KEY}._w`, 'Its second part is not text.'],
    [`${KEY}.`, 'A link names 1 to 4 relays, this names 0.'],
    [`${KEY}.${b64('https://a.example '.repeat(5))}`, 'A link names 1 to 4 relays, this names 5.'],
    [`${KEY}.${b64('http://example.com')}`, 'http://example.com would not be encrypted: http is for this machine only, use https.'],
    [`${KEY}.${RELAY}.`, 'It ends with a dot. Was it cut?'],
    [`${KEY}.${RELAY}.a+b`, 'Its third part, for the relays, is not base64url. Was it cut or changed?'],
    [`${KEY}.${RELAY}.${'A'.repeat(1028)}`, 'Its third part, for the relays, is longer than 1024 characters.'],
    [`${KEY}.${RELAY}..`, 'Its fourth part is not a secret of 32 bytes. Was it cut?'],
    [`${KEY}.${RELAY}..${SECRET.slice(0, 40)}`, 'Its fourth part is not a secret of 32 bytes. Was it cut?'],
    [`${KEY}.${RELAY}..${b64([2, ...Array(32).fill(7)])}`, 'Its secret is of version 2; this page knows version 1.'],
  ]) {
    await linkField(page).fill(link);
    await takeApart(page).click();
    assert.equal(await said(page, 'take-said'), wrong, link);
    assert.equal(await page.locator('#taken').isVisible(), false);
    assert.throws(() => program.shell(`connectoid link show '${link}'`), /ended with 1/, link);
  }
});

test('keys on the curve and beside it, as the program sees them', async t => {
  const { page } = await open(t);
  const program = person(t);
  const keys = Array.from({ length: 40 }, (_, n) =>
    Buffer.from([2 + (n & 1), ...Buffer.from(KEY, 'base64url').subarray(1, 48), n]).toString('base64url'));
  const script = keys.map(key => `connectoid link show ${key}.${RELAY} >/dev/null 2>&1; echo $?`).join('\n');
  const known = program.shell(script).trim().split('\n').map(code => code === '0');
  assert.ok(known.filter(Boolean).length > 8 && known.filter(is => !is).length > 8, String(known));
  for (const [n, key] of keys.entries()) {
    await linkField(page).fill(`${key}.${RELAY}`);
    await takeApart(page).click();
    assert.equal(await said(page, 'take-said') === '', known[n], key);
  }
});

test('a link that this page is opened with does not stay in the address', async t => {
  const { page, requests } = await open(t, `/#connectoid=${FULL}`);
  assert.deepEqual((await parts(page))[0], ['Box, a public key', KEY]);
  assert.equal(page.url(), `${relay.url}/`);
  // It stands in the box again, and in the command to write with; nowhere else.
  assert.equal(await linkField(page).inputValue(), `${relay.url}/#connectoid=${FULL}`);
  assert.equal(await said(page, 'send-use'), `connectoid send '${FULL}'`);
  assert.equal(await page.evaluate(() => document.documentElement.outerHTML.split('AQcHBwcHBw').length), 2);
  await page.evaluate(link => { location.hash = link; }, `connectoid=${KEY}.${RELAY}.YXBpa2V5`);
  await page.getByText('apikey').waitFor();
  assert.equal(await linkField(page).inputValue(), `${relay.url}/#connectoid=${KEY}.${RELAY}.YXBpa2V5`);
  assert.equal(page.url(), `${relay.url}/`);
  await page.evaluate(() => { location.hash = 'connectoid=hello'; });
  await page.getByText('this has 1. Was it cut?').waitFor();
  assert.equal(await page.locator('#taken').isVisible(), false);
  for (const request of requests) {
    assert.equal(JSON.stringify([request.url(), request.headers()]).includes('AQcHBwcHBw'), false, request.url());
  }
  const inQuery = await open(t, `/?connectoid=${FULL}`);
  assert.deepEqual((await parts(inQuery.page)).at(-1), ['Secret', 'Yes, but in the query: the server that this link names saw it.']);
  assert.equal(inQuery.page.url(), `${relay.url}/`);
});

test('whoever opens a link made on the page can write to whoever made it', async t => {
  const [alice, bob] = [person(t), person(t)];
  const { page } = await open(t);
  const { link } = await makeLink(page);
  await page.getByRole('button', { name: 'Show the private key' }).click();
  await page.locator('#key-pem').waitFor();
  alice.write('key.pem', await said(page, 'key-pem'));
  const [keep, receive] = (await said(page, 'key-use')).split('\n');
  const { page: theirs, context } = await open(t, link.slice(relay.url.length));
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: relay.url });
  await theirs.locator('#taken').waitFor();
  await theirs.getByRole('button', { name: 'Copy the command to write' }).click();
  await theirs.getByRole('status').getByText('Copied').waitFor();
  bob.shell(await theirs.evaluate(() => navigator.clipboard.readText()), 'Bread, please');
  alice.shell(keep);
  assert.equal(alice.shell(receive), 'Bread, please');
});

// --- By keyboard, and without JavaScript ---

test('everything by keyboard', async t => {
  const { page, context } = await open(t);
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: relay.url });
  const focused = () => page.evaluate(() => {
    const { id, textContent, tagName, ariaLabel } = document.activeElement;
    return ariaLabel ?? (id || textContent.trim() || tagName);
  });
  const until = async name => {
    for (let n = 0; n < 60; n++) {
      await page.keyboard.press('Tab');
      const { outline } = await page.evaluate(() => ({ outline: getComputedStyle(document.activeElement).outlineStyle }));
      if (await page.evaluate(() => document.activeElement !== document.body)) assert.equal(outline, 'solid', await focused());
      if (await focused() === name) return;
    }
    assert.fail(`${name} is not reached with Tab`);
  };
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  const copied = words => page.waitForFunction(async all => (await navigator.clipboard.readText()).includes(all), words);
  for (const [call, words] of [['send', '"send"'], ['check', '"check"'], ['receive', 'answer --example']]) {
    await until(`The ${call} call`);
    await until(`Copy the ${call} call`);
    await page.keyboard.press('Enter');
    await copied(words);
  }
  await until('relays');
  await page.keyboard.press('Enter');
  await page.locator('#made-title:focus').waitFor();
  await until('Copy the link');
  await page.keyboard.press('Space');
  await copied('#connectoid=');
  const link = await clipboard();
  await until('show-key');
  await page.keyboard.press('Enter');
  await page.locator('#key-pem').waitFor();
  await until('The private key');
  await until('Copy the commands to receive');
  await until('link');
  await page.keyboard.insertText(link);
  await until('Take it apart');
  await page.keyboard.press('Enter');
  assert.equal((await parts(page))[0][1], link.split('=')[1].split('.')[0]);
  await until('info');
  await until('Privacy: what is kept');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${relay.url}/privacy`);
});

test('without JavaScript the text is there, and no button that does nothing', async t => {
  const { page } = await open(t, '/', { javaScriptEnabled: false });
  const text = await page.locator('body').innerText();
  for (const words of [
    'Send a link;', '"action": "send"', '"action": "check"', 'connectoid answer --example', 'A message lives', '1 hour',
    `connectoid link --relay ${relay.url} --for Bob`, 'connectoid link show LINK',
  ]) assert.ok(text.includes(words), words);
  assert.equal(await page.getByRole('button').count(), 0);
  assert.equal(await page.getByRole('textbox').count(), 0);
  await page.getByRole('link', { name: 'Privacy' }).click();
  await page.getByRole('heading', { name: 'What this relay keeps' }).waitFor();
});

// --- What it is told ---

test('/ and /privacy name the times that the relay was given', async t => {
  const other = await serve('--message-ttl', '2h', '--box-ttl', '7d', '--answer-ttl', '90s');
  t.after(() => other.stop());
  const row = (page, name) => page.locator('.rows > div', { hasText: name }).locator('dd').innerText();
  for (const [url, message, box, answer] of [[relay.url, '1 hour', '30 days', '1 minute'], [other.url, '2 hours', '7 days', '90 seconds']]) {
    const { page } = await open(t, '/', { url });
    assert.equal(await row(page, 'A message lives'), `${message}, unless its owner deletes it`);
    assert.equal(await row(page, 'A box lives'), `${box} after its last check`);
    assert.equal(await row(page, 'An answer counts'), `${answer}, for any number of requests`);
    await page.goto(`${url}/privacy`);
    assert.match(await row(page, 'Messages'), new RegExp(`^${message}, or until`));
    assert.match(await row(page, 'Boxes'), new RegExp(`^${box} after the last check`));
  }
});

test('behind a proxy that strips a path, with and without a slash at its end', async t => {
  const behind = await serve('--url', 'https://example.com/relay');
  const context = await chromium.newContext();
  t.after(async () => {
    await context.unrouteAll({ behavior: 'wait' });
    await context.close();
    await behind.stop();
  });
  const asked = [];
  await context.route('https://example.com/**', async route => {
    const { pathname } = new URL(route.request().url());
    asked.push(pathname);
    if (!/^\/relay(\/|$)/.test(pathname)) return route.fulfill({ status: 404 });
    const reply = await fetch(behind.url + (pathname.slice('/relay'.length) || '/'), { headers: { accept: route.request().headers().accept ?? '*/*' } });
    return route.fulfill({ status: reply.status, headers: Object.fromEntries(reply.headers), body: await reply.text() });
  });
  for (const address of ['https://example.com/relay', 'https://example.com/relay/']) {
    const page = await context.newPage();
    await page.goto(address);
    assert.equal(await page.locator('header code').innerText(), 'https://example.com/relay');
    const { link, connectoid } = await makeLink(page);
    assert.equal(link, `${address}#connectoid=${connectoid}`);
    assert.equal(await page.evaluate(() => document.styleSheets.length), 1);
    await page.getByRole('link', { name: 'Privacy' }).click();
    await page.getByRole('heading', { name: 'What this relay keeps' }).waitFor();
    await page.getByRole('link', { name: 'connectoid', exact: true }).click();
    await page.getByRole('heading', { name: 'Three calls' }).waitFor();
  }
  assert.ok(asked.every(path => path.startsWith('/relay')), String(asked));
});
