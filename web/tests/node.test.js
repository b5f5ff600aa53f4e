// Contacts in a file.

import assert from 'node:assert/strict';
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { generateBoxKey, generateSigningKey } from '../dist/keys.js';
import { fileStorage } from '../dist/node.js';
import { folder } from './relay.js';

async function bob() {
  return {
    name: 'Bob',
    made: 1,
    unproven: false,
    boxes: [
      { key: await generateBoxKey(true), secret: new Uint8Array(32).fill(7), relays: ['https://a.example'] },
    ],
    signer: { n: 3, key: await generateSigningKey(true) },
    inbox: [],
  };
}

const request = storage => storage.lock.request(true, () => {}, new AbortController().signal);

test('what is stored is loaded, with keys that work', async t => {
  const home = folder(t);
  const path = `${home}/keys.json`;
  const contact = await bob();
  const goodbye = { to: 'x', relays: [], data: Uint8Array.of(1, 2), made: 1, sent: 0 };
  assert.deepEqual(await fileStorage(path).load(), { contacts: [], goodbyes: [] });
  await fileStorage(path).store(new Map([['Bob', contact]]), [goodbye]);
  assert.equal(statSync(path).mode & 0o777, 0o600);

  const storage = fileStorage(path);
  const { contacts, goodbyes } = await storage.load();
  assert.deepEqual(goodbyes, [goodbye]);
  const [{ boxes, signer, ...rest }] = contacts;
  assert.deepEqual(rest, { name: 'Bob', made: 1, unproven: false, inbox: [] });
  assert.deepEqual([...boxes[0].secret], Array(32).fill(7));
  const export_ = key => crypto.subtle.exportKey('jwk', key);
  assert.deepEqual(await export_(boxes[0].key.key), await export_(contact.boxes[0].key.key));
  assert.equal(boxes[0].key.key.algorithm.name, 'ECDH');
  const algorithm = { name: 'ECDSA', hash: 'SHA-384' };
  assert.equal((await crypto.subtle.sign(algorithm, signer.key.key, new Uint8Array(1))).byteLength, 96);

  // Others stay; one that is gone is gone.
  await storage.store(new Map([['Carol', { ...contact, name: 'Carol' }]]), []);
  assert.deepEqual((await fileStorage(path).load()).contacts.map(({ name }) => name).sort(), [
    'Bob',
    'Carol',
  ]);
  await storage.store(new Map([['Bob', undefined]]), []);
  assert.deepEqual(
    (await fileStorage(path).load()).contacts.map(({ name }) => name),
    ['Carol'],
  );
  assert.deepEqual(readdirSync(home), ['keys.json']);
});

test('a store that fails changes nothing', async t => {
  const path = `${folder(t)}/keys.json`;
  const storage = fileStorage(path);
  await storage.store(new Map([['Bob', await bob()]]), []);
  const before = readFileSync(path, 'utf8');
  const sealed = await bob();
  sealed.boxes[0].key = await generateBoxKey(false);
  await assert.rejects(storage.store(new Map([['Carol', sealed]]), []));
  assert.equal(readFileSync(path, 'utf8'), before);
  await storage.store(new Map(), []);
  assert.equal(readFileSync(path, 'utf8'), before);
});

test('a file that is damaged is refused, and left as it is', async t => {
  const path = `${folder(t)}/keys.json`;
  await fileStorage(path).store(new Map([['Bob', await bob()]]), []);
  const whole = readFileSync(path, 'utf8');
  for (const damaged of [
    '',
    '{}',
    'null',
    whole.slice(0, -10),
    whole.replace('"version": 1', '"version": 2'),
    whole.replace(/"d": "\w/, '"d": "='),
    whole.replace(/"bytes": "\w/, '"bytes": "='),
  ]) {
    assert.notEqual(damaged, whole);
    writeFileSync(path, damaged);
    await assert.rejects(fileStorage(path).load(), { code: 'storage' }, damaged.slice(0, 40));
    assert.equal(readFileSync(path, 'utf8'), damaged);
  }
});

const PROCESS = `
  import { fileStorage } from ${JSON.stringify(new URL('../dist/node.js', import.meta.url).href)};
  let release = () => {};
  process.on('message', async path => {
    if (path) {
      try {
        release = await fileStorage(path).lock.request(true, () => {}, new AbortController().signal);
        process.send('locked');
      } catch (error) {
        process.send(error.code ?? String(error));
      }
    } else {
      release();
      release = () => {};
      process.send('free');
    }
  });
  process.send('ready');
`;

/** Other processes, which lock a file when they are told its path, say how that went, and free it when they are told nothing. */
async function processes(t, count) {
  const home = folder(t);
  writeFileSync(`${home}/process.mjs`, PROCESS);
  const all = Array.from({ length: count }, () => {
    const child = fork(`${home}/process.mjs`);
    t.after(() => child.kill('SIGKILL'));
    return child;
  });
  await Promise.all(all.map(child => once(child, 'message')));
  return all;
}

async function tell(child, path) {
  const said = once(child, 'message');
  child.send(path);
  return (await said)[0];
}

test('one client uses a file, and the next when that stops', async t => {
  const path = `${folder(t)}/keys.json`;
  // What something else left there is nobody's lock.
  writeFileSync(`${path}.lock`, '');
  const release = await request(fileStorage(path));
  await assert.rejects(request(fileStorage(path)), { code: 'inactive' });
  const [other] = await processes(t, 1);
  assert.equal(await tell(other, path), 'inactive');
  // A program that the app started does not keep it.
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()']);
  t.after(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  release();
  assert.equal(await tell(other, path), 'locked');
  await assert.rejects(request(fileStorage(path)), { code: 'inactive' });
  assert.equal(await tell(other, ''), 'free');
  (await request(fileStorage(path)))();
});

test('of many processes at once exactly one uses a file, and the next when it is killed', async t => {
  const path = `${folder(t)}/keys.json`;
  const all = await processes(t, 6);
  for (let round = 0; round < 25; round += 1) {
    // As a process leaves it that is killed before it wrote there, or that is gone.
    writeFileSync(`${path}.lock`, round % 2 ? '' : '4194304\n');
    const said = await Promise.all(all.map(child => tell(child, path)));
    assert.deepEqual(said.sort(), [...Array(5).fill('inactive'), 'locked']);
    await Promise.all(all.map(child => tell(child, '')));
  }
  while (all.length > 1) {
    const said = await Promise.all(all.map(child => tell(child, path)));
    assert.deepEqual([...said].sort(), [...Array(all.length - 1).fill('inactive'), 'locked']);
    const [holder] = all.splice(said.indexOf('locked'), 1);
    const gone = once(holder, 'exit');
    holder.kill('SIGKILL');
    await gone;
  }
  assert.equal(await tell(all[0], path), 'locked');
});

test('where nothing can lock nobody gets in', { skip: process.platform !== 'linux' }, async t => {
  const { PATH } = process.env;
  const home = folder(t);
  process.env.PATH = home;
  t.after(() => {
    process.env.PATH = PATH;
  });
  await assert.rejects(request(fileStorage(`${home}/keys.json`)), { code: 'unsupported', message: /flock/ });
});
