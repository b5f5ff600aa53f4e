// The fingerprint of a DTLS certificate, as SDP carries it (RFC 8122, section 5).

import { type Bytes, fromHex } from './bytes.js';

/**
 * The fingerprint in an SDP, 32 bytes: the value that every line `a=fingerprint:sha-256 …` gives, in the session and in each of
 * its media.
 *
 * `undefined` if there is no such line, if one cannot be read, or if two differ: then it would depend on the WebRTC stack whose
 * certificate it takes. Lines with other hashes say nothing here.
 */
export function fingerprintOf(sdp: string): Bytes | undefined {
  // Names of hashes are the same in capitals; a stack may well take them.
  const lines = sdp.split(/\r?\n|\r$/).filter(line => /^a=fingerprint:[sS][hH][aA]-256( |$)/.test(line));
  const [value = '', other] = new Set(
    lines.map(line => line.slice('a=fingerprint:sha-256 '.length).toLowerCase()),
  );
  return other === undefined && /^[\da-f]{2}(:[\da-f]{2}){31}$/.test(value)
    ? fromHex(value.replace(/:/g, ''))
    : undefined;
}
