// Messages between peers: padded, signed inside, sealed to one box (docs/protocol.md, section 5).

import { decode, decodeExactly, encode } from '../base64url.js';
import { type Bytes, concat, lp32, text, utf8 } from '../bytes.js';
import { type Connectoid, stringify, withSecret } from '../connectoid.js';
import { integer, isObject, type JsonObject, parseObject, whole } from '../json.js';
import {
  type BoxKey,
  compressedBytes,
  type PublicKey,
  publicKey,
  type SigningKey,
  sign,
  verify,
} from '../keys.js';
import { fingerprintOf } from '../sdp.js';
import { hkdf, sha384 } from './hash.js';
import { OVERHEAD, open, PSK_ID, seal } from './hpke.js';

/** What a message says. */
export type Content =
  /** Somebody wants to connect. The connectoid is where the sender is written to, and has a secret; `sasCommit` is 48 bytes. */
  | { typ: 'offer'; connectoid: Connectoid; sasCommit: Bytes; sdp: string }
  /** The reply to an offer, whose hash is `re`; `sasNonce` is 32 bytes. */
  | { typ: 'answer'; re: string; sasNonce: Bytes; sdp: string }
  /** 1 to 32 ICE candidates found after an offer or answer was sent. */
  | { typ: 'candidate'; re: string; candidates: RTCIceCandidateInit[] }
  /** An offer is not answered. */
  | { typ: 'refuse'; re: string; reason: 'link-used' | 'declined' }
  /** The contact is ended. */
  | { typ: 'bye' }
  /** A one-way message for scripts and tools. */
  | { typ: 'note'; note: Bytes };

/** The candidates in one message. */
export const CANDIDATES_MAX = 32;

/** Why a message is not used. In the order of the checks. */
export type Junk =
  /** It cannot be opened with this box's key and secret. */
  | 'seal'
  /** It is not of one of the three sizes. */
  | 'size'
  /** It is padded with something else than zeros. */
  | 'padding'
  /** The envelope or the payload is not what it should be. */
  | 'envelope'
  /** It is not signed with ES384. */
  | 'alg'
  /** Of a type that carries no `ik`, from nobody known. */
  | 'signer'
  /** The signature does not hold. */
  | 'signature'
  /** It is of another version of the protocol. */
  | 'version'
  /** It is of a type that version 1 does not have. */
  | 'type'
  /** It is addressed to another box. */
  | 'address';

/** A message whose seal, padding, signature and address hold. */
export interface Opened {
  /** Who signed it: the `ik` it carries, or the known key. Carried by the message it proves no more than possession of the link. */
  ik: PublicKey;
  /** The signer's counter: a pair of `ik` and `n` counts once. */
  n: number;
  /** When it was sealed as the sender says, Unix time in milliseconds. */
  ts: number;
  /** The payload's bytes as they were signed: what `re` and the transcript hash. That of an offer holds a secret. */
  payload: Bytes;
  content: Content;
}

const INFO = 'connectoid/1 message';
const AAD = concat('connectoid/1\x01');
const ALG = 'ES384';

/** The three sizes sealed messages come in, so that a size tells nothing. */
const SIZES = [4096, 8192, 16384];

/**
 * Seals a message to a box. `secret` is that of the box, if it has one; `n` must be higher than in everything this signer signed
 * before, and stored before this call; `ts` is Unix time in milliseconds.
 *
 * `undefined` if it does not fit into 16,384 bytes, or if no receiver would take it.
 */
export async function sealMessage(
  to: PublicKey,
  secret: Bytes | undefined,
  signer: SigningKey,
  n: number,
  ts: number,
  content: Content,
): Promise<{ data: Bytes; payload: Bytes } | undefined> {
  const { typ, sdp, ...rest } = { sdp: undefined, ...content };
  const ik = carriesIk(typ) ? signer.pub : undefined;
  const described = sdp && { [sdpField(typ)]: { type: typ, sdp } };
  const payload = stringify({ v: 1, typ, n, ts, to, ik, ...rest, ...described });
  const fields = parseObject(payload);
  if (!fields || typeof readBody(fields) === 'string') {
    return undefined;
  }
  const bytes = utf8(payload);
  const field = encode(bytes);
  const sig = encode(await sign(signer, signedBytes(field)));
  const envelope = lp32(JSON.stringify({ alg: ALG, payload: field, sig }));
  const size = SIZES.find(size => OVERHEAD + envelope.length <= size);
  if (!size) {
    return undefined;
  }
  const plaintext = new Uint8Array(size - OVERHEAD);
  plaintext.set(envelope);
  return { data: await seal(to, INFO, AAD, plaintext, await pskOf(to, secret)), payload: bytes };
}

/**
 * Opens a message: the checks of docs/protocol.md 5.6, in its order. Whether `ik` may write here and `n` is new is for the caller,
 * who remembers.
 *
 * `known` gives the key of a message that carries no `ik`. It is asked with the `re` of a `candidate`, and with `undefined` for a
 * `bye`.
 */
export async function openMessage(
  key: BoxKey,
  secret: Bytes | undefined,
  known: (re: string | undefined) => PublicKey | undefined,
  data: Uint8Array,
): Promise<Opened | Junk> {
  const plaintext = await open(key, INFO, AAD, data, await pskOf(key.pub, secret));
  if (!plaintext) {
    return 'seal';
  }
  if (!SIZES.includes(data.length)) {
    return 'size';
  }
  const end = 4 + new DataView(plaintext.buffer).getUint32(0);
  if (end > plaintext.length) {
    return 'envelope';
  }
  if (plaintext.subarray(end).some(byte => byte)) {
    return 'padding';
  }
  const { alg, payload: field, sig } = parseObject(text(plaintext.subarray(4, end))) ?? {};
  if (typeof alg !== 'string' || typeof field !== 'string' || typeof sig !== 'string') {
    return 'envelope';
  }
  if (alg !== ALG) {
    return 'alg';
  }
  const payload = decode(field);
  const fields = payload && parseObject(text(payload));
  if (!fields) {
    return 'envelope';
  }
  const { v, typ, to } = fields;
  const re = typ === 'candidate' ? hash(fields.re) : undefined;
  if (typeof v !== 'number' || typeof typ !== 'string' || (typ === 'candidate' && !re)) {
    return 'envelope';
  }
  const ik = carriesIk(typ) ? publicKey(fields.ik) : known(re);
  if (!ik) {
    return carriesIk(typ) ? 'envelope' : 'signer';
  }
  const signature = decode(sig);
  if (!signature || !(await verify(ik, signature, signedBytes(field)))) {
    return 'signature';
  }
  if (v !== 1) {
    return 'version';
  }
  const body = readBody(fields);
  if (body !== 'type' && to !== key.pub) {
    return publicKey(to) ? 'address' : 'envelope';
  }
  return typeof body === 'string' ? body : { ik, payload, ...body };
}

/** What an offer says that was opened before: of its payload, as it was signed. */
export function readOffer(payload: Uint8Array): Extract<Content, { typ: 'offer' }> | undefined {
  const content = readContent(parseObject(text(payload)) ?? {});
  return typeof content === 'object' && content.typ === 'offer' ? content : undefined;
}

/** The name of an offer, `re`: SHA-384 of its payload's bytes as they were signed, in base64url. */
export async function hashOf(payload: Uint8Array): Promise<string> {
  return encode(await sha384(payload));
}

/** Where an SDP stands. */
function sdpField(typ: string): string {
  return typ === 'offer' ? 'sdpOffer' : 'sdpAnswer';
}

/** The others come from a contact whose key is known. */
function carriesIk(typ: string): boolean {
  return typ !== 'candidate' && typ !== 'bye';
}

/** `"connectoid/1 sig" ‖ 0x00 ‖ the payload field as ASCII` */
function signedBytes(field: string): Bytes {
  return concat('connectoid/1 sig\0', field);
}

/** PSK mode for a box with a secret, base mode for one without; never the other. */
async function pskOf(pub: PublicKey, secret: Bytes | undefined): Promise<Bytes | undefined> {
  return secret && hkdf(PSK_ID, secret, 48, compressedBytes(pub));
}

/** The counters, and what a message of its type has to carry. */
function readBody(fields: JsonObject): { n: number; ts: number; content: Content } | 'type' | 'envelope' {
  const content = readContent(fields);
  return content === 'type'
    ? content
    : (whole({ n: integer(fields.n), ts: integer(fields.ts), content }) ?? 'envelope');
}

function readContent(fields: JsonObject): Content | 'type' | undefined {
  const { typ, candidates, reason, sasCommit, sasNonce } = fields;
  const re = hash(fields.re);
  switch (typ) {
    case 'offer':
      return whole({
        typ,
        connectoid: withSecret(fields.connectoid),
        sasCommit: decodeExactly(sasCommit, 48),
        sdp: readSdp(typ, fields.sdpOffer),
      });
    case 'answer':
      return whole({
        typ,
        re,
        sasNonce: decodeExactly(sasNonce, 32),
        sdp: readSdp(typ, fields.sdpAnswer),
      });
    case 'candidate': {
      const fits = Array.isArray(candidates) && candidates.length >= 1 && candidates.length <= CANDIDATES_MAX;
      return whole({ typ, re, candidates: fits && candidates.every(isObject) ? candidates : undefined });
    }
    case 'refuse':
      return whole({ typ, re, reason: reason === 'link-used' || reason === 'declined' ? reason : undefined });
    case 'bye':
      return whole({ typ });
    case 'note':
      return whole({ typ, note: decode(fields.note) });
    default:
      return 'type';
  }
}

/** Proofs are about one certificate, so an SDP names exactly one. */
function readSdp(type: string, description: unknown): string | undefined {
  const { type: own, sdp } = isObject(description) ? description : {};
  return own === type && typeof sdp === 'string' && fingerprintOf(sdp) ? sdp : undefined;
}

/** `re`, if it is a hash. */
function hash(re: unknown): string | undefined {
  return decodeExactly(re, 48) && (re as string);
}
