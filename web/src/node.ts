/**
 * Contacts in a file, for programs on Node.js.
 *
 * @module connectoid/node
 */

import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { decode, encode } from './base64url.js';
import type { Contact, Goodbye } from './contact.js';
import { ConnectoidError } from './errors.js';
import type { Storage } from './storage.js';

/** What the file says it is. */
const FORMAT = 'connectoid contacts';
const VERSION = 1;

/** What makes opening a file lock it: `O_EXLOCK` and its like on Windows, which Node.js has no names for. Linux has none. */
const LOCKED: { [platform: string]: number } = {
  darwin: 0x20,
  freebsd: 0x20,
  openbsd: 0x20,
  win32: 0x10000000,
};

/**
 * Keeps contacts and keys in a file that only its owner can read. One client uses it at a time: `Client.open` rejects with
 * `inactive` if another one does, here or in another process of this machine. A file that cannot be read is left as it is.
 *
 * The lock is a file beside it, `PATH.lock`, which stays. On Linux it takes the program `flock`, of util-linux or BusyBox: `Client.open`
 * rejects with `unsupported` without it.
 */
export function fileStorage(path: string): Storage {
  const file = resolve(path);
  let contacts = new Map<string, unknown>();
  return {
    // They have to be written down.
    extractable: true,
    lock: {
      async request() {
        const locked = lock(file);
        return () => closeSync(locked);
      },
    },
    async load() {
      const stored = await read(file);
      contacts = new Map(stored?.contacts.map(contact => [(contact as Contact)?.name, contact]));
      try {
        return {
          contacts: (await Promise.all([...contacts.values()].map(thaw))) as Contact[],
          goodbyes: (await thaw(stored?.goodbyes ?? [])) as Goodbye[],
        };
      } catch (cause) {
        throw damaged(file, cause);
      }
    },
    async store(changed, goodbyes) {
      const next = new Map(contacts);
      for (const [name, contact] of changed) {
        if (contact) {
          next.set(name, await freeze(contact));
        } else {
          next.delete(name);
        }
      }
      const all = { contacts: [...next.values()], goodbyes: await freeze(goodbyes) };
      await replace(file, `${JSON.stringify({ format: FORMAT, version: VERSION, ...all }, undefined, 1)}\n`);
      contacts = next;
    },
  };
}

/** Whole or not at all, also if the machine stops meanwhile. */
async function replace(file: string, text: string): Promise<void> {
  const fresh = `${file}.${randomUUID()}.new`;
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  // Windows syncs no folders.
  if (process.platform !== 'win32') {
    const folder = await open(dirname(file));
    await folder.sync().finally(() => folder.close());
  }
}

async function read(file: string): Promise<{ contacts: unknown[]; goodbyes: unknown[] } | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
  try {
    const { format, version, contacts, goodbyes } = JSON.parse(text);
    if (format === FORMAT && version === VERSION && Array.isArray(contacts) && Array.isArray(goodbyes)) {
      return { contacts, goodbyes };
    }
  } catch (cause) {
    throw damaged(file, cause);
  }
  throw damaged(file);
}

function damaged(file: string, cause?: unknown): ConnectoidError {
  const message = `${file} cannot be read: it is damaged, or of a newer version. Move it away, or bring back a copy`;
  return new ConnectoidError('storage', message, { cause });
}

/**
 * Makes this client the one that uses the file, until what it gives is closed.
 *
 * The kernel keeps the lock (flock; on Windows nobody else can open the file). It gives it to one of many in one step, also in one
 * process and across containers, and frees it with the process, however that ends: no lock is stale, so none is ever taken away. Its
 * file is never removed: one could lock the old file then, and another a new one.
 */
function lock(file: string): number {
  const inUse = () => new ConnectoidError('inactive', `another client uses ${file}: close that first`);
  const locking = LOCKED[process.platform];
  const flags = constants.O_RDWR | constants.O_CREAT;
  if (locking) {
    try {
      return openSync(`${file}.lock`, flags | locking | (constants.O_NONBLOCK ?? 0), 0o600);
    } catch (error) {
      throw ['EAGAIN', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '') ? inUse() : error;
    }
  }
  const opened = openSync(`${file}.lock`, flags, 0o600);
  try {
    // It locks what was opened here, not something of its own: the lock outlives the program.
    const { status, error } = spawnSync('flock', ['-n', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', opened],
    });
    if (status === 1) {
      throw inUse();
    }
    if (status !== 0) {
      const message = `the program flock, which locks ${file}, is missing or failed: install util-linux`;
      throw new ConnectoidError('unsupported', message, { cause: error });
    }
    return opened;
  } catch (error) {
    closeSync(opened);
    throw error;
  }
}

// --- Keys and bytes as JSON ---

/** The same with bytes as `{ bytes }` and keys as `{ jwk }`. */
async function freeze(value: unknown): Promise<unknown> {
  if (value instanceof Uint8Array) {
    return { bytes: encode(value) };
  }
  if (value instanceof CryptoKey) {
    return { jwk: await crypto.subtle.exportKey('jwk', value) };
  }
  return map(value, freeze);
}

async function thaw(value: unknown): Promise<unknown> {
  const { bytes, jwk } = (value ?? {}) as { bytes?: string; jwk?: JsonWebKey };
  if (typeof bytes === 'string') {
    const decoded = decode(bytes);
    if (!decoded) {
      throw Error('bytes that are none');
    }
    return decoded;
  }
  if (typeof jwk === 'object') {
    const usages = (jwk.key_ops ?? []) as KeyUsage[];
    const name = usages.includes('sign') ? 'ECDSA' : 'ECDH';
    return crypto.subtle.importKey('jwk', jwk, { name, namedCurve: 'P-384' }, true, usages);
  }
  return map(value, thaw);
}

/** Each part of an array or object. */
async function map(value: unknown, each: (part: unknown) => Promise<unknown>): Promise<unknown> {
  if (Array.isArray(value)) {
    return Promise.all(value.map(each));
  }
  if (value === null || typeof value !== 'object') {
    return value;
  }
  const entries = Object.entries(value).map(async ([name, part]) => [name, await each(part)]);
  return Object.fromEntries(await Promise.all(entries));
}
