// Data channels and peer connections between programs on one machine that are one program: as much of WebRTC as the library and the app
// need. What is sent arrives in order, later; what is a frame of a channel is a copy, as over a network.

import { createHash, randomBytes } from 'node:crypto';

/** A target of events whose listeners may also be its `on…`. */
class Target extends EventTarget {
  tell(event) {
    this.dispatchEvent(event);
    if (!event.isStopped) {
      this[`on${event.type}`]?.(event);
    }
  }
}

/** A message whose `stopImmediatePropagation` also holds for `onmessage`. */
class Message extends MessageEvent {
  stopImmediatePropagation() {
    super.stopImmediatePropagation();
    this.isStopped = true;
  }
}

export class Channel extends Target {
  readyState = 'connecting';
  ordered = true;
  maxRetransmits = null;
  maxPacketLifeTime = null;
  binaryType = 'arraybuffer';
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  /** All that was sent. */
  sent = [];
  /** Whether nothing arrives for now. */
  #isStuck = false;
  #waiting = [];

  constructor(label) {
    super();
    this.label = label;
  }

  /** What the library hands over again comes to `onmessage`, too. */
  dispatchEvent(event) {
    const done = super.dispatchEvent(event);
    if (!(event instanceof Message) && event.type === 'message') {
      this.onmessage?.(event);
    }
    return done;
  }

  send(data) {
    if (this.readyState !== 'open') {
      throw new DOMException('not open', 'InvalidStateError');
    }
    const copy = typeof data === 'string' ? data : Uint8Array.from(data).buffer;
    this.sent.push(copy);
    this.bufferedAmount += copy.byteLength ?? copy.length;
    this.#waiting.push(copy);
    this.#later();
  }

  set isStuck(isStuck) {
    this.#isStuck = isStuck;
    this.#later();
  }

  #later() {
    setImmediate(() => {
      while (!this.#isStuck && this.#waiting.length) {
        const data = this.#waiting.shift();
        const before = this.bufferedAmount;
        this.bufferedAmount -= data.byteLength ?? data.length;
        if (this.other?.readyState === 'open') {
          this.other.tell(new Message('message', { data }));
        }
        const low = this.bufferedAmountLowThreshold;
        if (before > low && this.bufferedAmount <= low) {
          this.tell(new Event('bufferedamountlow'));
        }
      }
    });
  }

  open() {
    this.readyState = 'open';
    this.tell(new Event('open'));
  }

  /** What was sent before arrives. */
  close() {
    if (this.readyState === 'closed') {
      return;
    }
    this.readyState = 'closed';
    setImmediate(() =>
      setImmediate(() => {
        this.tell(new Event('close'));
        this.other?.end();
      }),
    );
  }

  /** The other side closed it. */
  end() {
    if (this.readyState !== 'closed') {
      this.readyState = 'closed';
      this.tell(new Event('close'));
    }
  }
}

/** The two ends of an open channel. */
export function pair(label = 'list') {
  const [one, two] = [new Channel(label), new Channel(label)];
  [one.other, two.other] = [two, one];
  one.open();
  two.open();
  return [one, two];
}

/** All that is under way on channels has arrived. */
export async function settled() {
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise(setImmediate);
  }
}

/** Peer connections that find each other if their offer and answer do: a world of its own, whose network can be cut. */
export function network() {
  const peers = new Map();

  class Peer extends Target {
    /** All that were made, on either side. */
    static channels = [];
    connectionState = 'new';
    iceConnectionState = 'new';
    iceGatheringState = 'new';
    #certificate = randomBytes(32);
    #id = randomBytes(8).toString('hex');
    #channels = [];
    #isOfferer = false;
    #there;

    constructor() {
      super();
      peers.set(this.#id, this);
    }

    get sctp() {
      const certificate = this.#there?.#certificate;
      const shown = certificate?.buffer.slice(certificate.byteOffset, certificate.byteOffset + 32);
      return {
        state: this.connectionState === 'connected' ? 'connected' : 'closed',
        transport: { getRemoteCertificates: () => (shown ? [shown] : []) },
      };
    }

    createDataChannel(label) {
      const channel = new Channel(label);
      this.#channels.push(channel);
      Peer.channels.push(channel);
      this.#join(channel);
      return channel;
    }

    #join(channel) {
      const there = this.#there;
      if (this.connectionState !== 'connected') {
        return;
      }
      setImmediate(() => {
        const other = new Channel(channel.label);
        [channel.other, other.other] = [other, channel];
        there.#channels.push(other);
        other.readyState = 'open';
        there.tell(Object.assign(new Event('datachannel'), { channel: other }));
        channel.open();
      });
    }

    async setLocalDescription() {
      this.#isOfferer = !this.#there;
      const hash = createHash('sha256').update(this.#certificate).digest('hex').toUpperCase();
      const sdp = `v=0\r\na=fingerprint:sha-256 ${hash.match(/../g).join(':')}\r\na=peer:${this.#id}\r\n`;
      this.localDescription = { type: this.#isOfferer ? 'offer' : 'answer', sdp };
      this.iceGatheringState = 'complete';
      setImmediate(() => this.onicecandidate?.({ candidate: null }));
    }

    async setRemoteDescription({ type, sdp }) {
      this.#there = peers.get(/a=peer:(\w+)/.exec(sdp)[1]);
      if (type === 'answer') {
        setImmediate(() => this.#meet());
      }
    }

    #meet() {
      for (const peer of [this, this.#there]) {
        peer.connectionState = peer.iceConnectionState = 'connected';
        peer.tell(new Event('connectionstatechange'));
      }
      for (const channel of this.#channels) {
        this.#join(channel);
      }
    }

    async addIceCandidate() {}

    restartIce() {}

    /** It tells this side's channels nothing. */
    close() {
      if (this.connectionState === 'closed') {
        return;
      }
      this.connectionState = 'closed';
      peers.delete(this.#id);
      for (const channel of this.#channels) {
        channel.readyState = 'closed';
        setImmediate(() => channel.other?.end());
      }
    }
  }
  return Peer;
}
