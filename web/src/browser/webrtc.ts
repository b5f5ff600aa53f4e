// The peer connections: what the state machine wants done with them, and what comes of it.
//
// A connection carries one session, or several while a new one takes an old one's place (docs/protocol.md, 6.7). Each session has a
// channel `connectoid` on it; all other channels are the app's.

import { type Bytes, equal } from '../bytes.js';
import type { ClientEvent } from '../events.js';
import { FRAME_MAX } from '../frame.js';
import { fingerprintOf } from '../sdp.js';
import { CANDIDATES_MAX } from '../seal/message.js';
import {
  channelClosed,
  channelOpen,
  decline,
  frameCame,
  localAnswer,
  localCandidates,
  localOffer,
  resumed as resume,
  tryAtOnce,
} from '../sessions/connect.js';
import { renew, wokeUp } from '../sessions/index.js';
import type { Event, SessionId, Step } from '../sessions/output.js';
import type { State } from '../sessions/state.js';
import { within } from '../within.js';

/** The label of the protocol's own channels. */
export const LABEL = 'connectoid';

/** How those of the command line's tools begin (docs/tools.md). */
const TOOLS = 'connectoid.';

/** How long candidates are waited for before an SDP is handed over, and how long later ones are collected. Milliseconds, as below. */
const GATHER = 1000;
const LATE = 3000;

/**
 * How long a path may be searched once both sides know the other's addresses. The side that answers searches longer: the other may
 * look for the answer once a minute only, and searches from then on.
 */
const SEARCH = 30_000;
const SEARCH_ANSWERING = 150_000;

/** How long an interrupted session is kept in the hope that a new path is found. */
const RENEW = 90_000;

/** How long what was sent has to arrive before the connection is closed. */
const FAREWELL = 2000;

/** How long a connection stays after its channels were closed, so that the other side sees that it is on purpose. */
const PARTING = 600;

/** The most frames in a session: a few are needed. */
const MOST_FRAMES = 1000;

/** The channels and bytes that may come before app data may flow. */
const MOST_HELD = 16;
const MOST_HELD_BYTES = 1024 * 1024;

/** All peer connections of a client. */
export interface Connections {
  carryOut(step: Step): void;
  /** Tells the app of an event, and does what it means for the connections. */
  hear(event: Event): void;
  /** The connection of the open session with a contact. */
  live(contact: string): { readonly mayExchange: boolean; readonly outage?: unknown } | undefined;
  /** Opens a channel in the open session, if app data may flow. */
  open(contact: string, label: string, init?: RTCDataChannelInit): RTCDataChannel | undefined;
  /** Closes the app's channels, with one contact or all, and waits until what was sent on them has arrived. */
  drain(contact?: string): Promise<void>;
  rename(from: string, to: string): void;
  /** Closes all at once. */
  close(): void;
}

interface Connection {
  readonly pc: RTCPeerConnection;
  contact: string;
  /** The sessions on it, oldest first. */
  controls: Control[];
  /** The fingerprint of the other side's certificate, once it is known. */
  peer?: Bytes;
  /** Whether packets got through once. */
  found: boolean;
  /** Whether the app knows of a session on it. */
  isLive: boolean;
  /** Whether app data may flow. */
  mayExchange: boolean;
  /** Channels of the other side, until it may. */
  held: Held[];
  heldBytes: number;
  /** The app's channels. */
  channels: Set<RTCDataChannel>;
  /** Sends own candidates that came after the SDP was handed over. */
  late?: Timer | undefined;
  /** Ends the search for a path. */
  search?: Timer;
  /** Ends the search for another path; there is one while no packets get through. */
  outage?: Timer | undefined;
}

/** A session on a connection. */
interface Control {
  readonly session: SessionId;
  readonly connection: Connection;
  readonly offers: boolean;
  channel?: RTCDataChannel;
  frames: number;
  /** The other side closed its channel. */
  closed: boolean;
  /** Candidates that came before the SDP they belong to was applied. */
  early: RTCIceCandidateInit[] | undefined;
}

/** A channel that the app does not know yet, and what hands over what came on it. */
interface Held {
  channel: RTCDataChannel;
  release: () => void;
}

type Timer = ReturnType<typeof setTimeout>;

/**
 * `make` makes a peer connection; without it all that comes is declined. `step` takes a step of the machine, and does not reject.
 * `mayFlow`: whether app data may flow with a contact, as of now.
 */
export function connections(
  make: (() => RTCPeerConnection) | undefined,
  step: (take: (s: State) => unknown) => Promise<void>,
  tell: (event: ClientEvent) => void,
  mayFlow: (contact: string) => boolean,
): Connections {
  const controls = new Map<SessionId, Control>();
  const closed = (session: SessionId, onPurpose?: boolean) => step(s => channelClosed(s, session, onPurpose));
  const live = (contact: string) =>
    [...controls.values()].find(({ connection }) => connection.isLive && connection.contact === contact)
      ?.connection;

  function carryOut(todo: Step) {
    const control = controls.get(todo.session);
    switch (todo.do) {
      case 'make-offer':
        void offer(todo.session, todo.contact, todo.renews);
        break;
      case 'make-answer':
        void answer(todo.session, todo.contact, todo.sdp);
        break;
      case 'accept-answer':
        if (control) {
          void accept(control, todo.sdp);
        }
        break;
      case 'add-candidates':
        if (control?.early) {
          control.early.push(...todo.candidates);
        } else if (control) {
          add(control, todo.candidates);
        }
        break;
      case 'frame':
        if (control?.channel?.readyState === 'open') {
          control.channel.send(todo.text);
        }
        break;
      case 'close':
        if (control) {
          drop(control, true);
        }
    }
  }

  // --- Offers and answers ---

  async function offer(session: SessionId, contact: string, renews: SessionId | undefined) {
    const before = renews === undefined ? undefined : controls.get(renews)?.connection;
    const control = begin(session, contact, true, before);
    if (!control) {
      return closed(session);
    }
    const { pc } = control.connection;
    try {
      if (before) {
        pc.restartIce();
      } else {
        plug(control, pc.createDataChannel(LABEL));
      }
      await describe(control);
    } catch {
      refused(control);
    }
  }

  async function answer(session: SessionId, contact: string, sdp: string) {
    const offered = fingerprintOf(sdp);
    const open = live(contact);
    // With the certificate of the open connection it is that one which searches a new path.
    const again = open?.peer && offered && equal(open.peer, offered) ? open : undefined;
    const control = begin(session, contact, false, again);
    if (!control) {
      return make ? closed(session) : step(s => decline(s, session));
    }
    const { connection } = control;
    try {
      await connection.pc.setRemoteDescription({ type: 'offer', sdp });
      exchanged(control, offered);
      search(connection, SEARCH_ANSWERING);
      await describe(control);
    } catch {
      refused(control);
    }
  }

  async function accept(control: Control, sdp: string) {
    const { connection } = control;
    const { pc, peer } = connection;
    const answered = fingerprintOf(sdp);
    try {
      // Another certificate is another connection: the other side began anew, and this one cannot go on with it.
      if (peer && !(answered && equal(peer, answered))) {
        throw peer;
      }
      await pc.setRemoteDescription({ type: 'answer', sdp });
      exchanged(control, answered);
      search(connection, SEARCH);
      if (!control.channel) {
        plug(control, pc.createDataChannel(LABEL));
      }
    } catch {
      refused(control);
    }
  }

  /** A session on a connection that is there, or on a new one. Nothing if none can be made. */
  function begin(
    session: SessionId,
    contact: string,
    offers: boolean,
    there?: Connection,
  ): Control | undefined {
    let connection = there;
    try {
      connection ??= make && connect(make(), contact);
    } catch {
      // The browser has too many of them.
    }
    if (!connection) {
      return undefined;
    }
    const control: Control = { session, connection, offers, frames: 0, closed: false, early: [] };
    controls.set(session, control);
    connection.controls.push(control);
    return control;
  }

  /** Applies an own description, waits for candidates, and hands over the SDP with those that came; later ones go in messages. */
  async function describe(control: Control) {
    const { session, connection, offers } = control;
    const { pc } = connection;
    clearInterval(connection.late);
    connection.late = undefined;
    const candidates: RTCIceCandidateInit[] = [];
    const send = () => {
      const some = candidates.splice(0, CANDIDATES_MAX);
      if (some.length) {
        void step(s => localCandidates(s, session, some));
      }
    };
    const gathered = new Promise<void>(resolve => {
      pc.onicecandidate = ({ candidate }) => {
        if (!candidate) {
          clearInterval(connection.late);
          send();
          resolve();
        } else if (candidate.candidate && connection.late !== undefined) {
          candidates.push(candidate.toJSON());
        }
      };
    });
    await pc.setLocalDescription();
    await within(GATHER, gathered);
    if (!controls.has(session)) {
      return;
    }
    if (pc.iceGatheringState !== 'complete') {
      connection.late = setInterval(send, LATE);
    }
    const sdp = pc.localDescription?.sdp ?? '';
    await step(async s => {
      try {
        await (offers ? localOffer : localAnswer)(s, session, sdp);
      } catch (error) {
        drop(control);
        channelClosed(s, session);
        throw error;
      }
    });
  }

  /** The other side's description is applied. */
  function exchanged(control: Control, peer: Bytes | undefined) {
    if (peer) {
      control.connection.peer ??= peer;
    }
    const early = control.early ?? [];
    control.early = undefined;
    add(control, early);
  }

  function add(control: Control, candidates: RTCIceCandidateInit[]) {
    for (const candidate of candidates) {
      // One that cannot be used is none: the others may do.
      control.connection.pc.addIceCandidate(candidate).catch(() => {});
    }
  }

  /** A session that could not be made on its connection. If that was to renew one, the other side began anew: so does this one. */
  function refused(control: Control) {
    if (!controls.has(control.session)) {
      return;
    }
    const { connection, session } = control;
    drop(control);
    void closed(session);
    if (connection.isLive) {
      tryAgain(connection, true);
    }
  }

  /** A session broke, or failed on its way: the other page may have been loaded again in that moment, and waits. */
  function tryAgain(connection: Connection, isAwaited?: boolean) {
    over(connection);
    void step(s => tryAtOnce(s, connection.contact, isAwaited));
  }

  // --- Connections ---

  function connect(pc: RTCPeerConnection, contact: string): Connection {
    const connection: Connection = {
      pc,
      contact,
      controls: [],
      found: false,
      isLive: false,
      mayExchange: false,
      held: [],
      heldBytes: 0,
      channels: new Set(),
    };
    pc.onconnectionstatechange = () => changed(connection);
    pc.ondatachannel = ({ channel }) => offered(connection, channel);
    return connection;
  }

  function changed(connection: Connection) {
    const { pc, controls } = connection;
    // Its channel was closed: that is about to be dealt with.
    if (controls.at(-1)?.closed ?? true) {
      return;
    }
    if (pc.connectionState === 'connected') {
      connection.found = true;
      clearTimeout(connection.search);
      resumed(connection);
    } else if (pc.connectionState === 'failed' && /^(connected|completed)$/.test(pc.iceConnectionState)) {
      // Not the certificate that was signed, or an end that nobody told of.
      over(connection);
    } else if (/^(disconnected|failed)$/.test(pc.connectionState) && connection.isLive) {
      interrupted(connection);
    } else if (pc.connectionState === 'failed' && connection.found) {
      tryAgain(connection);
    }
  }

  function interrupted(connection: Connection) {
    if (connection.outage) {
      return;
    }
    connection.outage = setTimeout(() => tryAgain(connection), RENEW);
    tell({ type: 'interrupted', contact: connection.contact });
    void step(s => {
      // The network may be another one: relays are asked anew, too.
      wokeUp(s);
      renew(s, connection.contact, true);
    });
  }

  function resumed(connection: Connection) {
    const { contact, outage } = connection;
    if (outage) {
      clearTimeout(outage);
      connection.outage = undefined;
      tell({ type: 'resumed', contact });
      void step(s => resume(s, contact));
    }
  }

  function search(connection: Connection, time: number) {
    if (!connection.found) {
      clearTimeout(connection.search);
      connection.search = setTimeout(() => {
        tell({ type: 'no-path', contact: connection.contact });
        tryAgain(connection);
      }, time);
    }
  }

  /** A connection is over, with all sessions on it. */
  function over(connection: Connection) {
    for (const control of [...connection.controls]) {
      drop(control);
      void closed(control.session);
    }
  }

  /**
   * Forgets a session, and closes its connection if it has no other. If that is done on purpose the other side is to see it: the
   * channels are closed before.
   */
  function drop(control: Control, onPurpose?: boolean) {
    const { connection, channel } = control;
    const { pc, channels } = connection;
    controls.delete(control.session);
    connection.controls = connection.controls.filter(other => other !== control);
    const last = connection.controls.at(-1);
    if (last) {
      channel?.close();
      if (last.closed) {
        over(connection);
      }
    } else {
      clearInterval(connection.late);
      clearTimeout(connection.search);
      clearTimeout(connection.outage);
      pc.ondatachannel = null;
      if (onPurpose && channel) {
        for (const open of [...channels, channel]) {
          open.close();
        }
        setTimeout(() => pc.close(), PARTING);
      } else {
        pc.close();
      }
    }
  }

  // --- Channels ---

  /** The channel of a session: what comes on it is for the machine. */
  function plug(control: Control, channel: RTCDataChannel) {
    const { connection, session } = control;
    const opened = () => step(async s => channelOpen(s, session, await certificate(connection.pc)));
    control.channel = channel;
    // Who answers waits for the first frame: what is sent before may be lost, in Chromium for instance, where the channel is said to
    // be open before the other end is.
    if (control.offers) {
      channel.onopen = opened;
    }
    channel.onmessage = ({ data }) => {
      control.frames += 1;
      if (control.frames === 1 && !control.offers) {
        void opened();
      }
      if (typeof data === 'string' && data.length <= FRAME_MAX && control.frames <= MOST_FRAMES) {
        void step(s => frameCame(s, session, data));
      } else {
        over(connection);
      }
    };
    channel.onclose = () => {
      if (!controls.has(session)) {
        return;
      }
      control.closed = true;
      const { pc } = connection;
      // If the page over there is gone, so is the rest by then.
      setTimeout(() => {
        const onPurpose = pc.connectionState === 'connected' && pc.sctp?.state === 'connected';
        // Over there a newer session may have taken its place already; here it will, too.
        if (!controls.has(session) || connection.controls.at(-1) !== control) {
          return;
        }
        if (connection.isLive || onPurpose) {
          drop(control);
          void closed(session, onPurpose);
        } else {
          tryAgain(connection);
        }
      }, PARTING / 2);
    };
  }

  /** The other side opened a channel. */
  function offered(connection: Connection, channel: RTCDataChannel) {
    if (channel.label === LABEL) {
      const control = connection.controls.find(({ offers, channel }) => !offers && !channel);
      if (control) {
        plug(control, channel);
      } else {
        channel.close();
      }
      return;
    }
    const { held } = connection;
    held.push({ channel, release: own(connection, channel) });
    if (held.length > MOST_HELD) {
      over(connection);
    }
    allow(connection);
  }

  /** Counts a channel as one of the app's, and keeps what comes on it until what this gives is called: then it comes again. */
  function own(connection: Connection, channel: RTCDataChannel): () => void {
    const messages: unknown[] = [];
    const keep = (event: MessageEvent) => {
      event.stopImmediatePropagation();
      messages.push(event.data);
      connection.heldBytes += 64 + (event.data.byteLength ?? event.data.length);
      if (!connection.mayExchange && connection.heldBytes > MOST_HELD_BYTES) {
        over(connection);
      }
    };
    channel.binaryType = 'arraybuffer';
    connection.channels.add(channel);
    channel.addEventListener('close', () => connection.channels.delete(channel));
    channel.addEventListener('message', keep);
    return () => {
      channel.removeEventListener('message', keep);
      for (const data of messages) {
        channel.dispatchEvent(new MessageEvent('message', { data }));
      }
    };
  }

  /** What was held back is handed over, if app data may flow now. */
  function allow({ contact, held, mayExchange }: Connection) {
    for (const { channel, release } of mayExchange && mayFlow(contact) ? held.splice(0) : []) {
      tell({ type: channel.label.startsWith(TOOLS) ? 'tool-channel' : 'channel', contact, channel });
      release();
      if (channel.readyState === 'closed') {
        channel.dispatchEvent(new Event('close'));
      }
    }
  }

  function hear(event: Event) {
    if (event.type === 'connected') {
      const connection = controls.get(event.session)?.connection;
      if (!connection) {
        // It ended just now, of which the machine is about to hear.
        return;
      }
      connection.mayExchange = event.mayExchange;
      if (connection.isLive) {
        // To the app it is the same session, on another path.
        resumed(connection);
      } else {
        const before = live(event.contact);
        if (before) {
          // The other side lost that one, and this one did not notice.
          for (const control of before.controls) {
            drop(control, true);
          }
          tell({ type: 'disconnected', contact: event.contact });
        }
        connection.isLive = true;
        tell(event);
      }
      allow(connection);
      return;
    }
    const connection = event.type === 'may-exchange' ? live(event.contact) : undefined;
    if (connection) {
      connection.mayExchange = true;
    }
    tell(event);
    if (connection) {
      allow(connection);
    }
  }

  return {
    carryOut,
    hear,
    live,
    open(contact, label, init) {
      const connection = live(contact);
      if (!connection?.mayExchange) {
        return undefined;
      }
      const channel = connection.pc.createDataChannel(label, init);
      // The other side may speak before this one knows that the channel is open, and the app listens only after that.
      const release = own(connection, channel);
      channel.addEventListener('open', () => setTimeout(release));
      return channel;
    },
    async drain(contact) {
      const channels = [...controls.values()].flatMap(({ connection }) =>
        contact === undefined || connection.contact === contact ? [...connection.channels] : [],
      );
      const gone = channels.map(
        channel =>
          new Promise(resolve => {
            channel.addEventListener('close', resolve);
            // Closed only when the other side has all of it.
            channel.close();
          }),
      );
      await within(FAREWELL, Promise.all(gone));
    },
    rename(from, to) {
      for (const { connection } of controls.values()) {
        if (connection.contact === from) {
          connection.contact = to;
        }
      }
    },
    close() {
      for (const control of [...controls.values()]) {
        drop(control);
      }
    },
  };
}

/** The SHA-256 of the other end's certificate, if the browser shows it. */
async function certificate(pc: RTCPeerConnection): Promise<Bytes | undefined> {
  const [shown] = pc.sctp?.transport?.getRemoteCertificates?.() ?? [];
  return shown && new Uint8Array(await crypto.subtle.digest('SHA-256', shown));
}
