// SHA-384, and HMAC and HKDF with it.

import { type Bytes, concat, type Part } from '../bytes.js';
import { importRaw } from '../keys.js';

const HMAC = { name: 'HMAC', hash: 'SHA-384' };

/** SHA-384 of the parts, joined: 48 bytes. */
export async function sha384(...parts: Part[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-384', concat(...parts)));
}

/** HMAC-SHA384 of the parts, joined: 48 bytes. */
export async function hmac(key: Uint8Array | string, ...parts: Part[]): Promise<Bytes> {
  // WebCrypto takes no empty key. HMAC fills keys up with zeros (RFC 2104, section 2), so this one is the same.
  const imported = await importRaw(key.length ? concat(key) : new Uint8Array(48), HMAC, 'sign');
  return new Uint8Array(await crypto.subtle.sign(HMAC, imported, concat(...parts)));
}

/** HKDF-Expand(prk, info, length), `info` in parts: its first block (RFC 5869, section 2.3), so at most 48 bytes. */
export async function expand(prk: Uint8Array, length: number, ...info: Part[]): Promise<Bytes> {
  return (await hmac(prk, ...info, 1)).slice(0, length);
}

/** HKDF-SHA384(salt, ikm, info, length), `info` in parts; at most 48 bytes. */
export async function hkdf(
  salt: Uint8Array | string,
  ikm: Uint8Array,
  length: number,
  ...info: Part[]
): Promise<Bytes> {
  return expand(await hmac(salt, ikm), length, ...info);
}
