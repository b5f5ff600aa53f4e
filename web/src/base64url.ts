// RFC 4648 base64url without padding, in its only spelling: the one place where base64 is spoken.

import type { Bytes } from './bytes.js';

/** The base64url of `bytes`, without padding. */
export function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}

/** The bytes behind what may be text; `undefined` if it is not their one spelling. */
export function decode(text: unknown): Bytes | undefined {
  // `atob` forgives white space and padding, and says nothing of unused bits that are not zero.
  if (typeof text !== 'string' || !/^[\w-]*$/.test(text) || text.length % 4 === 1) {
    return undefined;
  }
  const binary = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
  const bytes = Uint8Array.from(binary, char => char.charCodeAt(0));
  return encode(bytes) === text ? bytes : undefined;
}

/** The same, if there are exactly `length` of them. */
export function decodeExactly(text: unknown, length: number): Bytes | undefined {
  const bytes = decode(text);
  return bytes?.length === length ? bytes : undefined;
}
