// The page's own requests to relays, as they go by: what this page tells a relay, and what it is told.
//
// Nothing of a request is changed, and none waits for it: the library's `fetch` is on its way before anybody looks.

/** Something sealed, as far as it is remembered. */
export interface Sealed {
  /** Bytes. */
  readonly size: number;
  /** How it begins, as it goes over the wire: base64url. */
  readonly begins: string;
}

/** What is asked of a relay. The names are those of the protocol. */
export interface Asked {
  readonly action: 'send' | 'check' | 'receive' | 'delete';
  readonly boxes: readonly string[];
  /** How many seconds the relay may wait until something comes. */
  readonly wait: number;
  /** Whether it is asked for its question in any case. */
  readonly ask: boolean;
  /** What is put into a box. */
  readonly data?: Sealed | undefined;
  /** Up to where a box is emptied; without it, the whole box goes. */
  readonly upto?: number | undefined;
}

/** A message as a relay hands it out. */
export interface StoredMessage extends Sealed {
  /** When it was stored, by the relay's clock: Unix microseconds. */
  readonly at: number;
}

/** What a relay says. */
export interface Said {
  /** Its own words, if it refused. */
  readonly error?: string | undefined;
  /** Those of the boxes that hold something. */
  readonly found: readonly string[];
  readonly messages: readonly StoredMessage[];
}

/** A request, and what became of it. Times are Unix milliseconds, sizes are bytes of bodies. */
export interface Exchange {
  readonly id: number;
  readonly relay: string;
  readonly asked: Asked;
  readonly began: number;
  readonly up: number;
  readonly down: number;
  /** When the reply was there, or was not waited for any more. None while it goes on. */
  readonly ended?: number | undefined;
  /** The status of the reply; none if nobody replied, or this page did not wait for it (`stopped`). */
  readonly status?: number | undefined;
  readonly stopped?: boolean | undefined;
  readonly said?: Said | undefined;
}

/** No reply of a relay is longer, nor does one hold more messages. */
const REPLY_MAX = 1024 * 1024;
const MESSAGES_MAX = 64;

/** What is remembered of a reply, of which a relay may make what it likes. */
const WORDS_CHARS = 300;
const BEGINS_CHARS = 88;

let lastId = 0;

/** Looks at what `fetch` posts to relays from now on: `heard` is called at the start of each request, and at its end. */
export function tap(scope: { fetch: typeof fetch }, heard: (exchange: Exchange) => void): void {
  const real = scope.fetch;
  scope.fetch = (input, init) => {
    const going = real.call(globalThis, input, init);
    try {
      look(going, String(input), init, heard);
    } catch {
      // What is too odd to be looked at goes its way all the same.
    }
    return going;
  };
}

function look(
  going: Promise<Response>,
  url: string,
  init: RequestInit | undefined,
  heard: (exchange: Exchange) => void,
): void {
  const { method, body, signal } = init ?? {};
  const asked = method === 'POST' && typeof body === 'string' ? readAsked(body) : undefined;
  if (!asked) {
    return;
  }
  const up = new TextEncoder().encode(body as string).length;
  const begun: Exchange = { id: ++lastId, relay: url, asked, began: Date.now(), up, down: 0 };
  tell(heard, begun);
  // Before whoever asked: a body can be doubled as long as nobody reads it, and who asked may end the request once it failed.
  void going.then(
    async response => {
      const { status } = response;
      const { bytes, text } = await readBody(response.clone(), REPLY_MAX);
      tell(heard, { ...begun, down: bytes, ended: Date.now(), status, said: readSaid(asked, text) });
    },
    () => tell(heard, { ...begun, ended: Date.now(), stopped: signal?.aborted }),
  );
}

/** What looks on must not disturb. */
function tell(heard: (exchange: Exchange) => void, exchange: Exchange): void {
  try {
    heard(exchange);
  } catch (error) {
    console.error(error);
  }
}

/** All that comes, up to so many bytes. Whoever asked may end the request as soon as it has it all: what came until then counts. */
export async function readBody(response: Response, most: number): Promise<{ bytes: number; text: string }> {
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = '';
  try {
    for (const reader = response.body?.getReader(); reader; ) {
      const { done, value } = await reader.read();
      if (done) {
        break;
      }
      bytes += value.length;
      if (bytes > most) {
        void reader.cancel();
        break;
      }
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    // It was ended.
  }
  return { bytes, text };
}

/** What is asked, if it is a request of the protocol. */
function readAsked(body: string): Asked | undefined {
  const { action, pub, boxes, wait, ask, data, at } = objectIn(body);
  if (action !== 'send' && action !== 'check' && action !== 'receive' && action !== 'delete') {
    return undefined;
  }
  return {
    action,
    boxes: texts(Array.isArray(boxes) ? boxes.map(box => box?.pub) : [pub]),
    wait: typeof wait === 'number' ? wait : 0,
    ask: ask === true,
    data: typeof data === 'string' ? sealed(data) : undefined,
    upto: action === 'delete' && typeof at === 'number' ? at : undefined,
  };
}

function readSaid({ boxes: asked }: Asked, text: string): Said {
  const { ok, error, detail, found, boxes, messages } = objectIn(text);
  const words = typeof error === 'string' ? texts([error, detail]).join(': ') : 'no reply of a relay';
  const holding = Array.isArray(boxes) ? texts(boxes.map(box => box?.pub)) : found === true ? asked : [];
  return {
    error: ok === true ? undefined : words.slice(0, WORDS_CHARS),
    found: asked.filter(box => holding.includes(box)),
    messages: (Array.isArray(messages) ? messages : [])
      .filter(one => typeof one?.at === 'number' && typeof one.data === 'string')
      .slice(0, MESSAGES_MAX)
      .map(({ at, data }) => ({ at, ...sealed(data) })),
  };
}

function sealed(data: string): Sealed {
  // A copy: a part of a text keeps all of it in memory.
  const begins = [...data.slice(0, BEGINS_CHARS)].join('');
  return { size: Math.floor((data.length * 3) / 4), begins };
}

function objectIn(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function texts(values: unknown[]): string[] {
  return values.filter(value => typeof value === 'string');
}
