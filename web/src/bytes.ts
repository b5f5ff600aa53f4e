// Bytes: text and back, and the protocol's way to join parts.

/** Bytes that WebCrypto takes: over a buffer of their own, not a shared one. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** A part of bytes that are joined: a string counts as its UTF-8 bytes, a number as one byte. */
export type Part = Uint8Array | string | number;

/** The UTF-8 bytes of a text. */
export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** The text behind UTF-8 bytes; `undefined` if they are none. */
export function text(bytes: Uint8Array): string | undefined {
  try {
    // Unless told so, a decoder swallows a byte order mark: two texts would have the same meaning.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** `‖` */
export function concat(...parts: Part[]): Bytes {
  const bytes = (part: Part) =>
    typeof part === 'number' ? part : [...(typeof part === 'string' ? utf8(part) : part)];
  return Uint8Array.from(parts.flatMap(bytes));
}

/** `lp16(x)`: the length as a big-endian integer of 2 bytes, then `x`. */
export function lp16(part: Part): Bytes {
  return lp32(part).subarray(2);
}

/** `lp32(x)`: the length as a big-endian integer of 4 bytes, then `x`. */
export function lp32(part: Part): Bytes {
  const { length } = concat(part);
  // Of a number that is larger than a byte, an array of bytes takes the lowest 8 bits.
  return concat(length >> 24, length >> 16, length >> 8, length, part);
}

/** The bytes behind pairs of hexadecimal digits. */
export function fromHex(digits: string): Bytes {
  return Uint8Array.from(digits.match(/../g) ?? [], pair => Number.parseInt(pair, 16));
}

/** Whether two are the same. How long it takes says nothing but their lengths. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.reduce((differences, byte, i) => differences | (byte ^ (b[i] ?? 0)), a.length ^ b.length) === 0;
}
