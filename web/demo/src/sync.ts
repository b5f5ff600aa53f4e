// Two documents made one over a data channel.
//
// Each side first says who it is: a text, `{"v":1,"list":…,"name":…}`; whoever opened the channel begins. All that follows is bytes:
// what the own document has (a state vector), then what the other one lacks (an update), then each change as it comes. A message goes
// in pieces of a byte, 1 with the last piece and 0 before, and up to 16 KiB of the message, whose first byte says what it is.
//
// Whatever else comes ends the channel, and changes nothing.

import * as Y from 'yjs';
import { isAllowed, isList } from './allowed.js';
import { NAME_MAX } from './invitation.js';
import { DOCUMENT_MAX, tidy } from './list.js';
import type { Trouble } from './view.js';

/** The label of the channel. */
export const LABEL = 'list';

const VERSION = 1;
const VECTOR = 0;
const UPDATE = 1;

const PIECE = 16 * 1024;
/** That with a whole document in it. */
const MESSAGE_MAX = DOCUMENT_MAX + 1;
const HELLO_MAX = 1024;

/** From so many bytes on that the other side did not take yet, changes wait; they go on as one from so many on. */
const SLOW = 1024 * 1024;
const LOW = 256 * 1024;

/** What comes over a channel before anybody listens, so that nothing is missed. */
export function hold(channel: RTCDataChannel): MessageEvent[] {
  channel.binaryType = 'arraybuffer';
  const held: MessageEvent[] = [];
  channel.onmessage = message => {
    held.push(message);
  };
  return held;
}

/** What a conversation is about, and who is told of it. */
export interface About {
  readonly doc: Y.Doc;
  readonly list: string;
  readonly me: string;
  /** Whether this side opened the channel. */
  readonly opened: boolean;
  /** Whose changes these are: they are not sent back to the same. */
  readonly who: unknown;
  /** The other side said who it is. Not proven. */
  greeted(name: string): void;
  /** What they had came: from now on both have the same. */
  flows(): void;
  /** It came to an end: why this side ended it; nothing if the channel was closed. */
  ended(trouble?: Trouble): void;
}

/** Keeps two documents the same as long as the channel is open. Gives what ends it. */
export function converse(channel: RTCDataChannel, held: MessageEvent[], about: About): () => void {
  const { doc, list, me, opened, who, greeted, flows, ended } = about;
  let isGreeted = false;
  let isOver = false;
  let pieces: Uint8Array[] = [];
  let length = 0;
  /** What the other side was sent, or sent itself; nothing before it said what it has. */
  let told: Uint8Array | undefined;
  /** Whether changes wait until the other side took what was sent. */
  let isBehind = false;
  /** The same document again, on which is tried what comes: Yjs may stop amid an update that makes no sense. None before something came. */
  let trial: Y.Doc | undefined;
  let isTaking = false;
  let isFlowing = false;
  /** The bytes of it, or more. */
  let size = 0;

  function end(trouble?: Trouble): void {
    if (isOver) {
      return;
    }
    isOver = true;
    pieces = [];
    doc.off('update', changed);
    doc.off('destroy', over);
    trial?.destroy();
    channel.onmessage = channel.onclose = channel.onbufferedamountlow = null;
    channel.close();
    ended(trouble);
  }
  const over = () => end();

  function sayHello(): void {
    channel.send(JSON.stringify({ v: VERSION, list, name: me }));
  }

  function send(kind: number, content: Uint8Array): void {
    const message = new Uint8Array(content.length + 1);
    message[0] = kind;
    message.set(content, 1);
    for (let start = 0; start < message.length; start += PIECE) {
      const part = message.subarray(start, start + PIECE);
      const piece = new Uint8Array(part.length + 1);
      piece[0] = start + PIECE >= message.length ? 1 : 0;
      piece.set(part, 1);
      channel.send(piece);
    }
  }

  /** Sends all that the other side lacks, once it took what was sent before. */
  function catchUp(): void {
    attempt(() => {
      if (isBehind && channel.bufferedAmount <= SLOW) {
        send(UPDATE, Y.encodeStateAsUpdate(doc, told));
        told = Y.encodeStateVector(doc);
        isBehind = false;
      }
    });
  }

  function changed(update: Uint8Array, origin: unknown): void {
    if (trial && !isTaking) {
      tryOut(trial, update);
    }
    if (!told) {
      return;
    }
    attempt(() => {
      if (origin === who) {
        // What was not sent yet stays so.
        told = isBehind ? told : Y.encodeStateVector(doc);
      } else if (isBehind || channel.bufferedAmount > SLOW) {
        isBehind = true;
      } else {
        send(UPDATE, update);
        told = Y.encodeStateVector(doc);
      }
    });
  }

  function tryOut(trial: Y.Doc, update: Uint8Array): void {
    Y.applyUpdate(trial, update);
    size += update.length;
  }

  function copied(): Y.Doc {
    const copy = new Y.Doc();
    tryOut(copy, Y.encodeStateAsUpdate(doc));
    return copy;
  }

  /** Sending throws when the channel has just closed. */
  function attempt(work: () => void): void {
    try {
      if (channel.readyState !== 'open') {
        end();
      } else {
        work();
      }
    } catch {
      end();
    }
  }

  function hear({ data }: MessageEvent): void {
    if (isOver) {
      return;
    }
    if (!isGreeted) {
      const hello = readHello(data);
      if (hello?.list !== list) {
        end(hello ? 'wrong-list' : 'no-list');
        return;
      }
      isGreeted = true;
      attempt(() => {
        if (!opened) {
          sayHello();
        }
        send(VECTOR, Y.encodeStateVector(doc));
      });
      greeted(hello.name);
      return;
    }
    const message = putTogether(data);
    const trouble = message === 'bad' ? 'no-list' : message && take(message);
    if (trouble) {
      end(trouble);
    }
  }

  /** A message, once its last piece came. */
  function putTogether(data: unknown): Uint8Array | 'bad' | undefined {
    if (!(data instanceof ArrayBuffer) || data.byteLength < 2 || data.byteLength > PIECE + 1) {
      return 'bad';
    }
    const piece = new Uint8Array(data);
    length += piece.length - 1;
    // All but the last are full: a message in crumbs would take a hundred times its size.
    if (piece[0]! > 1 || length > MESSAGE_MAX || (!piece[0] && piece.length <= PIECE)) {
      return 'bad';
    }
    pieces.push(piece.subarray(1));
    if (!piece[0]) {
      return undefined;
    }
    const message = new Uint8Array(length);
    let start = 0;
    for (const piece of pieces) {
      message.set(piece, start);
      start += piece.length;
    }
    pieces = [];
    length = 0;
    return message;
  }

  /** What is wrong with a message, if it is not taken. */
  function take(message: Uint8Array): Trouble | undefined {
    const content = message.subarray(1);
    try {
      if (message[0] === VECTOR && !told) {
        Y.decodeStateVector(content);
        told = content;
        isBehind = true;
        catchUp();
        return undefined;
      }
      if (message[0] === UPDATE) {
        // Read whole before anything of it is taken.
        const { structs } = Y.decodeUpdate(content);
        if (isAllowed(structs)) {
          trial ??= copied();
          tryOut(trial, content);
          if (isWhole(trial) && isList(trial, structs)) {
            if (size > DOCUMENT_MAX) {
              size = Y.encodeStateAsUpdate(trial).length;
              if (size > DOCUMENT_MAX) {
                return 'too-large';
              }
            }
            isTaking = true;
            Y.applyUpdate(doc, content, who);
            if (!isFlowing) {
              isFlowing = true;
              flows();
            }
            return undefined;
          }
        }
      }
    } catch {
      // What is no update.
    } finally {
      isTaking = false;
    }
    return 'no-list';
  }

  doc.on('update', changed);
  doc.on('destroy', over);
  channel.bufferedAmountLowThreshold = LOW;
  channel.onbufferedamountlow = catchUp;
  channel.onclose = over;
  channel.onmessage = hear;
  if (opened) {
    attempt(sayHello);
  }
  held.splice(0).forEach(hear);
  if (channel.readyState !== 'open') {
    end();
  }
  return over;
}

/**
 * Whether nothing is missing in a document. Something is when an update stands on others that never came, which nobody sends who keeps
 * to the above; it is not waited for: it would be stored, and passed on.
 */
function isWhole({ store }: Y.Doc): boolean {
  return !store.pendingStructs && !store.pendingDs;
}

/** What the other side says of itself. */
function readHello(data: unknown): { list: string; name: string } | undefined {
  try {
    if (typeof data !== 'string' || data.length > HELLO_MAX) {
      return undefined;
    }
    const { v, list, name } = JSON.parse(data);
    return v === VERSION && typeof list === 'string' && typeof name === 'string'
      ? { list, name: tidy(name, NAME_MAX) }
      : undefined;
  } catch {
    return undefined;
  }
}
