// What a step takes from outside: time, randomness and who is there are arguments, so that tests can give their own.

import type { Bytes } from './bytes.js';

/** What a step takes from outside: the time, randomness, and whether somebody is there. */
export interface Turn {
  /** Unix time in milliseconds. May jump; used for what is stored. */
  readonly now: number;
  /** Milliseconds since some fixed moment, never going back; used for what is kept in memory. */
  readonly elapsed: number;
  /** Cryptographically secure random bytes. (Keys are made by WebCrypto, with its own randomness.) */
  readonly random: (length: number) => Bytes;
  /** Whether somebody looks at the app: then it waits at the relays for whatever comes, instead of checking once a minute. As before, if absent. */
  readonly foreground?: boolean;
  /**
   * Whether nobody is there: then nothing is checked, unless a connection is wanted. All else is as in the background, also if the
   * app is in the foreground. As before, if absent.
   */
  readonly idle?: boolean;
}
