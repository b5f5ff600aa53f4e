// What calls throw.

/** Why a call rejected: but for `storage`, it had no effect. */
export type ErrorCode =
  /** A contact needs a name. */
  | 'no-name'
  /** There is a contact of this name. */
  | 'name-taken'
  /** There is none. */
  | 'no-contact'
  /** A link names 1 to 4 relays, which are https, or http on this machine. */
  | 'relays'
  /** This is no link, or one that was cut or changed on its way. */
  | 'bad-link'
  /** The link was made here. */
  | 'own-link'
  /** The link was used here before. Its owner would take a second use for somebody else's. */
  | 'link-taken'
  /** Some relays of the link are on this machine, others are not. */
  | 'this-machine'
  /** Nobody used the link yet. */
  | 'nobody-there'
  /** No session is open. */
  | 'not-connected'
  /** There is no short authentication string yet. */
  | 'nothing-to-compare'
  /** It does not fit into a message. */
  | 'too-big'
  /** Another tab of this app runs the contacts, or another client has the file. */
  | 'inactive'
  /** The client was closed. */
  | 'closed'
  /** There is no IndexedDB, Web Locks, WebCrypto or WebRTC, or it failed; `cause` says more. */
  | 'unsupported'
  /** What must be stored could not be yet: it is tried again. Or what is kept cannot be read: `cause` says more. */
  | 'storage'
  /** The data of the site was deleted while the page was open: load it again. */
  | 'deleted'
  /** No relay took it. */
  | 'not-sent'
  /** An option or argument is not what it has to be. */
  | 'argument';

/** Why a step of the library's own came to nothing: no call of an app throws these. */
type Inner =
  /** The session is over, or something newer took its place. */
  | 'over'
  /** An SDP has no fingerprint, or more than one. */
  | 'fingerprint';

/** What calls throw. A program looks at `code`; `message` is for people, and says what to do. */
export class ConnectoidError extends Error {
  override name = 'ConnectoidError';

  constructor(
    /** Why. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Throws one. Most codes say all there is to say. */
export function fail(code: ErrorCode | Inner, message = code.replaceAll('-', ' '), cause?: unknown): never {
  throw new ConnectoidError(code as ErrorCode, message, { cause });
}

/** Throws that something is missing, and what helps mostly. */
export function missing(what: string): never {
  fail('unsupported', `no ${what}: https?`);
}
