// The client: what an app shares and connects with.
//
// What it does is in `sessions/`; `driver.ts` runs that.

import { indexedDb } from './browser/indexed-db.js';
import { watch } from './browser/presence.js';
import { LABEL } from './browser/webrtc.js';
import { type Connectoid, formatConnectoid, isExt, RELAYS_MAX } from './connectoid.js';
import {
  type Contact,
  connectoidOf,
  type Ended,
  isUnconnected,
  type LinkState,
  linkBox,
  mayExchange,
  mustVerify,
  type Verification,
} from './contact.js';
import { type Driver, driver, drivers, report, type Take } from './driver.js';
import { fail, missing } from './errors.js';
import type { ClientEvent, Listener, Listeners } from './events.js';
import { type FoundLink, findConnectoid, linkIn } from './link.js';
import { href } from './link-of.js';
import { type RelayUrl, relayUrl } from './relay-url.js';
import { type Sas, sasOf } from './seal/transcript.js';
import {
  connect,
  disconnect,
  named,
  notConnected,
  reconnect,
  rename,
  renew,
  share,
  trimmed,
  unshare,
  verify,
  wokeUp,
} from './sessions/index.js';
import { type Live, lives } from './sessions/state.js';
import type { Storage } from './storage.js';
import { within } from './within.js';

/** Milliseconds, as all times here: of the page without anybody, and of a link. */
const IDLE_AFTER = 3_600_000;
const LINK_LIFE = 7 * 24 * 3_600_000;

/** How long `unshare` waits for relays. */
const UNSHARE = 13_000;

/** How a client runs. */
export interface Options {
  /** The relays at which this app's boxes are: one to four, `https`, or `http` on this machine. `share` needs them. */
  relays?: string[] | undefined;
  /** The API key for these relays, if they ask for one. It becomes part of the links. */
  ext?: string | undefined;
  /** The name of the IndexedDB database, and of the lock that tabs share. `connectoid`, if absent. */
  name?: string | undefined;
  /** Where contacts and keys are kept. IndexedDB, if absent. */
  storage?: Storage | undefined;
  /** The STUN and TURN servers. None, if absent: then only two who see each other's addresses connect, in one network mostly. */
  iceServers?: RTCIceServer[] | undefined;
  /** What makes peer connections: that of the browser, if absent. With `null`, or where there is none, there are only notes. */
  webrtc?: typeof RTCPeerConnection | null | undefined;
  /** Where there is no document: whether to wait at the relays for whatever comes, instead of checking once a minute. */
  foreground?: boolean | undefined;
  /** After how many milliseconds without anybody at the page nothing is checked any more, until somebody is. An hour, if absent; `Infinity`: never. */
  idleAfter?: number | undefined;
  /** Whether this tab takes over from another one that runs the contacts. It does, if absent. */
  takeOver?: boolean | undefined;
  /**
   * Whether a session that broke is made again without being asked, and at the next start one that was open when the page was closed.
   * It is, if absent; not after `disconnect` by either side.
   */
  reconnect?: boolean | undefined;
  /** Listeners that miss nothing. */
  on?: Listeners | undefined;
}

/** How `share` makes a link. */
export interface ShareOptions {
  /** The page that the link leads to. This page, if absent. */
  url?: string | URL | undefined;
  /** Milliseconds until nobody can use it any more. Seven days, if absent; never, if `Infinity`. */
  expiresIn?: number | undefined;
  /** Makes a link without a secret, for a place where others can read it: its contact is unproven until both compared their strings. */
  withoutSecret?: boolean | undefined;
}

/** Where a contact is: its link waits to be used; an attempt to connect goes on; there is a session; there is none; it is being deleted. */
export type ContactState = 'waiting' | 'connecting' | 'connected' | 'offline' | 'leaving';

/** What an app may know of a contact: a view as of now, without keys. Times are Unix milliseconds. */
export interface ContactInfo {
  readonly name: string;
  readonly made: number;
  /** When the other side last proved to be there. */
  readonly lastSeen: number | undefined;
  readonly state: ContactState;
  /** Whether app data may flow in the open session. */
  readonly mayExchange: boolean;
  /** Whether no packets get through in the open session, and another path is searched. */
  readonly interrupted: boolean;
  /** Why no relay of this contact is of use, if so, as in the event `relays-down`. */
  readonly relaysDown: string | undefined;
  readonly verification: Verification;
  /** The short authentication string to compare; none before the first session. */
  readonly sas: Sas | undefined;
  /** Whether app data waits until the two people compared their strings. */
  readonly mustVerify: boolean;
  /** How far the link is that was shared; none if the other side shared one. */
  readonly linkState: LinkState | undefined;
  /** The connectoid that was shared, as long as it may be used. */
  readonly connectoid: string | undefined;
  /** When it expires. */
  readonly expires: number | undefined;
  /** When somebody else was first seen to use the link. */
  readonly usedTwice: number | undefined;
  /** How the last attempt to connect ended without a session. */
  readonly ended: Ended | undefined;
  /** How many notes wait: `connectoid/notes` gives them. */
  readonly notes: number;
}

/**
 * Runs the contacts of an app.
 *
 * All of its calls are done one after the other. A call whose promise is fulfilled has stored what must be stored; one that rejects
 * with the code `storage` took effect, but is not stored yet, and nothing of it leaves this device before it is. What rejects is a
 * `ConnectoidError`.
 *
 * The peer connections are the library's: an app opens data channels on them, and negotiates nothing else.
 */
export class Client {
  readonly #relays: RelayUrl[];
  readonly #ext: string | undefined;
  readonly #hasWebrtc: boolean;
  readonly #driver: Driver;
  readonly #unwatch: (() => void) | undefined;
  readonly #listeners = new Set<[type: string, listener: (event: never) => void]>();
  /** The contacts that an app was last given, and those that it was told of. */
  #contacts: readonly ContactInfo[] = [];
  #told = this.#contacts;

  /**
   * Opens the contacts that are stored and begins to run them. Its events come later than whatever follows `await` at once.
   *
   * Rejects with `unsupported` where IndexedDB, Web Locks or WebCrypto are missing (a page must come over https or from localhost),
   * and with `argument` if an option makes no sense.
   */
  static async open(options: Options = {}): Promise<Client> {
    const client = new Client(options);
    try {
      await client.#driver.open(options.takeOver ?? true);
    } catch (error) {
      await client.close();
      throw error;
    }
    return client;
  }

  private constructor(options: Options) {
    const {
      relays = [],
      ext,
      name = 'connectoid',
      iceServers = [],
      webrtc: Rtc = globalThis.RTCPeerConnection,
      foreground = false,
      idleAfter = IDLE_AFTER,
      on = {},
    } = options;
    if (!globalThis.crypto?.subtle) {
      missing('WebCrypto');
    }
    if (!Array.isArray(relays) || relays.length > RELAYS_MAX) {
      argument('relays');
    }
    this.#relays = relays.map(text => relayUrl(text) ?? argument('relays'));
    if (ext && !isExt(ext)) {
      argument('ext');
    }
    if (!(idleAfter > 0)) {
      argument('idleAfter');
    }
    this.#ext = ext || undefined;
    const make = Rtc ? () => new Rtc({ iceServers }) : undefined;
    try {
      // What it does not take now it would not take later.
      make?.().close();
    } catch (cause) {
      argument('iceServers', cause);
    }
    this.#hasWebrtc = !!make;
    for (const [type, listener] of Object.entries(on)) {
      this.on(type as ClientEvent['type'], listener as Listener<ClientEvent['type']>);
    }
    const runs = driver(
      options.storage ?? indexedDb(name),
      make,
      () => page?.now() ?? { foreground, idle: false },
      event => this.#tell(event),
      () => {
        if (this.contacts !== this.#told) {
          this.#told = this.#contacts;
          this.#tell({ type: 'changed' });
        }
      },
      options.reconnect ?? true,
    );
    const page =
      globalThis.document &&
      watch(idleAfter, {
        wokeUp: () => runs.react(wokeUp),
        left: () => runs.connections.close(),
      });
    this.#driver = runs;
    drivers.set(this, runs);
    this.#unwatch = page?.end;
  }

  /** Whether this client runs the contacts. Another tab of the app may do. */
  get active(): boolean {
    return this.#driver.isActive();
  }

  /** All contacts, by name: the same array until the event `changed`, and who did not change is the same object in the next. */
  get contacts(): readonly ContactInfo[] {
    const before = this.#contacts;
    const infos = lives(this.#driver.state())
      .map(live => {
        const info = this.#info(live);
        const same = before.find(({ name }) => name === info.name) ?? info;
        return JSON.stringify(same) === JSON.stringify(info) ? same : info;
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    if (infos.length !== before.length || infos.some((info, at) => info !== before[at])) {
      this.#contacts = Object.freeze(infos);
    }
    return this.#contacts;
  }

  /** The contact of this name. */
  contact(name: string): ContactInfo | undefined {
    return this.contacts.find(contact => contact.name === trimmed(name));
  }

  /**
   * Makes a contact and a link for it, which is stored by then: `url` with the connectoid in its fragment, beside what else is there;
   * the connectoid alone where there is no URL. Give it to one person.
   */
  async share(name: string, options: ShareOptions = {}): Promise<string> {
    const { url, expiresIn = LINK_LIFE, withoutSecret = false } = options;
    const link = linkAt(url);
    if (!(expiresIn > 0)) {
      argument('expiresIn');
    }
    const sharing = { relays: this.#relays, ext: this.#ext, expiresIn, withoutSecret };
    return link(await this.#call(s => share(s, name, sharing)));
  }

  /** The link that was shared, as long as it may be used. `url` is as in `share`. */
  link(name: string, url?: string | URL): string | undefined {
    const connectoid = this.#openLink(this.#find(name)?.contact);
    return connectoid && linkAt(url)(connectoid);
  }

  /** Connects to whoever shared a link, under a name of one's own, and goes on trying for 48 hours. */
  async connect(link: string | URL | Location, name: string): Promise<void> {
    this.#needWebrtc();
    const found = parse(link);
    await this.#call(s => connect(s, found, name));
  }

  /** Connects to a contact again, and goes on trying for 48 hours. */
  async reconnect(name: string): Promise<void> {
    this.#needWebrtc();
    await this.#call(s => reconnect(s, name));
  }

  /** Makes the session anew, on another path if there is one. Data channels stay. */
  async renew(name: string): Promise<void> {
    await this.#call(s => renew(s, name));
  }

  /** Ends the session and any attempt to make one. What was sent on its channels has two seconds to arrive. */
  async disconnect(name: string): Promise<void> {
    await this.#driver.connections.drain(trimmed(name));
    await this.#call(s => disconnect(s, name));
  }

  /** Says whether the short authentication strings are the same on both sides. If not, the session ends. */
  async verify(name: string, same: boolean): Promise<void> {
    await this.#call(s => verify(s, name, same));
  }

  /**
   * Ends a contact: its boxes are deleted at the relays, then its keys. Fulfilled when they are gone, or after 13 seconds, if a relay does not
   * answer: then that goes on. It cannot be undone.
   */
  async unshare(name: string): Promise<void> {
    await this.#call(s => unshare(s, name));
    const gone = this.#driver.until(s =>
      s.contacts.has(trimmed(name)) || s.outputs.length ? undefined : true,
    );
    await within(UNSHARE, gone);
  }

  /** Gives a contact another name. */
  async rename(name: string, to: string): Promise<void> {
    await this.#call(s => {
      this.#driver.connections.rename(trimmed(name), rename(s, name, to));
    });
  }

  /**
   * Opens a data channel. Waits until a session is open and app data may flow; the channel is open by then, and gives binary data as
   * `ArrayBuffer`. Rejects with `not-connected` if there is no session and no attempt to make one, or if that ends first.
   */
  async open(name: string, label: string, init?: RTCDataChannelInit): Promise<RTCDataChannel> {
    if (label === LABEL) {
      argument('label');
    }
    let wasOpen = false;
    const channel = await this.#driver.until(s => {
      const live = named(s, name);
      const { state, mayExchange } = this.#info(live);
      const isOpen = state === 'connected';
      if (!isOpen && (wasOpen || state === 'offline' || state === 'leaving')) {
        notConnected();
      }
      wasOpen = isOpen;
      try {
        return mayExchange ? this.#driver.connections.open(live.contact.name, label, init) : undefined;
      } catch (cause) {
        argument('init', cause);
      }
    });
    await Promise.race([
      new Promise(resolve => {
        channel.addEventListener('open', resolve);
        channel.addEventListener('close', resolve);
      }),
      // A connection that is closed on this side tells its channels nothing.
      this.#driver.until(() => channel.readyState !== 'connecting' || undefined),
    ]);
    return channel.readyState === 'open' ? channel : notConnected();
  }

  /** Takes over from the tab that runs the contacts. Fulfilled when this one does. */
  async takeOver(): Promise<void> {
    await this.#driver.takeOver();
  }

  /** Adds a listener. What it returns removes it. */
  on<T extends ClientEvent['type']>(type: T, listener: Listener<T>): () => void {
    const added: [string, Listener<T>] = [type, listener];
    this.#listeners.add(added);
    return () => {
      this.#listeners.delete(added);
    };
  }

  /** Ends the sessions and all else; what was sent on channels has two seconds to arrive. Fulfilled when another client may open the same storage. */
  async close(): Promise<void> {
    this.#unwatch?.();
    await this.#driver.close();
  }

  #call<T>(take: Take<T>): Promise<T> {
    return this.#driver.call(take);
  }

  #tell(event: ClientEvent): void {
    for (const added of [...this.#listeners]) {
      try {
        // One of them may have removed it just now.
        if (added[0] === event.type && this.#listeners.has(added)) {
          added[1](event as never);
        }
      } catch (error) {
        report(error);
      }
    }
  }

  #find(name: string): Live | undefined {
    return this.#driver.state().contacts.get(trimmed(name));
  }

  #info(live: Live): ContactInfo {
    const { contact } = live;
    const { name, made, lastSeen, verification, sas, link, ended, inbox } = contact;
    const connectoid = this.#openLink(contact);
    const session = this.#driver.connections.live(name);
    return Object.freeze({
      name,
      made,
      lastSeen,
      state: this.#state(live),
      mayExchange: !!session?.mayExchange && mayExchange(contact),
      interrupted: !!session?.outage,
      relaysDown: live.toldDown,
      verification,
      sas: sas && sasOf(sas),
      mustVerify: mustVerify(contact),
      linkState: link?.state,
      connectoid: connectoid && formatConnectoid(connectoid),
      expires: connectoid && link?.expires,
      usedTwice: link?.usedTwice,
      ended,
      notes: inbox.filter(this.#driver.isStored).length,
    });
  }

  #state({ contact: { name, leaving, connecting, link }, pending }: Live): ContactState {
    if (leaving) {
      return 'leaving';
    }
    if (this.#driver.connections.live(name)) {
      return 'connected';
    }
    if (this.active && (connecting || pending)) {
      return 'connecting';
    }
    return link && isUnconnected(link) ? 'waiting' : 'offline';
  }

  #openLink(contact: Contact | undefined): Connectoid | undefined {
    const isOpen = contact?.link?.state === 'open' && this.#driver.isStored(contact);
    const box = isOpen ? linkBox(contact) : undefined;
    return box && connectoidOf(box);
  }

  #needWebrtc(): void {
    if (!this.#hasWebrtc) {
      missing('WebRTC');
    }
  }
}

/** Makes links to a page: this one, if none is given and there is one. */
function linkAt(url: string | URL | undefined): (connectoid: Connectoid) => string {
  const page = url ?? globalThis.location?.href;
  if (page === undefined) {
    return formatConnectoid;
  }
  try {
    const { href } = new URL(page, globalThis.location?.href);
    return connectoid => linkIn(href, connectoid);
  } catch (cause) {
    argument('url', cause);
  }
}

/** What stands in a link, which must be one. */
export function parse(link: string | URL | Location): FoundLink {
  const found = findConnectoid(href(link));
  return typeof found === 'string' ? fail('bad-link', `no link (${found}): ask for it again`) : found;
}

/** Throws that an option or argument is not what it has to be. */
export function argument(name: string, cause?: unknown): never {
  fail('argument', `bad ${name}`, cause);
}
