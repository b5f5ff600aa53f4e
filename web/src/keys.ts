// P-384 keys: public ones in their one spelling, private ones that WebCrypto keeps.

import { decodeExactly, encode } from './base64url.js';
import { type Bytes, concat, equal, fromHex } from './bytes.js';

/**
 * A point of P-384, SEC 1 compressed, in base64url: 66 characters. Checked to be on the curve, and in its one spelling: two are
 * the same key if and only if they are the same text.
 */
export type PublicKey = string & { readonly brand: 'PublicKey' };

/** The private key of a mailbox, for HPKE only. */
export interface BoxKey {
  pub: PublicKey;
  key: CryptoKey;
}

/** The key that signs messages to one contact (ES384). */
export interface SigningKey {
  pub: PublicKey;
  key: CryptoKey;
}

const CURVE = 'P-384';
export const ECDH = { name: 'ECDH', namedCurve: CURVE };
const ES384 = { name: 'ECDSA', namedCurve: CURVE, hash: 'SHA-384' };

// SEC 2, section 2.5.1: y² = x³ - 3x + b over the field of p.
const P = 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n;
const B = 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn;

/** Points found before: a square root in the field costs a millisecond or so. */
const known = new Map<string, Bytes>();
const MOST_KNOWN = 512;

/** The key that `text` is; `undefined` if it is anything but a point of the curve in its one spelling. */
export function publicKey(text: unknown): PublicKey | undefined {
  return typeof text === 'string' && uncompressed(text) ? (text as PublicKey) : undefined;
}

/** The 49 bytes: what formulas call `pub`. */
export function compressedBytes(key: PublicKey): Bytes {
  return decodeExactly(key, 49) as Bytes;
}

/** The key of an uncompressed point, which is on the curve. */
export function compress(uncompressed: Uint8Array): PublicKey {
  return encode(concat(2 + ((uncompressed[96] ?? 0) & 1), uncompressed.subarray(1, 49))) as PublicKey;
}

/** Whether these bytes are an uncompressed point of the curve: 97 bytes, the first 04. */
export function isPoint(bytes: Uint8Array): boolean {
  const point = uncompressed(compress(bytes) as string);
  return !!point && equal(point, bytes);
}

/** A fresh key. */
export async function generateBoxKey(extractable: boolean): Promise<BoxKey> {
  return named(await crypto.subtle.generateKey(ECDH, extractable, ['deriveBits']));
}

/** A fresh key. */
export async function generateSigningKey(extractable: boolean): Promise<SigningKey> {
  return named(await crypto.subtle.generateKey(ES384, extractable, ['sign', 'verify']));
}

/** ES384: ECDSA on P-384 with SHA-384, `r ‖ s`, 96 bytes. */
export async function sign(key: SigningKey, bytes: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign(ES384, key.key, bytes as Bytes));
}

/** Whether `signature` is ES384 of `bytes` by `key`. */
export async function verify(key: PublicKey, signature: Uint8Array, bytes: Uint8Array): Promise<boolean> {
  const imported = await importRaw(uncompressed(key), ES384, 'verify');
  return crypto.subtle.verify(ES384, imported, signature as Bytes, bytes as Bytes);
}

/** A key of WebCrypto, for these uses only. */
export function importRaw(
  bytes: Bytes,
  algorithm: Parameters<SubtleCrypto['importKey']>[2],
  ...uses: KeyUsage[]
): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', bytes, algorithm, false, uses);
}

async function named(pair: CryptoKeyPair): Promise<BoxKey & SigningKey> {
  const point = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  const pub = compress(point);
  remember(pub, point);
  return { pub, key: pair.privateKey };
}

/**
 * The same point uncompressed: 97 bytes, the first 04; `undefined` for a text that is no key. By hand, since Safari imports no
 * compressed keys.
 */
export function uncompressed(key: PublicKey): Bytes;
export function uncompressed(text: string): Bytes | undefined;
export function uncompressed(text: string): Bytes | undefined {
  const found = known.get(text);
  if (found) {
    return found;
  }
  const bytes = decodeExactly(text, 49);
  // Some libraries also take tag 05 as another name of the same key.
  const tag = bytes?.[0] ?? 0;
  if (!bytes || (tag | 1) !== 3) {
    return undefined;
  }
  const x = integer(bytes.subarray(1));
  const y2 = square(x);
  // p is 3 modulo 4: if there is a root, it is this power.
  const root = power(y2, (P + 1n) / 4n);
  if (x >= P || (root * root) % P !== y2) {
    return undefined;
  }
  const y = Number(root & 1n) === (tag & 1) ? root : P - root;
  const point = concat(4, bytes.subarray(1), fromHex(y.toString(16).padStart(96, '0')));
  remember(text, point);
  return point;
}

function remember(text: string, point: Bytes): void {
  if (known.size >= MOST_KNOWN) {
    known.clear();
  }
  known.set(text, point);
}

/** x³ - 3x + b */
function square(x: bigint): bigint {
  return ((x * x - 3n) * x + B) % P;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % P;
    if (bit === '1') {
      result = (result * base) % P;
    }
  }
  return result;
}

function integer(bytes: Uint8Array): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
