// Messages as others than this library could make them: strangers, and an Alice or Bob that does not keep to the protocol.

import { generateBoxKey, generateSigningKey } from '../../dist/keys.js';
import { hashOf, sealMessage } from '../../dist/seal/message.js';
import { anSdp } from './attacks.js';
import { RELAY, SECOND } from './world.js';

/** Somebody with a signing key, and a connectoid of a box of their own. */
export async function stranger(relays = [RELAY]) {
  const box = await generateBoxKey(false);
  const secret = crypto.getRandomValues(new Uint8Array(32));
  return { box, signer: await generateSigningKey(false), connectoid: { key: box.pub, relays, secret } };
}

export function offerFrom(connectoid) {
  return { typ: 'offer', connectoid, sasCommit: new Uint8Array(48).fill(7), sdp: anSdp() };
}

export function noteOf(text) {
  return { typ: 'note', note: new TextEncoder().encode(text) };
}

/** Seals a message to whoever has this connectoid. */
export async function sealedBy(signer, n, to, content) {
  return (await sealed(signer, n, to, content)).data;
}

export async function sealed(signer, n, to, content) {
  return sealMessage(to.key, to.secret, signer, n, 1, content);
}

/** Seals a message with the own key and counter of an end for its contact. */
export async function sealedByEnd(world, end, to, content) {
  return (await sealedWithHash(world, end, to, content)).data;
}

/** The same, with the hash of its payload. */
export async function sealedWithHash(world, end, to, content) {
  const { signer } = world.contact(end);
  signer.key ??= await generateSigningKey(false);
  signer.n += 1;
  const { data, payload } = await sealed(signer.key, signer.n, to, content);
  return { data, re: await hashOf(payload) };
}

/** What an own box is to others. */
export function connectoidOf({ key, secret, relays, ext }) {
  return { key: key.pub, relays, ...(ext && { ext }), ...(secret && { secret }) };
}

/** The boxes of an end for its contact: the oldest, which of Alice is that of the link, and the one in use. */
export function boxesOf(world, end) {
  const { boxes } = world.contact(end);
  return [connectoidOf(boxes[0]), connectoidOf(boxes.at(-1))];
}

/** Puts messages into a box of an end, in one go, and has it look there. */
export async function deliver(world, end, key, ...messages) {
  for (const data of messages) await world.put(key, data);
  await world.wakeUp(end);
  await world.pass(SECOND);
}
