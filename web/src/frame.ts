// What the two sides tell each other on the data channel before and beside the app's own data: one JSON object per text frame
// (docs/protocol.md, section 6.4).

import { decodeExactly } from './base64url.js';
import { type Bytes, utf8 } from './bytes.js';
import { type Connectoid, stringify, withSecret } from './connectoid.js';
import { type JsonObject, parseObject, whole } from './json.js';
import { type PublicKey, publicKey } from './keys.js';

/** A frame of the protocol's own. */
export type Frame =
  /** Each side's first frame: 32 random bytes; `r`, from the offerer only, is what its `sasCommit` was made of. */
  | { t: 'hello'; nonce: Bytes; r?: Bytes | undefined }
  /** Each side's second frame: 48 bytes. */
  | { t: 'proof'; mac: Bytes }
  /** From now on the sender is reached in another box, which has a secret. */
  | { t: 'rekey'; connectoid: Connectoid }
  /** The connectoid of a `rekey` is stored. */
  | { t: 'rekey-ok'; pub: PublicKey };

/** Why a text is not a frame. */
export type NotAFrame = 'malformed' | 'version' | 'type' | 'too-big';

/** The longest frame, in bytes. */
export const FRAME_MAX = 16_384;

/** Reads a text frame. Fields that the frame does not have are ignored; a name that stands twice is refused. */
export function parseFrame(text: string): Frame | NotAFrame {
  return utf8(text).length > FRAME_MAX ? 'too-big' : (read(parseObject(text) ?? {}) ?? 'malformed');
}

/** A frame as text, to send. */
export function formatFrame(frame: Frame): string {
  const { t, ...fields } = frame;
  return stringify({ t, v: t === 'hello' ? 1 : undefined, ...fields });
}

/** What a frame of its type has to carry. */
function read(frame: JsonObject): Frame | NotAFrame | undefined {
  const { t, v, r } = frame;
  switch (t) {
    case 'hello': {
      if (v !== 1) {
        return typeof v === 'number' ? 'version' : undefined;
      }
      const nonce = decodeExactly(frame.nonce, 32);
      return whole({ t, nonce, ...(r !== undefined && { r: decodeExactly(r, 32) }) });
    }
    case 'proof':
      return whole({ t, mac: decodeExactly(frame.mac, 48) });
    case 'rekey':
      return whole({ t, connectoid: withSecret(frame.connectoid) });
    case 'rekey-ok':
      return whole({ t, pub: publicKey(frame.pub) });
    default:
      return typeof t === 'string' ? 'type' : undefined;
  }
}
