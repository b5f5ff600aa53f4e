// The relay's page: copy buttons, making a link, taking one apart. It asks nothing of anyone, and the page's policy
// would not let it. Text goes into the page as text only.

'use strict';

document.documentElement.classList.add('scripted');

// A link this page was opened with must not stay in the address bar and the history.
let opened = takeFromAddress();

function takeFromAddress() {
  if (!location.hash.includes('connectoid=') && !location.search.includes('connectoid=')) return '';
  const link = location.href;
  history.replaceState(null, '', location.pathname);
  return link;
}

addEventListener('hashchange', () => {
  opened = takeFromAddress();
  if (opened) showOpened();
});

addEventListener('DOMContentLoaded', () => {
  for (const button of document.querySelectorAll('.copy')) button.addEventListener('click', () => copy(button));
  const relays = element('relays');
  relays.value = document.body.dataset.relay;
  element('api-key-field').hidden = !document.body.dataset.apiKey;
  element('make-form').addEventListener('submit', event => {
    event.preventDefault();
    make(relays.value);
  });
  element('show-key').addEventListener('click', toggleKey);
  element('take-form').addEventListener('submit', event => {
    event.preventDefault();
    show(element('link').value);
  });
  if (!globalThis.crypto?.subtle) {
    element('make-form').querySelector('button').disabled = true;
    element('make-said').textContent = 'A browser makes keys only on a page that came by https, or from this ' +
      'machine. This one did not: make the link on the command line.';
  }
  if (opened) showOpened();
});

function showOpened() {
  element('link').value = opened;
  show(opened);
}

function element(id) {
  return document.getElementById(id);
}

// --- Copy ---

async function copy(button) {
  const code = button.previousElementSibling;
  const done = await written(code);
  button.textContent = done ? 'Copied' : 'Selected';
  element('said').textContent = '';
  // An empty region that is filled again is read out again.
  setTimeout(() => {
    element('said').textContent = done ? 'Copied' : 'Selected: copy it with the keyboard';
  }, 50);
  setTimeout(() => {
    button.textContent = 'Copy';
  }, 2000);
}

async function written(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    // Without https there is no clipboard, but there is the old way.
    getSelection().selectAllChildren(code);
    return document.execCommand('copy');
  }
}

// --- Make a link: docs/protocol.md, section 2 ---

let keys;

async function make(text) {
  const said = element('make-said');
  const succeed = () => ['relays', 'api-key'].forEach(id => fail(element(id), said, ''));
  try {
    const relays = parseRelays(text);
    const apiKey = document.body.dataset.apiKey ? parseApiKey() : '';
    const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-384' }, true, ['deriveBits']);
    const point = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const [box, urls] = [encode(compress(point)), encode(new TextEncoder().encode(relays.join(' ')))];
    const connectoid = [box, urls, apiKey, encode([1, ...secret])].join('.');
    hideKey();
    keys = pair;
    succeed();
    element('made-link').textContent = `${location.origin}${location.pathname}#connectoid=${connectoid}`;
    element('made-connectoid').textContent = connectoid;
    element('key-use').textContent =
      `connectoid key import key.pem --for Bob --link ${connectoid}\nconnectoid receive Bob`;
    reveal('made');
  } catch (error) {
    succeed();
    fail(element(error.cause ?? 'relays'), said, error.message);
  }
}

// The key as whoever runs the relay gave it: 32 bytes, in the link as they stand.
function parseApiKey() {
  const key = element('api-key').value.trim();
  try {
    if (decode(key, '').length === 32) return key;
  } catch {
    // Said below.
  }
  throw Error(key ? 'An API key has 43 characters of base64url, this is none. Was it cut?'
    : 'This relay asks for an API key: paste the one you got from whoever runs it.', { cause: 'api-key' });
}

// SEC 1, section 2.3.3: 04 ‖ x ‖ y becomes 02 or 03, by whether y is even, and x.
function compress(point) {
  return [2 + (point[96] & 1), ...point.subarray(1, 49)];
}

async function toggleKey() {
  if (!element('key').hidden) return hideKey();
  const der = encode(new Uint8Array(await crypto.subtle.exportKey('pkcs8', keys.privateKey)), btoa);
  const lines = der.match(/.{1,64}/g).join('\n');
  element('key-pem').textContent = `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
  element('key').hidden = false;
  element('show-key').textContent = 'Hide the private key';
  element('show-key').setAttribute('aria-expanded', 'true');
}

function hideKey() {
  element('key').hidden = true;
  element('key-pem').textContent = '';
  element('show-key').textContent = 'Show the private key';
  element('show-key').setAttribute('aria-expanded', 'false');
}

// --- Take a link apart ---

function show(text) {
  const [field, said] = [element('link'), element('take-said')];
  element('taken').hidden = true;
  try {
    const { place, value, key, relays, ext, secret } = takeApart(text);
    const secretIs = !secret ? 'None. Who runs a relay of this link can pretend to be the one who uses it.'
      : place === 'query' ? 'Yes, but in the query: the server that this link names saw it.'
      : 'Yes, 32 bytes that no relay sees.';
    const list = element('parts');
    list.replaceChildren();
    add(list, 'Box, a public key', key);
    relays.forEach((relay, n) => add(list, relays.length > 1 ? `Relay ${n + 1}` : 'Relay', relay));
    if (ext) add(list, 'For the relays (ext)', ext);
    if (ext && readable(ext)) add(list, 'The same as text', readable(ext));
    add(list, 'Secret', secretIs, 'plain');
    // Of its characters none is one that a shell takes for its own within quotes.
    element('send-use').textContent = `connectoid send '${value}'`;
    fail(field, said, '');
    reveal('taken');
  } catch (error) {
    fail(field, said, error.message);
    field.focus();
  }
}

function add(list, name, text, look) {
  const row = list.appendChild(document.createElement('div'));
  row.appendChild(document.createElement('dt')).textContent = name;
  const value = row.appendChild(document.createElement('dd'));
  value.textContent = text;
  if (look) value.className = look;
}

function takeApart(text) {
  const { value, place } = find(text.trim());
  const parts = value.split('.');
  if (parts.length < 2 || parts.length > 4) {
    throw Error(`A connectoid has 2, 3 or 4 parts joined by dots, this has ${parts.length}. Was it cut?`);
  }
  const [key, relays, ext = '', secret] = parts;
  if (parts.length === 3 && !ext) throw Error('It ends with a dot. Was it cut?');
  checkKey(key);
  const urls = parseRelays(utf8(decode(relays, 'Its second part, the relays,'), 'Its second part is not text.'));
  if (ext.length > 1024) throw Error('Its third part, for the relays, is longer than 1024 characters.');
  decode(ext, 'Its third part, for the relays,');
  if (secret !== undefined) checkSecret(secret);
  return { place, value, key, relays: urls, ext, secret: secret !== undefined };
}

// The connectoid in a link, or a bare one. The fragment wins over the query.
function find(text) {
  if (!text) throw Error('Paste a link first.');
  if (!text.includes('://')) return { value: text.replace(/^connectoid=/, '') };
  const [, before, fragment = ''] = text.match(/^([^#]*)#?(.*)$/s);
  const query = before.match(/\?(.*)$/s)?.[1] ?? '';
  const parameter = within => within.match(/(?:^|[?&\/#;!])connectoid=([^&]*)/)?.[1];
  const inFragment = parameter(fragment);
  if (inFragment !== undefined) return { value: inFragment, place: 'fragment' };
  const inQuery = parameter(query);
  if (inQuery !== undefined) return { value: inQuery, place: 'query' };
  throw Error('There is no connectoid=… in this link. Was it cut?');
}

function checkKey(text) {
  const what = 'Its first part, the public key,';
  const bytes = decode(text, what);
  if (bytes.length !== 49) throw Error(`${what} has ${text.length} characters instead of 66. Was it cut?`);
  if (bytes[0] !== 2 && bytes[0] !== 3) throw Error(`${what} is not a compressed one: its first byte must be 02 or 03.`);
  if (!isOnCurve(bytes.subarray(1))) throw Error(`${what} is no point on the curve P-384. Was a character changed?`);
}

function checkSecret(text) {
  const bytes = decode(text, 'Its fourth part, the secret,');
  if (bytes.length && bytes[0] !== 1) throw Error(`Its secret is of version ${bytes[0]}; this page knows version 1.`);
  if (bytes.length !== 33) throw Error('Its fourth part is not a secret of 32 bytes. Was it cut?');
}

// P-384 (SEC 2, section 2.5.1): y² = x³ − 3x + b mod p, and p is 3 mod 4, so a root is the (p + 1) / 4-th power.
// By hand, since not every browser imports compressed keys.
function isOnCurve(bytes) {
  const p = 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n;
  const b = 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn;
  const x = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const square = (((x * x - 3n) * x + b) % p + p) % p;
  let root = 1n;
  for (const bit of ((p + 1n) / 4n).toString(2)) {
    root = root * root % p;
    if (bit === '1') root = root * square % p;
  }
  return x < p && root * root % p === square;
}

// One to four relays, in the one spelling of their URLs: docs/protocol.md, section 2.3.
function parseRelays(text) {
  const urls = text.split(' ').filter(Boolean);
  if (urls.length < 1 || urls.length > 4) throw Error(`A link names 1 to 4 relays, this names ${urls.length}.`);
  return urls.map(parseRelay);
}

function parseRelay(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw Error(`${text} is not a URL like https://connecto.id`);
  }
  const here = /^(127(\.\d+){3}|\[::1\]|(.*\.)?localhost)$/.test(url.hostname);
  if (url.protocol === 'http:' && !here) {
    throw Error(`${text} would not be encrypted: http is for this machine only, use https.`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw Error(`${text} must begin with https://`);
  url.username = url.password = url.search = url.hash = '';
  const href = url.pathname === '/' ? url.href.slice(0, -1) : url.href;
  if (href.length > 2048) throw Error('The URL of a relay is longer than 2048 characters.');
  return href;
}

// --- Bytes and text ---

// RFC 4648 base64url without padding; with `text` as btoa, plain base64.
function encode(bytes, text = base64url) {
  return text(String.fromCharCode(...bytes));
}

function base64url(binary) {
  return btoa(binary).replace(/[+/=]/g, c => ({ '+': '-', '/': '_', '=': '' })[c]);
}

// Only the one spelling: a cut byte or bits that are not zero at the end would make another box of the same key.
function decode(text, what) {
  if (!/^[\w-]*$/.test(text) || text.length % 4 === 1) throw Error(`${what} is not base64url. Was it cut or changed?`);
  const binary = atob(text.replace(/[-_]/g, c => ({ '-': '+', _: '/' })[c]));
  if (base64url(binary) !== text) throw Error(`${what} is not base64url in its one spelling. Was it cut or changed?`);
  return Uint8Array.from(binary, c => c.charCodeAt(0));
}

function utf8(bytes, wrong) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw Error(wrong);
  }
}

// The text in an ext, if it is text that shows as what it is: no control characters, nothing that is seen as nothing.
function readable(ext) {
  try {
    const text = utf8(decode(ext, ''), '');
    return /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/u.test(text.replaceAll(' ', '')) ? undefined : text;
  } catch {
    return undefined;
  }
}

// --- What is shown ---

function reveal(id) {
  element(id).hidden = false;
  element(`${id}-title`).focus();
}

function fail(field, said, message) {
  said.textContent = message;
  if (message) field.setAttribute('aria-invalid', 'true');
  else field.removeAttribute('aria-invalid');
}
