// The question of a relay: the owner of a box proves to be it by opening it (docs/protocol.md, section 4).

import { decode, encode } from '../base64url.js';
import { concat, lp16 } from '../bytes.js';
import { type BoxKey, compressedBytes } from '../keys.js';
import type { RelayUrl } from '../relay-url.js';
import { open } from './hpke.js';

const INFO = 'connectoid/1 question';

/**
 * The answer to a question that the relay at this URL sent about this box. `undefined` if it is anything else: another relay's
 * question, a message, another length. Then nothing must be sent back.
 */
export async function openQuestion(
  key: BoxKey,
  relay: RelayUrl,
  question: string,
): Promise<string | undefined> {
  const sealed = decode(question);
  const aad = concat(lp16(relay), compressedBytes(key.pub));
  const answer = sealed && (await open(key, INFO, aad, sealed));
  return answer?.length === 56 ? encode(answer) : undefined;
}
