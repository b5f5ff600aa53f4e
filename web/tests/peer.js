#!/usr/bin/env node
// The browser library as a peer for the Rust tests: the same commands as tests/independent/peer.py, as far as they need them.
// For tests, not for people: private keys are arguments. Errors are one line on stderr and exit status 1.

import { createECDH } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';

if (!existsSync(new URL('../dist/link.js', import.meta.url))) {
  console.error('peer.js: the browser library is not built: run `npm ci && npx tsc` in web/');
  process.exit(1);
}

const { decode, decodeExactly, encode } = await import('../dist/base64url.js');
const { concat, lp16, text, utf8 } = await import('../dist/bytes.js');
const { formatConnectoid, parseConnectoid } = await import('../dist/connectoid.js');
const { readChecked } = await import('../dist/exchange.js');
const { compress, compressedBytes, publicKey } = await import('../dist/keys.js');
const { findConnectoid } = await import('../dist/link.js');
const { relayUrl } = await import('../dist/relay-url.js');
const { seal } = await import('../dist/seal/hpke.js');
const { openMessage, sealMessage } = await import('../dist/seal/message.js');
const { openQuestion } = await import('../dist/seal/question.js');
const { emoji } = await import('../dist/emoji.js');
const { sasOf, transcript } = await import('../dist/seal/transcript.js');
const { boxKey, hex, signingKey, toHex } = await import('./vectors.js');

/** What is wrong with the input, in one line. */
class Fault extends Error {}

const commands = {
  /** Print a new key pair. */
  keygen() {
    const ecdh = createECDH('secp384r1');
    const pub = compress(Uint8Array.from(ecdh.generateKeys()));
    return JSON.stringify({ sk: ecdh.getPrivateKey('hex').padStart(96, '0'), pub });
  },

  /** stdin: a reply to check; print the answer to its question. */
  async answer({ sk, pub, relay }) {
    const key = await ownKey(sk, pub);
    const checked = readChecked({ status: 200, body: stdin() });
    need(!checked.failure && checked.question !== undefined, 'the reply holds no question');
    need((checked.relay ?? relay) === relay, `the question is of another relay: ${checked.relay}`);
    const answer = await openQuestion(key, canonical(relay), checked.question);
    need(answer, 'it does not open');
    return JSON.stringify({ answer, t: Number(new DataView(decode(answer).buffer).getBigUint64(0)) });
  },

  /** Seal a question, as a relay does. */
  async question({ pub, relay, plaintext }) {
    const aad = concat(lp16(canonical(relay)), compressedBytes(key(pub)));
    return encode(await seal(pub, 'connectoid/1 question', aad, hex(plaintext)));
  },

  /** stdin: data; print its payload. */
  async open({ sk, pub, secret, ik }) {
    const known = ik && key(ik);
    const data = need(decode(stdin().trim()), 'data is not base64url');
    const opened = await openMessage(await ownKey(sk, pub), secretOf(secret), () => known, data);
    need(typeof opened === 'object', `it is junk: ${opened}`);
    need(!known || opened.ik === known, 'ik is not the pinned one');
    const payload = JSON.parse(text(opened.payload));
    const note = opened.content.note && text(opened.content.note);
    return JSON.stringify(note === undefined ? payload : { ...payload, noteText: note });
  },

  /** Seal a note, or a message of any type: --body is a JSON object with typ and its fields. */
  async seal(options) {
    const { 'to-pub': to, secret, 'sign-key': signKey, n, ts, body, 'note-file': file } = options;
    const content = file
      ? { typ: 'note', note: new Uint8Array(readFileSync(file)) }
      : contentOf(JSON.parse(body));
    const signer = await signingKey(hex(signKey));
    const sealed = await sealMessage(key(to), secretOf(secret), signer, Number(n), Number(ts), content);
    return encode(need(sealed, 'it was not sealed').data);
  },

  /** stdin: a link; print its connectoid and where it stood. */
  link() {
    const found = findConnectoid(stdin());
    need(typeof found === 'object', `it is no link: ${found}`);
    return JSON.stringify({ connectoid: formatConnectoid(found.connectoid), place: found.place ?? null });
  },

  /** stdin: a connection, its fields as in tests/vectors/connections.json; print what follows from them. */
  async transcript() {
    const one = JSON.parse(stdin());
    const [rO, rA, nonceO, nonceA, fpO, fpA] = ['rO', 'rA', 'nonceO', 'nonceA', 'fpO', 'fpA'].map(name =>
      hex(one[name]),
    );
    const secretO = one.secretO === null ? undefined : hex(one.secretO);
    const made = await transcript(utf8(one.offer), utf8(one.answer), secretO, hex(one.secretA));
    const sas = sasOf(await made.sas(rO, rA));
    return JSON.stringify({
      sas: {
        raw: toHex(sas.bytes),
        emoji: emoji(sas).join(' '),
        numbers: sas.numbers,
      },
      proofO: toHex(await made.proof('O', nonceA, nonceO, fpO, fpA)),
      proofA: toHex(await made.proof('A', nonceO, nonceA, fpA, fpO)),
    });
  },
};

/** What a message of this body says. */
function contentOf({ connectoid, sasCommit, sasNonce, sdpOffer, sdpAnswer, note, ...body }) {
  switch (body.typ) {
    case 'offer':
      return {
        ...body,
        connectoid: parseConnectoid(connectoid),
        sasCommit: decode(sasCommit),
        sdp: sdpOffer.sdp,
      };
    case 'answer':
      return { ...body, sasNonce: decode(sasNonce), sdp: sdpAnswer.sdp };
    case 'note':
      return { ...body, note: decode(note) };
    default:
      return body;
  }
}

async function ownKey(sk, pub) {
  const own = await boxKey(hex(sk));
  need(own.pub === pub, '--pub is not the public key of --sk');
  return own;
}

const stdin = () => readFileSync(0, 'utf8');
const key = text => need(publicKey(text), 'not a public key');
const canonical = url => need(relayUrl(url) === url && url, `not a canonical relay URL: ${url}`);
const secretOf = text =>
  text === undefined ? undefined : need(decodeExactly(text, 32), '--secret is not 32 bytes');

function need(value, otherwise) {
  if (!value) {
    throw new Fault(otherwise);
  }
  return value;
}

/** `--name value` or `--name=value`; a value may begin with a hyphen. */
function optionsOf(words) {
  const options = {};
  for (let i = 0; i < words.length; i += 1) {
    const [, name, value] = need(/^--([^=]+)(?:=(.*))?$/s.exec(words[i]), `what is ${words[i]}?`);
    options[name] = value ?? words[++i];
  }
  return options;
}

const [command, ...words] = process.argv.slice(2);
try {
  console.log(
    await need(commands[command], `commands: ${Object.keys(commands).join(' ')}`)(optionsOf(words)),
  );
} catch (error) {
  console.error(
    `peer.js: ${error instanceof Fault ? error.message : `input of an unexpected form: ${error}`}`,
  );
  process.exit(1);
}
