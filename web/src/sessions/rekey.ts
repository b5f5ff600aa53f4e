// New boxes for old: what a link or an old device backup opens should end.
//
// A new box is stored before the other side hears of it, and the other side stores it before it says so; until it said so and a day
// has passed, or until it wrote there, both boxes are read. So a crash at any point leaves both able to reach each other.

import type { Connectoid } from '../connectoid.js';
import { connectoidOf, generateBox, isLedHereBy, movesTo, type OwnBox, ownBox, pinned } from '../contact.js';
import type { PublicKey } from '../keys.js';
import { closeSessions, sendFrame } from './connect.js';
import type { SessionId } from './output.js';
import { HOUR, isOwn, type Live, type State, storeOf } from './state.js';

/** How often a box is replaced, at most. */
const REKEY_EVERY = 24 * HOUR;

/** How long an old box is read after the other side said that it writes to the new one. */
const OLD_BOX_LIFE = 24 * HOUR;

/** How long the box of a link is read after it was replaced: to notice that the link is used twice. */
const LINK_BOX_LIFE = 48 * HOUR;

/** How often the other side may move in one session. Once is enough; each is written to disk. */
const MOVES_MAX = 4;

/** Replaces the own box if it is time to; proposes again what the other side did not confirm. */
export async function rekey(s: State, live: Live, session: SessionId): Promise<void> {
  const { contact } = live;
  const { boxes, rekeyed } = contact;
  let own = boxes.at(-1);
  if (!own) return;
  if (!boxes[1] || isKnown(own)) {
    if (rekeyed !== undefined && s.now - rekeyed < REKEY_EVERY) return;
    own = await generateBox(s, own.relays, own.ext);
    boxes.push(own);
    contact.rekeyed = s.now;
    storeOf(s, live);
  }
  sendFrame(s, session, { t: 'rekey', connectoid: connectoidOf(own) });
}

/** Whether the other side knows a box. */
function isKnown(own: OwnBox): boolean {
  return own.used || own.confirmed !== undefined;
}

/** The other side has a new box. */
export function peerMoves(s: State, live: Live, connectoid: Connectoid): void {
  const { contact, open } = live;
  const { peer } = contact;
  const { key } = connectoid;
  if (!open || !peer) return;
  if (isOwn(s, key) || ++open.moves > MOVES_MAX || isLedHereBy(contact, connectoid)) {
    closeSessions(s, live);
    return;
  }
  movesTo(peer, connectoid);
  storeOf(s, live);
  sendFrame(s, open.id, { t: 'rekey-ok', pub: key });
}

/** The other side stored the new own box. */
export function boxConfirmed(s: State, live: Live, key: PublicKey): void {
  const own = ownBox(live.contact, key);
  if (!own || own.confirmed !== undefined) return;
  own.confirmed = s.now;
  storeOf(s, live);
  dropOldBoxes(s, live);
}

/** The other side wrote to this own box: it knows it. The state is stored by the caller. */
export function boxUsed(s: State, live: Live, key: PublicKey): void {
  const { contact } = live;
  const own = ownBox(contact, key);
  if (pinned(contact)) contact.lastSeen = s.now;
  if (!own || own.used || !contact.peer) return;
  own.used = true;
  dropOldBoxes(s, live);
}

/** Deletes the keys of boxes that the other side does not write to any more. */
export function dropOldBoxes(s: State, live: Live): void {
  const { contact } = live;
  const { boxes, link } = contact;
  if (contact.leaving) return;
  let changed = false;
  let keepsLink = false;
  if (link && link.state !== 'closed') {
    keepsLink = true;
    if (link.retired === undefined && boxes.slice(1).some(isKnown)) {
      link.state = 'retired';
      link.retired = s.now;
      changed = true;
    }
  }
  const upto = boxes.findLastIndex(
    own => own.used || (own.confirmed !== undefined && s.now - own.confirmed >= OLD_BOX_LIFE),
  );
  if (upto >= 0) {
    if (keepsLink && link?.retired !== undefined && s.now - link.retired >= LINK_BOX_LIFE) {
      link.state = 'closed';
      keepsLink = false;
      changed = true;
    }
    contact.boxes = boxes.filter((_, index) => index >= upto || (!index && keepsLink));
    changed ||= contact.boxes.length < boxes.length;
  }
  if (changed) storeOf(s, live);
}
