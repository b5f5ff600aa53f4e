// What two sides prove to each other once they are connected, and what two people compare (docs/protocol.md, sections 6.4 and 7).

import { type Bytes, concat, lp32 } from '../bytes.js';
import { compressedBytes, type PublicKey } from '../keys.js';
import { hkdf, hmac, sha384 } from './hash.js';

/** The short authentication string: what two people compare, as numbers or as emoji. */
export interface Sas {
  /** 8 bytes: `connectoid/emoji` makes seven emoji of them. */
  bytes: Bytes;
  /** The string as three numbers of four digits. */
  numbers: [number, number, number];
}

/** An offer, its answer, and the secrets of the boxes they went to. */
export interface Transcript {
  /**
   * What the prover sends as `mac` in its `proof`. Own is the prover's, peer the other side's; `fp…` are the fingerprints of the
   * certificates of the connection itself.
   */
  proof(role: 'O' | 'A', noncePeer: Bytes, nonceOwn: Bytes, fpOwn: Bytes, fpPeer: Bytes): Promise<Bytes>;
  /** The bytes of the short authentication string. `rO` must have been checked against the offer's commitment. */
  sas(rO: Bytes, rA: Bytes): Promise<Bytes>;
}

/**
 * `offer` and `answer` are the decoded payload bytes as sent. `secretO` is that of the box the offer was sealed to, if it has one;
 * `secretA` that of the box the answer was sealed to.
 */
export async function transcript(
  offer: Uint8Array,
  answer: Uint8Array,
  secretO: Bytes | undefined,
  secretA: Bytes,
): Promise<Transcript> {
  const hash = await sha384('connectoid/1 transcript', lp32(offer), lp32(answer));
  const secrets = concat(secretO ?? new Uint8Array(32), secretA);
  return {
    async proof(role, ...bound) {
      const key = await hkdf(hash, secrets, 48, 'connectoid/1 dc');
      return hmac(key, 'connectoid/1 proof', role, ...bound);
    },
    sas: (rO, rA) => hkdf(hash, secrets, 8, 'connectoid/1 sas', rO, rA),
  };
}

/** The commitment to `rO`, which is fresh for every offer: 48 bytes. */
export function sasCommit(rO: Bytes, pub: PublicKey, ik: PublicKey): Promise<Bytes> {
  return sha384('connectoid/1 sas-commit', rO, compressedBytes(pub), compressedBytes(ik));
}

/** The string with these 8 bytes, to be shown. */
export function sasOf(bytes: Bytes): Sas {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  // The 13 bits from `at` on.
  const number = (at: number) => ((view.getUint32(at >> 3) >>> (19 - (at & 7))) & 8191) + 1000;
  return { bytes: copy, numbers: [number(0), number(13), number(26)] };
}
