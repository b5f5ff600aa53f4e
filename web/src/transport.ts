// One request to a relay, one reply, under the client rules of the protocol (docs/protocol.md, 3.9).

import { text } from './bytes.js';
import type { RelayUrl } from './relay-url.js';
import type { Reply } from './sessions/output.js';

/** A reply is read no further. */
const REPLY_MAX = 1024 * 1024;

/**
 * Posts `body`. `patience`, in milliseconds, is for all of it, to the last byte of the reply. `stop` ends it at once; never
 * rejects.
 */
export async function post(
  relay: RelayUrl,
  body: string,
  patience: number,
  stop: AbortController,
): Promise<Reply> {
  const timer = setTimeout(() => stop.abort(), patience);
  try {
    const response = await fetch(relay, {
      method: 'POST',
      // A string goes as text/plain, for which browsers ask no relay's permission first.
      body,
      credentials: 'omit',
      redirect: 'manual',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
      signal: stop.signal,
    });
    const { status, type } = response;
    // Browsers do not say where it leads; Node does.
    if (type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      return 'redirect';
    }
    const bytes = await read(response);
    // What is not text is no reply of a relay, and is read as such.
    return bytes ? { status, body: text(bytes) ?? '' } : 'too-large';
  } catch {
    return 'unreachable';
  } finally {
    clearTimeout(timer);
    // What is still to come is not wanted.
    stop.abort();
  }
}

async function read({ body }: Response): Promise<Uint8Array | undefined> {
  const chunks = [];
  let length = 0;
  for (const reader = body?.getReader(); reader; ) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    length += value.length;
    if (length > REPLY_MAX) {
      return undefined;
    }
    chunks.push(value);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
