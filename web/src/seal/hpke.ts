// HPKE (RFC 9180) in the protocol's one suite: DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM; base and PSK mode.
//
// A sealed thing is `01 ‖ enc(97) ‖ ct`; one context seals one message.

import { type Bytes, concat, type Part } from '../bytes.js';
import {
  type BoxKey,
  ECDH,
  generateBoxKey,
  importRaw,
  isPoint,
  type PublicKey,
  uncompressed,
} from '../keys.js';
import { expand, hmac } from './hash.js';

/** The name of every pre-shared key, and the salt it is derived with. */
export const PSK_ID = 'connectoid/1 psk';

/** What sealing adds to a plaintext: the version, the encapsulated key and the tag of AES-GCM. */
export const OVERHEAD = 1 + 97 + 16;

/** The first byte of everything sealed: this suite, base or PSK mode. */
const VERSION = 1;

// RFC 9180, sections 4.1 and 5.1: "KEM" and the KEM's number; "HPKE" and those of KEM, KDF and AEAD.
const KEM = 'KEM\x00\x11';
const SUITE = 'HPKE\x00\x11\x00\x02\x00\x02';

/** Seals `plaintext` to a public key: `01 ‖ enc ‖ ct`. In PSK mode if there is a `psk`, else in base mode. */
export async function seal(
  to: PublicKey,
  info: Part,
  aad: Uint8Array,
  plaintext: Uint8Array,
  psk?: Bytes,
): Promise<Bytes> {
  const ephemeral = await generateBoxKey(false);
  const [enc, other] = [uncompressed(ephemeral.pub), uncompressed(to)];
  const [aes, gcm] = await context(ephemeral.key, other, concat(enc, other), info, aad, psk);
  const ct = await crypto.subtle.encrypt(gcm, aes, plaintext as Bytes);
  return concat(VERSION, enc, new Uint8Array(ct));
}

/** Opens what `seal` made; `undefined` if it was not sealed to this key, in this mode, for this purpose, or was changed. Rejects if WebCrypto fails. */
export async function open(
  key: BoxKey,
  info: Part,
  aad: Uint8Array,
  sealed: Uint8Array,
  psk?: Bytes,
): Promise<Bytes | undefined> {
  const enc = concat(sealed.subarray(1, 98));
  // WebCrypto would also take other spellings of a point, and not every one looks whether it is on the curve.
  if (sealed[0] !== VERSION || !isPoint(enc)) {
    return undefined;
  }
  // What fails here says nothing of what was sealed.
  const [aes, gcm] = await context(key.key, enc, concat(enc, uncompressed(key.pub)), info, aad, psk);
  try {
    return new Uint8Array(await crypto.subtle.decrypt(gcm, aes, concat(sealed.subarray(98))));
  } catch {
    return undefined;
  }
}

/** The key of the AEAD and how to use it. `own` and `other` agree on the secret; `ends`, `enc ‖ to`, is what it is bound to. */
async function context(
  own: CryptoKey,
  other: Bytes,
  ends: Bytes,
  info: Part,
  aad: Uint8Array,
  psk?: Bytes,
): Promise<[CryptoKey, AesGcmParams]> {
  // Section 4.1: Encap, Decap, ExtractAndExpand.
  const imported = await importRaw(other, ECDH);
  const dh = await crypto.subtle.deriveBits({ name: 'ECDH', public: imported }, own, 384);
  const prk = await extract(KEM, '', 'eae_prk', new Uint8Array(dh));
  const shared = await expandLabeled(KEM, prk, 'shared_secret', ends, 48);
  // Section 5.1: KeySchedule.
  const scheduled = concat(
    psk ? 1 : 0,
    await extract(SUITE, '', 'psk_id_hash', psk ? PSK_ID : ''),
    await extract(SUITE, '', 'info_hash', info),
  );
  const secret = await extract(SUITE, shared, 'secret', psk ?? '');
  const key = await expandLabeled(SUITE, secret, 'key', scheduled, 32);
  const iv = await expandLabeled(SUITE, secret, 'base_nonce', scheduled, 12);
  const aes = await importRaw(key, 'AES-GCM', 'encrypt', 'decrypt');
  return [aes, { name: 'AES-GCM', iv, additionalData: aad as Bytes }];
}

/** Section 4: LabeledExtract. */
function extract(suite: string, salt: Bytes | '', label: string, ikm: Part): Promise<Bytes> {
  return hmac(salt, 'HPKE-v1', suite, label, ikm);
}

/** Section 4: LabeledExpand. */
function expandLabeled(
  suite: string,
  prk: Bytes,
  label: string,
  info: Bytes,
  length: number,
): Promise<Bytes> {
  return expand(prk, length, 0, length, 'HPKE-v1', suite, label, info);
}
