// The connectoid: the dotted value inside a link, all one needs to write to someone.

import { decode, encode } from './base64url.js';
import { type Bytes, concat, text, utf8 } from './bytes.js';
import { string, whole } from './json.js';
import { type PublicKey, publicKey } from './keys.js';
import { type RelayUrl, relayUrl } from './relay-url.js';

/** `b64(pub) "." b64(relay URLs) [ "." ext [ "." b64(0x01 ‖ secret) ] ]` */
export interface Connectoid {
  /** The box to write to. */
  key: PublicKey;
  /** The relays that hold the box, in order of preference: 1 to 4, each once. */
  relays: RelayUrl[];
  /** App data that the relays see, an API key for instance: base64url. */
  ext?: string | undefined;
  /** What only the people who have the link know: 32 bytes. */
  secret?: Bytes | undefined;
}

/** Why a text is not a link. */
export type BadLink =
  /** A connectoid has 2, 3 or 4 parts. */
  | 'parts'
  /** It ends with a dot: it was cut. */
  | 'cut'
  /** The first part is not a public key. */
  | 'key'
  /** The second part is not the base64url of text. */
  | 'relays'
  /** It names no relay, or more than 4. */
  | 'relay-count'
  /** A relay that is not https, or not a URL. */
  | 'relay'
  /** The third part is not base64url, or longer than 1024 characters. */
  | 'ext'
  /** The fourth part is not a secret of 32 bytes. */
  | 'secret'
  /** The secret is of a newer version. */
  | 'secret-version'
  /** A URL without a connectoid. */
  | 'no-connectoid';

/** The relays in it, and the characters of the third part. */
export const RELAYS_MAX = 4;
const EXT_MAX = 1024;

/** The version of the fourth part, its first byte. */
const SECRET_VERSION = 1;

/** Reads a connectoid; refuses it whole if any part cannot be read. */
export function parseConnectoid(connectoid: string): Connectoid | BadLink {
  const parts = connectoid.split('.');
  const [first = '', second, ext = '', fourth] = parts;
  if (second === undefined || parts.length > 4) {
    return 'parts';
  }
  if (parts.length === 3 && ext === '') {
    return 'cut';
  }
  const key = publicKey(first);
  if (!key) {
    return 'key';
  }
  const relays = parseRelays(second);
  if (typeof relays === 'string') {
    return relays;
  }
  if (!isExt(ext)) {
    return 'ext';
  }
  const parsed: Connectoid = { key, relays };
  if (ext) {
    parsed.ext = ext;
  }
  if (fourth !== undefined) {
    const bytes = decode(fourth);
    if (!bytes?.length) {
      return 'secret';
    }
    if (bytes[0] !== SECRET_VERSION) {
      return 'secret-version';
    }
    if (bytes.length !== 33) {
      return 'secret';
    }
    parsed.secret = bytes.slice(1);
  }
  return parsed;
}

/** A connectoid with a secret, as messages and frames carry them; `undefined` for anything else. */
export function withSecret(value: unknown): Connectoid | undefined {
  const connectoid = parseConnectoid(string(value) ?? '');
  return typeof connectoid === 'object' && connectoid.secret ? connectoid : undefined;
}

/** A connectoid as text. */
export function formatConnectoid({ key, relays, ext, secret }: Connectoid): string {
  const third = ext || secret ? `.${ext ?? ''}` : '';
  const fourth = secret ? `.${encode(concat(SECRET_VERSION, secret))}` : '';
  return `${key}.${encode(utf8(relays.join(' ')))}${third}${fourth}`;
}

/** A message or frame as JSON: bytes as base64url, a connectoid as its text. */
export function stringify(fields: object): string {
  return JSON.stringify(fields, (name, value) =>
    name === 'connectoid'
      ? formatConnectoid(value)
      : ArrayBuffer.isView(value)
        ? encode(value as Uint8Array)
        : value,
  );
}

/** Whether it can be the third part: base64url of at most 1024 characters, or empty. */
export function isExt(ext: string): boolean {
  return ext.length <= EXT_MAX && decode(ext) !== undefined;
}

function parseRelays(part: string): RelayUrl[] | BadLink {
  const bytes = decode(part);
  const list = bytes && text(bytes);
  if (list === undefined) {
    return 'relays';
  }
  const urls = list.split(' ').filter(url => url);
  if (urls.length < 1 || urls.length > RELAYS_MAX) {
    return 'relay-count';
  }
  const relays = urls.map(relayUrl);
  // Named twice is no second relay.
  const all = whole(relays);
  return all ? [...new Set(all)] : 'relay';
}
