// Notes to others, and what an app does with those that came. Taking them in is in `inbox.ts`.

import type { Bytes } from '../bytes.js';
import type { Connectoid } from '../connectoid.js';
import { generateSigningKey } from '../keys.js';
import { sealMessage } from '../seal/message.js';
import { send, tooBig } from './connect.js';
import { named, needElsewhere, needPeer, trimmed } from './index.js';
import { type Message, post } from './outbox.js';
import { type State, storeOf } from './state.js';

/** Seals a note to a contact whose box is known, signed by the own key for it, and sends it. */
export function note(s: State, name: string, note: Bytes): Promise<Message> {
  const live = named(s, name);
  needPeer(live.contact, true);
  return send(s, live, 'note', { typ: 'note', note });
}

/** Seals a note to whoever shared a link, under a key for this note alone, and sends it. */
export async function noteTo(s: State, to: Connectoid, note: Bytes): Promise<Message> {
  needElsewhere(to);
  const signer = await generateSigningKey(false);
  const sealed = await sealMessage(to.key, to.secret, signer, 1, s.now, { typ: 'note', note });
  return post(s, undefined, 'note', to.key, to, (sealed ?? tooBig()).data);
}

/** The first `count` notes of a contact's inbox were handed over: they are forgotten. */
export function notesHandedOver(s: State, name: string, count: number): void {
  const live = s.contacts.get(trimmed(name));
  if (live?.contact.inbox.splice(0, count).length) storeOf(s, live);
}
