// Runs the state machine (`sessions/`) for a client: one step at a time, and after each what the machine wants done, in its order;
// while this client is the one that uses the storage.

import type { Presence } from './browser/presence.js';
import { type Connections, connections } from './browser/webrtc.js';
import { type Contact, mayExchange } from './contact.js';
import { ConnectoidError, fail } from './errors.js';
import type { ClientEvent } from './events.js';
import { pollUrgent, replied, start, step, wakeAt, wokeUp } from './sessions/index.js';
import type { Output } from './sessions/output.js';
import { newState, type State } from './sessions/state.js';
import type { Storage, Stored } from './storage.js';
import { post } from './transport.js';
import { within } from './within.js';

/** How long `open` waits for another tab to stop, in milliseconds as all times here; and for the lock, if it asks for nothing. */
const HAND_OVER = 5000;
const GLANCE = 500;

/** How long the tab that asked has to stand in the line for the lock before the one that gave way does. */
const GIVE_WAY = 250;

/** The pause after something could not be stored, doubled each time up to the longest. */
const RETRY_FIRST = 2000;
const RETRY_MAX = 60_000;

/** A timer this late means that the device slept. Hidden pages have theirs once a minute. */
const SLEPT = 90_000;
const LONGEST_TIMER = 2 ** 31 - 1;

/** Something that is done with the state machine. */
export type Take<T = unknown> = (s: State) => T | Promise<T>;

/** What runs the state machine. */
export interface Driver {
  readonly connections: Connections;
  /** Whether this client is the one that runs the contacts. */
  isActive(): boolean;
  /** The contacts as they are, or as they were when it last was the one. */
  state(): State;
  /** Whether a contact, or a note of its inbox, was stored once: nobody sees it before. */
  isStored(it: object): boolean;
  /** A step that the app asked for: what could not be stored is tried again with it. */
  call<T>(take: Take<T>): Promise<T>;
  /** A step of the library's own, whose failure changes nothing: what should not happen is reported as uncaught. */
  react(take: Take): Promise<void>;
  /** Waits until `look` gives something; rejects if it throws, or when this client is not the one any more. */
  until<T>(look: (s: State) => T | undefined): Promise<T>;
  /** Begins, or shows what is stored until another tab is closed. */
  open(takeOver: boolean): Promise<void>;
  takeOver(): Promise<void>;
  close(): Promise<void>;
}

/** What runs each client: for the parts of the library that are imports of their own, as `connectoid/notes`. */
export const drivers = new WeakMap<object, Driver>();

/**
 * `make` makes a peer connection, where there is WebRTC. `look` is called when contacts may have changed. `keeps`: whether sessions that
 * broke are made again.
 */
export function driver(
  storage: Storage,
  make: (() => RTCPeerConnection) | undefined,
  presence: () => Presence,
  tell: (event: ClientEvent) => void,
  look: () => void,
  keeps: boolean,
): Driver {
  let s = newState([], [], false);
  let isActive = false;
  let saidInactive = false;
  let isClosed = false;
  const stored = new WeakSet<object>();
  /** The steps, one after the other. */
  let steps: Promise<unknown> = Promise.resolve();
  const requests = new Map<number, AbortController>();
  /** How often in a row something could not be stored, why, and when that is tried again. */
  let failures = 0;
  let unstored: unknown;
  let retryAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Fulfilled when something may have changed that calls wait for: each looks whether it came. */
  let changed: Promise<void>;
  let wake = () => {};
  /** Ends the use of the storage, or the waiting for it. */
  let release: (() => void) | undefined;
  let asking: AbortController | undefined;
  /** To take over twice is to take over once. */
  let taking: Promise<void> | undefined;
  /** Why there is nothing to go on with. */
  let lost: ConnectoidError | undefined;
  const links = connections(make, react, tell, name => {
    const live = s.contacts.get(name);
    return !!live && mayExchange(live.contact);
  });

  // --- Whether this client is the one ---

  async function open(takeOver: boolean): Promise<void> {
    if (!storage.lock) {
      return next(begin);
    }
    const acquiring = acquire(takeOver);
    await within(takeOver ? HAND_OVER : GLANCE, acquiring);
    if (!isActive) {
      later(acquiring);
      const { contacts } = await load();
      if (!isActive) {
        s = newState(contacts, [], false);
        void next(async () => {
          await pause();
          sayInactive();
        });
      }
    }
  }

  async function acquire(take: boolean): Promise<void> {
    asking?.abort(gone());
    asking = new AbortController();
    const { signal } = asking;
    release = await usable(() => storage.lock?.request(take, () => void next(giveUp), signal));
    await next(begin);
  }

  /** Takes up what is stored. */
  async function begin(): Promise<void> {
    try {
      if (isClosed) {
        throw gone();
      }
      const { contacts, goodbyes } = await load();
      const { lastId } = s;
      s = newState(contacts, goodbyes, storage.extractable, keeps);
      // What is left of the sessions before must not be taken for these.
      s.lastId = lastId;
    } catch (error) {
      stop();
      throw error;
    }
    isActive = true;
    lost = undefined;
    void next(() => pause());
    void react(s => {
      if (saidInactive) {
        saidInactive = false;
        tell({ type: 'active' });
      }
      return start(s);
    });
  }

  /** Another tab asks for the contacts. */
  async function giveUp(): Promise<void> {
    if (isActive && !isClosed) {
      await lastTry();
      stop();
      sayInactive();
      const before = asking;
      later(pause(GIVE_WAY).then(() => (asking === before && !isClosed ? acquire(false) : undefined)));
    }
  }

  /** What was decided and is not stored would be lost. Gives what failed, which is told, too. */
  async function lastTry(): Promise<unknown> {
    failures = retryAt = 0;
    return isActive ? carryOut() : undefined;
  }

  function sayInactive(): void {
    if (!isActive && !isClosed) {
      saidInactive = true;
      tell({ type: 'inactive' });
    }
  }

  /** What nobody waits for. */
  function later(done: Promise<void>): void {
    done.catch(error => {
      if (!isClosed && error.code !== 'inactive') {
        tell({ type: 'error', error });
      }
    });
  }

  async function load(): Promise<Stored> {
    const all = await usable(() => storage.load());
    all.contacts.forEach(isStoredNow);
    return all;
  }

  function stop(): void {
    isActive = false;
    links.close();
    failures = 0;
    for (const request of requests.values()) {
      request.abort();
    }
    requests.clear();
    settle();
    look();
    clearTimeout(timer);
    release?.();
    release = undefined;
  }

  async function close(): Promise<void> {
    isClosed = true;
    asking?.abort(gone());
    await links.drain();
    await next(async () => {
      const failed = await lastTry();
      stop();
      if (failed) {
        throw failed;
      }
    });
  }

  function gone(): ConnectoidError {
    return isClosed
      ? new ConnectoidError('closed', 'closed')
      : (lost ?? new ConnectoidError('inactive', 'another tab is active'));
  }

  // --- Steps ---

  /** Does something when all before it is done. */
  function next<T>(work: () => Promise<T>): Promise<T> {
    const done = steps.then(work);
    steps = done.catch(() => {});
    return done;
  }

  function run<T>(take: Take<T>): Promise<T> {
    return next(async () => {
      if (!isActive) {
        throw gone();
      }
      const turn = {
        now: Date.now(),
        elapsed: performance.now(),
        random: (length: number) => crypto.getRandomValues(new Uint8Array(length)),
        ...presence(),
      };
      let failed: unknown;
      const result = await step(s, turn, take).finally(async () => {
        failed = await carryOut();
      });
      if (failed) {
        throw failed;
      }
      return result;
    });
  }

  async function react(take: Take): Promise<void> {
    try {
      await run(take);
    } catch (error) {
      if (!(error instanceof ConnectoidError)) {
        report(error);
      }
    }
  }

  /** Does what the machine wants done, in its order: what could not be stored holds up all that follows. Gives what failed. */
  async function carryOut(): Promise<unknown> {
    try {
      for (let output = s.outputs[0]; output; output = s.outputs[0]) {
        if (output.do === 'store') {
          await store(output.contacts);
        }
        s.outputs.shift();
        attempt(output);
      }
      return undefined;
    } catch (error) {
      pollUrgent(s).forEach(attempt);
      return error;
    } finally {
      plan();
      settle();
      look();
    }
  }

  async function store(names: string[]): Promise<void> {
    if (performance.now() < retryAt) {
      throw unstored;
    }
    const contacts = new Map(names.map(name => [name, s.contacts.get(name)?.contact]));
    try {
      await storage.store(contacts, s.goodbyes);
      contacts.forEach(isStoredNow);
      failures = 0;
    } catch (cause) {
      if (cause instanceof ConnectoidError && cause.code === 'deleted') {
        lost = cause;
        stop();
        tell({ type: 'error', error: cause });
        sayInactive();
        throw cause;
      }
      const error = new ConnectoidError('storage', 'not stored yet', { cause });
      unstored = error;
      retryAt = performance.now() + Math.min(RETRY_FIRST * 2 ** failures, RETRY_MAX);
      if (++failures === 1) {
        tell({ type: 'error', error });
      }
      throw error;
    }
  }

  function isStoredNow(contact: Contact | undefined): void {
    for (const it of contact ? [contact, ...contact.inbox] : []) {
      stored.add(it);
    }
  }

  /** What fails leaves the others undisturbed. */
  function attempt(output: Output): void {
    try {
      perform(output);
    } catch (error) {
      report(error);
    }
  }

  function perform(output: Output): void {
    switch (output.do) {
      case 'store':
        break;
      case 'request': {
        const { id, relay, body, patience } = output;
        const request = new AbortController();
        requests.set(id, request);
        void post(relay, body, patience, request).then(reply => {
          if (requests.get(id) === request) {
            requests.delete(id);
            void react(s => replied(s, id, reply));
          }
        });
        break;
      }
      case 'cancel':
        requests.get(output.id)?.abort();
        requests.delete(output.id);
        break;
      case 'event':
        links.hear(output.event);
        break;
      default:
        links.carryOut(output);
    }
  }

  /** Sets the timer to what is due next. */
  function plan(): void {
    clearTimeout(timer);
    const due = failures ? retryAt : wakeAt(s);
    if (due < Infinity) {
      const delay = Math.min(Math.max(due - performance.now(), 0), LONGEST_TIMER);
      const until = Date.now() + delay;
      timer = setTimeout(() => react(s => Date.now() - until > SLEPT && wokeUp(s)), delay);
    }
  }

  async function until<T>(look: (s: State) => T | undefined): Promise<T> {
    for (;;) {
      if (!isActive) {
        throw gone();
      }
      const found = look(s);
      if (found !== undefined) {
        return found;
      }
      await changed;
    }
  }

  function settle(): void {
    wake();
    changed = new Promise(resolve => {
      wake = resolve;
    });
  }

  settle();
  return {
    connections: links,
    isActive: () => isActive,
    state: () => s,
    isStored: it => stored.has(it),
    call: take =>
      run(s => {
        retryAt = 0;
        return take(s);
      }),
    react,
    until,
    open,
    async takeOver() {
      if (isClosed) {
        throw gone();
      }
      if (!isActive) {
        taking ??= acquire(true).finally(() => {
          taking = undefined;
        });
        await taking;
      }
    },
    close,
  };
}

/** Lets whoever waits at this moment go first: an app that opens a client adds its listeners. */
function pause(time = 0): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, time);
  });
}

/** What a storage does, with why it cannot be used: a page in a sandbox, for instance, may keep nothing. */
async function usable<T>(work: () => T): Promise<Awaited<T>> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof ConnectoidError) {
      throw cause;
    }
    fail((cause as Error).name === 'SecurityError' ? 'unsupported' : 'storage', `${cause}`, cause);
  }
}

/** What an app's listener threw is the app's: told as uncaught, as with `EventTarget`. */
export function report(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
