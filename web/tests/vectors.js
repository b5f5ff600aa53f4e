// The published vectors, and the raw private keys in them as keys of this library.

import { createECDH } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { encode } from '../dist/base64url.js';
import { compress } from '../dist/keys.js';

/** One of the files in tests/vectors. */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../../tests/vectors/${name}.json`, import.meta.url), 'utf8'));
}

/** Bytes of hex digits. */
export function hex(digits) {
  return Uint8Array.from(Buffer.from(digits, 'hex'));
}

/** Hex digits of bytes. */
export function toHex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

/** The box key of these 48 bytes. */
export function boxKey(scalar) {
  return keyOf(scalar, 'ECDH', ['deriveBits']);
}

/** The signing key of these 48 bytes. */
export function signingKey(scalar) {
  return keyOf(scalar, 'ECDSA', ['sign']);
}

async function keyOf(scalar, name, usages) {
  const ecdh = createECDH('secp384r1');
  ecdh.setPrivateKey(Buffer.from(scalar));
  const point = Uint8Array.from(ecdh.getPublicKey());
  const [d, x, y] = [scalar, point.subarray(1, 49), point.subarray(49)].map(encode);
  const jwk = { kty: 'EC', crv: 'P-384', d, x, y };
  const key = await crypto.subtle.importKey('jwk', jwk, { name, namedCurve: 'P-384' }, false, usages);
  return { pub: compress(point), key };
}
