// Each defence matters: with it an attack fails, without it the same attack succeeds.

import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import test from 'node:test';
import { decode, encode } from '../../dist/base64url.js';
import { concat } from '../../dist/bytes.js';
import { open, seal } from '../../dist/seal/hpke.js';
import { hashOf } from '../../dist/seal/message.js';
import { anSdp, Dishonesty } from './attacks.js';
import {
  boxesOf,
  connectoidOf,
  deliver,
  noteOf,
  offerFrom,
  sealedBy,
  sealedByEnd,
  stranger,
} from './strangers.js';
import { matters } from './without.js';
import { library, MINUTE, OTHER, RELAY, SECOND, World } from './world.js';

/** The relay with the first URL does nothing but this from now on, for so long. */
async function attacks(world, attack, time) {
  const until = world.micros(world.now + time);
  world.dishonesty ??= await Dishonesty.of(0, [], 0, 0, world.dice);
  world.dishonesty.turnsTo(attack, until);
}

/** Alice and Bob, connected by a link without a secret; the relay keeps what it saw. */
async function connectedWithoutSecret(seed) {
  const world = new World(seed, 2, [RELAY], { keeps: false });
  world.dishonesty = await Dishonesty.of(0, [], 0, 0, world.dice);
  const link = await world.share(0, 'Bob', { withoutSecret: true });
  await world.connect(1, link, 'Alice');
  await world.bothConnected(1, 5 * MINUTE);
  await world.pass(5 * SECOND);
  return world;
}

/** Alice starts again, with the library that lacks the defence if there is one: one that could not connect to begin with. */
async function runsOn(world, { lib = world.lib }) {
  world.lib = lib;
  await world.restart(0);
}

/** Whether the two connect within so much time. */
async function connects(world, time = MINUTE) {
  const link = await world.share(0, 'Bob');
  await world.foreground(0);
  await world.connect(1, link, 'Alice');
  return world.run(time, () => world.connected(0) > 0);
}

test('a stored message is not answered as a question', () =>
  // The first 56 bytes of it would come back: the beginning of the signed text.
  matters(
    [
      ['seal/question.js', "'connectoid/1 question'", "'connectoid/1 message'"],
      [
        'seal/question.js',
        'const aad = concat(lp16(relay), compressedBytes(key.pub));',
        "const aad = concat('connectoid/1\\x01');",
      ],
      [
        'seal/question.js',
        'answer?.length === 56 ? encode(answer) : undefined',
        'answer && encode(answer.slice(0, 56))',
      ],
    ],
    async options => {
      const world = await connectedWithoutSecret(1);
      await runsOn(world, options);
      await attacks(world, 'message-as-question', 5 * MINUTE);
      await world.pass(5 * MINUTE);
      const text = ({ answer }) => Buffer.from(decode(answer)).toString().slice(4);
      return world.leaks.some(leak => text(leak).startsWith('{"alg":"ES384","payload":"'));
    },
  ));

test('a question of another length is not answered', () =>
  matters(
    [
      [
        'seal/question.js',
        'answer?.length === 56 ? encode(answer) : undefined',
        'answer && encode(answer.slice(0, 56))',
      ],
    ],
    async options => {
      const world = await World.ofTwo(2, SECOND, options);
      await attacks(world, 'long-question', 2 * MINUTE);
      await world.pass(2 * MINUTE);
      return world.leaks.length > 0;
    },
  ));

test('the relay cannot claim a link whose secret it never saw', () =>
  matters(
    [
      [
        'seal/message.js',
        'open(key, INFO, AAD, data, await pskOf(key.pub, secret))',
        'open(key, INFO, AAD, data)',
      ],
    ],
    async options => {
      const world = new World(3, 1, [RELAY], options);
      await world.share(0, 'Bob');
      await world.foreground(0);
      await attacks(world, 'forged-offer', MINUTE);
      await world.pass(2 * MINUTE);
      return world.told(0, 'claimed') > 0;
    },
  ));

test('a forged goodbye does not end a contact', () =>
  // The box of a link without a secret is open for anybody's seal; what counts there is the signature.
  matters(
    [['seal/message.js', '!(await verify(ik, signature, signedBytes(field)))', 'false']],
    async options => {
      const world = await connectedWithoutSecret(4);
      await runsOn(world, options);
      await attacks(world, 'forged-bye', 3 * MINUTE);
      await world.pass(3 * MINUTE);
      return world.told(0, 'unshared', { by: 'peer' }) > 0;
    },
  ));

test('what Bob wrote to Alice is not passed on to Carol in his name', () =>
  matters([['seal/message.js', 'to !== key.pub', 'false']], async options => {
    const world = new World(5, 3, [RELAY], options);
    const toAlice = await world.share(0, 'Bob');
    const toCarol = await world.share(2, 'Alice');
    const { signer: bob } = await stranger();
    const note = await sealedBy(bob, 1, toAlice, noteOf('I owe you 100'));
    const [info, aad] = ['connectoid/1 message', concat('connectoid/1\x01')];
    const opened = await open(world.contact(0).boxes[0].key, info, aad, note, psk(toAlice));
    const passedOn = await seal(toCarol.key, info, aad, opened, psk(toCarol));
    await deliver(world, 2, toCarol.key, passedOn);
    return world.contact(2, 'Alice').inbox.some(({ ik }) => ik === bob.pub);
  }));

/** What a secret makes of PSK mode. */
function psk({ key, secret }) {
  return new Uint8Array(hkdfSync('sha384', secret, 'connectoid/1 psk', decode(key), 48));
}

test('a relay that asks for 136 years of rest gets minutes', () =>
  matters(
    [['sessions/requests.js', 'const REST_MAX = 10 * MINUTE', 'const REST_MAX = Infinity']],
    async options => {
      const world = new World(6, 2, [RELAY], options);
      const link = await world.share(0, 'Bob');
      await attacks(world, 'huge-retry-after', MINUTE);
      await world.connect(1, link, 'Alice');
      return !(await world.run(30 * MINUTE, () => world.connected(0) === 1 && world.connected(1) === 1));
    },
  ));

test('the question of another relay is not answered', () =>
  matters(
    [
      ['sessions/mailbox.js', '(named ?? relay) !== relay', 'false'],
      [
        'sessions/mailbox.js',
        'openQuestion(own.key, relay, question)',
        'openQuestion(own.key, named, question)',
      ],
    ],
    async options => {
      const world = await World.ofTwo(7, SECOND, { relays: [RELAY, OTHER], ...options });
      await attacks(world, 'foreign-question-named', 2 * MINUTE);
      await world.pass(2 * MINUTE);
      return world.leaks.length > 0;
    },
  ));

test('a question is answered with the URL that was contacted, whatever the relay calls itself', () =>
  matters(
    [
      [
        'sessions/mailbox.js',
        'openQuestion(own.key, relay, question)',
        "openQuestion(own.key, 'https://two.example', question)",
      ],
    ],
    async options => {
      const world = await World.ofTwo(8, SECOND, { relays: [RELAY, OTHER] });
      await runsOn(world, options);
      await attacks(world, 'foreign-question', 2 * MINUTE);
      await world.pass(2 * MINUTE);
      return world.leaks.some(({ relay }) => relay === 0);
    },
  ));

/** What comes back from a server on this machine that does this with each request. */
async function posted({ lib }, serve) {
  const { post } = lib ?? (await library());
  const server = createServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reply = await post(`http://127.0.0.1:${server.address().port}`, '{}', 10_000, new AbortController());
  server.closeAllConnections();
  server.close();
  return reply;
}

test('a reply of more than 1 MiB is not read', () =>
  matters(
    [['transport.js', 'const REPLY_MAX = 1024 * 1024', 'const REPLY_MAX = Infinity']],
    async options => {
      const replyOf = size => posted(options, (_, reply) => reply.end('{"ok":true}'.padEnd(size)));
      assert.equal((await replyOf(1_048_576)).body.length, 1_048_576);
      return (await replyOf(1_048_577)) !== 'too-large';
    },
  ));

test('a redirect is not followed', () =>
  matters([['transport.js', "redirect: 'manual'", "redirect: 'follow'"]], async options => {
    const asked = [];
    const reply = await posted(options, (request, reply) => {
      asked.push(request.url);
      if (request.url === '/') reply.writeHead(307, { location: '/elsewhere' }).end();
      else reply.end('{"ok":true}');
    });
    assert.equal(reply === 'redirect', asked.length === 1);
    return asked.includes('/elsewhere');
  }));

test('a huge cursor hides nothing', () =>
  matters([['sessions/mailbox.js', 'at > (s.now + CURSOR_AHEAD) * 1000', 'false']], async options => {
    const world = await World.ofTwo(9, SECOND, options);
    await world.foreground(0);
    await attacks(world, 'huge-at', MINUTE);
    await world.note(1, 'the first');
    await world.pass(2 * MINUTE);
    assert.deepEqual(await world.takeNotes(0), ['the first']);
    await world.note(1, 'the second');
    await world.pass(5 * MINUTE);
    return (await world.takeNotes(0)).length === 0;
  }));

test('who hides a message behind a cursor that goes back is named', () =>
  matters([['exchange.js', "'cursor'", '{ at, messages: [], more: false }']], async options => {
    const world = await World.ofTwo(10, SECOND, options);
    await attacks(world, 'at-back', MINUTE);
    await world.note(1, 'a note');
    await world.pass(30 * SECOND);
    return world.told(0, 'misbehaves', { what: 'cursor' }) === 0;
  }));

test('a list without an end is left', () =>
  matters(
    [['sessions/mailbox.js', 'const REPLIES_MAX = 64', 'const REPLIES_MAX = Infinity']],
    async options => {
      const world = await World.ofTwo(11, SECOND, options);
      await attacks(world, 'endless-more', MINUTE);
      world.dishonesty.noEnd = (_, at) => ({ reply: endless(at + 1) });
      await world.put(boxesOf(world, 0)[1].key, Uint8Array.of(1));
      await world.pass(50 * SECOND);
      return world.requests().filter(({ action }) => action === 'receive').length > 500;
    },
  ));

function endless(at) {
  return { status: 200, body: JSON.stringify({ ok: true, at, messages: [{ at, data: 'eA' }], more: true }) };
}

test('a note that is delivered again counts once', () =>
  matters([['contact.js', 'seen[place] === n || (place === 0', 'false && (place === 0']], async options => {
    const world = await World.ofTwo(12, SECOND, options);
    await world.foreground(0);
    // Not for long: without the defence it is new each time, and asked for again at once.
    await attacks(world, 'duplicate', SECOND);
    await world.note(1, 'pay 100');
    await world.pass(2 * MINUTE);
    return (await world.takeNotes(0)).length > 1;
  }));

test('a counter below all that are remembered is not new', () =>
  matters([['contact.js', '(place === 0 && seen.length >= COUNTER_WINDOW)', 'false']], async options => {
    const world = await World.ofTwo(13, MINUTE, options);
    const [, alice] = boxesOf(world, 0);
    const note = number => sealedByEnd(world, 1, alice, noteOf(`note ${number}`));
    const first = await note(0);
    const later = [];
    for (let number = 1; number <= 65; number += 1) later.push(await note(number));
    await deliver(world, 0, alice.key, ...later);
    await world.pass(MINUTE);
    await world.takeNotes(0);
    // What the relay held back for so long comes too late, now and after it was forgotten.
    await deliver(world, 0, alice.key, first);
    return (await world.takeNotes(0)).length > 0;
  }));

test('an answer to an earlier offer is none to this one', () =>
  matters(
    [['sessions/inbox.js', "stageOf(live, 'offered')?.hash === re", "!!stageOf(live, 'offered')"]],
    async options => {
      const world = await World.ofTwo(14, MINUTE, options);
      await world.hangUp();
      const [, alice] = boxesOf(world, 0);
      const re = await hashOf(new TextEncoder().encode('an offer of yesterday'));
      const content = { typ: 'answer', re, sasNonce: new Uint8Array(32).fill(7), sdp: anSdp() };
      const late = await sealedByEnd(world, 1, alice, content);
      world.turnOff(1);
      await world.reconnect(0);
      await world.pass(SECOND);
      await deliver(world, 0, alice.key, late);
      return world.ends[0].outputs.some(output => output.do === 'accept-answer');
    },
  ));

test('only the pinned key writes to a box in use', () =>
  // Somebody who saw the connectoid of a box of Alice, in a backup of Bob's say, but has not his signing key.
  matters([['sessions/inbox.js', '!link && peer && !peer.ik', 'peer']], async options => {
    const world = await World.ofTwo(15, MINUTE, options);
    const [, alice] = boxesOf(world, 0);
    const { signer, connectoid } = await stranger();
    await deliver(world, 0, alice.key, await sealedBy(signer, 1000, alice, offerFrom(connectoid)));
    return world.contact(0).peer.ik === signer.pub;
  }));

test('only the pinned key answers', () =>
  matters([['sessions/inbox.js', 'known && known !== ik', 'false']], async options => {
    const world = await World.ofTwo(16, MINUTE, options);
    await world.hangUp();
    const [, alice] = boxesOf(world, 0);
    world.turnOff(1);
    await world.reconnect(0);
    await world.pass(SECOND);
    // A thief of Bob's box key reads the offer.
    const { key, data } = world.requests().findLast(({ action }) => action === 'send');
    const { own } = world.boxes.get(key);
    const offer = await world.lib.openMessage(own.key, own.secret, () => undefined, decode(data));
    const { signer } = await stranger();
    const re = await hashOf(offer.payload);
    const content = { typ: 'answer', re, sasNonce: new Uint8Array(32), sdp: anSdp() };
    await deliver(world, 0, alice.key, await sealedBy(signer, 1, alice, content));
    return world.contact(0).peer.ik === signer.pub;
  }));

test('only the pinned key ends a contact', () =>
  matters([['sessions/inbox.js', '? pinned(contact) :', '? contact.peer?.ik :']], async options => {
    // Somebody who claimed a link and did not prove himself yet.
    const world = new World(17, 1, [RELAY], options);
    const link = await world.share(0, 'Bob');
    const { signer, connectoid } = await stranger();
    await deliver(world, 0, link.key, await sealedBy(signer, 1, link, offerFrom(connectoid)));
    await deliver(world, 0, link.key, await sealedBy(signer, 2, link, { typ: 'bye' }));
    return world.contact(0) === undefined;
  }));

test('nobody makes Alice write to herself', () =>
  matters([['sessions/inbox.js', 'if (isOwn(s, connectoid.key))', 'if (false)']], async options => {
    const world = new World(18, 1, [RELAY], options);
    const forBob = await world.share(0, 'Bob');
    const forCarol = await world.share(0, 'Carol');
    const { signer } = await stranger();
    await deliver(world, 0, forBob.key, await sealedBy(signer, 1, forBob, offerFrom(forCarol)));
    return world.contact(0).peer?.connectoid.key === forCarol.key;
  }));

test('nobody makes Alice post to what runs on her machine', () =>
  matters([['sessions/inbox.js', 'if (isLedHereBy(contact, connectoid))', 'if (false)']], async options => {
    const world = new World(19, 1, [RELAY], options);
    const link = await world.share(0, 'Bob');
    const { signer, connectoid } = await stranger([RELAY, 'http://127.0.0.1:9200']);
    await deliver(world, 0, link.key, await sealedBy(signer, 1, link, offerFrom(connectoid)));
    return world.ends[0].outputs.some(output => output.relay === 'http://127.0.0.1:9200');
  }));

test('an offer that comes late brings no dead box back', () =>
  matters(
    [['contact.js', 'n <= peer.saidAt || peer.replaced.includes(connectoid.key)', 'false']],
    async options => {
      const world = new World(20, 2, [RELAY], options);
      const link = await world.share(0, 'Bob');
      await world.foreground(0);
      await world.connect(1, link, 'Alice');
      const old = connectoidOf(world.contact(1).boxes[0]);
      await world.bothConnected(1, MINUTE);
      // Made before the box was replaced, kept back by the relay until after it.
      const late = await sealedByEnd(world, 1, link, offerFrom(old));
      await world.pass(MINUTE);
      assert.notEqual(connectoidOf(world.contact(1).boxes.at(-1)).key, old.key);
      await deliver(world, 0, link.key, late);
      return world.contact(0).peer.connectoid.key === old.key;
    },
  ));

test('a link belongs to the first who used it', () =>
  matters(
    [
      [
        'sessions/inbox.js',
        "if (link.state !== 'open')\n                return refuse(",
        "if (link.state === 'none')\n                return refuse(",
      ],
    ],
    async options => {
      const world = new World(21, 3, [RELAY], options);
      const link = await world.share(0, 'Bob');
      await world.foreground(0);
      await world.connect(1, link, 'Alice');
      await world.bothConnected(1, MINUTE);
      await world.connect(2, link, 'Alice');
      await world.pass(2 * MINUTE);
      return world.connected(2) > 0;
    },
  ));

test('who cannot prove gets no session', () =>
  matters([['sessions/channel.js', 'equal(mac, frame.mac) ?', 'true ?']], async options => {
    const world = new World(22, 2, [RELAY], options);
    const mac = encode(new Uint8Array(48).fill(7));
    world.frameOnItsWay = text => (text.includes('"proof"') ? JSON.stringify({ t: 'proof', mac }) : text);
    const connected = await connects(world);
    assert.equal(world.told(0, 'alarm', { alarm: 'no-proof' }), connected ? 0 : 1, world.story());
    return connected;
  }));

test('who opens the channel with another certificate gets no session', () =>
  matters([['sessions/connect.js', '!equal(certificate, joined.peer)', 'false']], async options => {
    const world = new World(23, 2, [RELAY], options);
    world.foreignCertificates = true;
    const connected = await connects(world);
    assert.equal(world.told(0, 'alarm', { alarm: 'foreign-certificate' }), connected ? 0 : 1, world.story());
    return connected;
  }));

test('nobody looks for a string that matches after the offer', () =>
  // Whoever makes an offer in the middle may choose what it reveals last: without the commitment, one by which the strings match.
  matters(
    [
      [
        'sessions/channel.js',
        '!equal(await sasCommit(r, offer.connectoid.key, ik), offer.sasCommit)',
        'false',
      ],
    ],
    async options => {
      const world = new World(24, 2, [RELAY], options);
      world.frameOnItsWay = text => {
        const frame = JSON.parse(text);
        return frame.r ? JSON.stringify({ ...frame, r: encode(world.dice.bytes(32)) }) : text;
      };
      const connected = await connects(world);
      assert.equal(world.told(0, 'alarm', { alarm: 'broken-commitment' }), connected ? 0 : 1, world.story());
      return connected;
    },
  ));

test('a link is not answered for ever', () =>
  matters([['sessions/connect.js', 'ANSWERS_MAX = 50', 'ANSWERS_MAX = Infinity']], async options => {
    const world = new World(25, 1, [RELAY], options);
    const link = await world.share(0, 'Bob');
    const { signer, connectoid } = await stranger();
    for (let n = 1; n <= 60; n += 1) {
      await deliver(world, 0, link.key, await sealedBy(signer, n, link, offerFrom(connectoid)));
    }
    const { answered } = world.contact(0).link;
    assert.ok(answered === 50 || answered === 60, `${answered}`);
    assert.equal(world.told(0, 'alarm', { alarm: 'too-many-offers' }), answered === 50 ? 1 : 0);
    return answered > 50;
  }));

test('app data waits for the comparison of a link that others saw', () =>
  matters([['contact.js', "(unproven && verification !== 'verified')", 'false']], async options => {
    const world = new World(26, 2, [RELAY], options);
    const link = await world.share(0, 'Bob');
    await world.foreground(0);
    await world.connect(1, link, 'Alice', 'query');
    await world.bothConnected(1, MINUTE);
    return world.told(1, 'connected', { mayExchange: true }) > 0;
  }));

test('what is no defence is found', async () => {
  await assert.rejects(
    matters([['contact.js', 'a text that is not there', '']], async () => false),
    /must hold this once/,
  );
  const nothing = matters([['contact.js', 'COUNTER_WINDOW = 64', 'COUNTER_WINDOW = 65']], async () => false);
  await assert.rejects(nothing, /the attack fails even without the defence/);
  await assert.rejects(
    matters([], async () => true),
    /and yet the attack succeeds/,
  );
});
