// Requests, and what their replies say of a relay: whether it can be reached, and what it should not do.

import type { NoReply } from '../exchange.js';
import type { RelayUrl } from '../relay-url.js';
import type { Misbehaviour, Reply } from './output.js';
import { lives, MINUTE, SECOND, type State, tell } from './state.js';

/** How long a relay has for its reply, beyond the `wait` that was asked for. */
const REPLY_TIME = 10 * SECOND;

/** The first pause after a failure; doubled with each further one, up to the longest. */
export const PAUSE_FIRST = 2 * SECOND;
const PAUSE_MAX = MINUTE;

/** The longest that a relay is left alone because it asks for it: it must not stop us for ever. */
export const REST_MAX = 10 * MINUTE;

/** The refusals that say nothing of what comes next. */
export const PASSING = ['Busy', 'Too often', 'Wrong answer'];

/** What breaks the rules of `receive`. Any other reply that cannot be read is that of no relay. */
export const PAGE_FAULTS: Misbehaviour[] = ['not-a-list', 'cursor'];

/** A reply that was read. */
export type Read = { failure?: undefined } | NoReply;

/** POSTs to a relay, which may wait so many seconds. */
export function ask<R extends Read>(
  s: State,
  relay: RelayUrl,
  body: string,
  read: (reply: Reply) => R,
  then: (read: R) => void | Promise<void>,
  wait = 0,
): number {
  const id = ++s.lastId;
  s.asked.set(id, reply => {
    const done = read(reply);
    s.down.set(relay, whyUseless(relay, done));
    if (done.failure === 'refused') {
      s.rests.set(relay, s.elapsed + Math.min(done.retryAfter * SECOND, REST_MAX));
    }
    tellReachable(s);
    if (done.failure === 'misbehaves') misbehaves(s, relay, done.what);
    return then(done);
  });
  s.outputs.push({ do: 'request', id, relay, body, patience: REPLY_TIME + wait * SECOND });
  return id;
}

/** Why a relay did not do it. */
export function reasonOf(read: NoReply): string {
  return read.failure === 'refused' ? read.why : read.failure === 'misbehaves' ? read.what : read.failure;
}

/** Why a relay is of no use, if its reply says so and that will not pass by itself. */
function whyUseless(url: RelayUrl, read: Read & { relay?: string | undefined }): string | undefined {
  switch (read.failure) {
    case 'unreachable':
      return read.failure;
    case 'refused':
      return PASSING.includes(read.error) ? undefined : read.why;
    case 'misbehaves':
      return PAGE_FAULTS.includes(read.what) ? undefined : read.what;
    default:
      return (read.relay ?? url) === url ? undefined : 'other-relay';
  }
}

/** The reply to this request is not waited for any more. */
export function cancel(s: State, id: number | undefined): void {
  if (id && s.asked.delete(id)) s.outputs.push({ do: 'cancel', id });
}

/** The pause after so many failures. */
export function pauseAfter(failures: number): number {
  return Math.min(PAUSE_FIRST * 2 ** failures, PAUSE_MAX);
}

/** When a relay may be asked after a pause: later, if it wants to be left alone. */
export function soonest(s: State, relay: RelayUrl, pause = 0): number {
  return Math.max(s.elapsed + pause, s.rests.get(relay) ?? 0);
}

/** Names what a relay should not do. */
export function misbehaves(s: State, relay: RelayUrl, what: Misbehaviour): void {
  s.outputs.push({ do: 'event', event: { type: 'misbehaves', relay, what } });
}

/** Says of each contact when the last of its relays is of no use any more, and when the first is again. */
export function tellReachable(s: State): void {
  for (const live of lives(s)) {
    const { boxes, peer } = live.contact;
    const relays = [boxes.map(own => own.relays), peer?.connectoid.relays ?? []];
    const whys = relays.flat(2).map(relay => s.down.get(relay));
    const why = whys.every(why => why) ? whys[0] : undefined;
    if (!live.toldDown === !why) continue;
    live.toldDown = why;
    if (why) tell(s, live, 'relays-down', { why });
    else tell(s, live, 'relays-back');
  }
}
