// What there is to be seen and done: all that the parts on the screen know of the app behind them.

import type { ContactState, Sas, Verification } from '../../src/index.js';
import type { InspectedBox } from '../../src/inspect.js';

/** An entry of a list. */
export interface Item {
  readonly id: string;
  readonly text: string;
  /** Whether it was bought. */
  readonly done: boolean;
}

/** Why somebody is not connected, if there is more to say than that. */
export type Trouble =
  | 'no-path'
  | 'link-used'
  | 'declined'
  | 'gave-up'
  | 'link-expired'
  | 'relay-down'
  /** The other side shares another list by this link than it said. */
  | 'wrong-list'
  /** The other side sends what is no list. */
  | 'no-list'
  /** What both have is too large for one list. */
  | 'too-large';

/** Somebody with whom a list is shared. */
export interface Person {
  /** The name of the contact: `<id of the list>/<name>`. */
  readonly contact: string;
  /** As people call them here. */
  readonly name: string;
  /** How they call themselves, if they said it since the app was opened. Not proven: a suggestion. */
  readonly ownName?: string | undefined;
  readonly state: ContactState | 'interrupted';
  /** Whether lists are exchanged with them now: what one changes the other one has at once. Else `connected` is not all that it takes. */
  readonly flows: boolean;
  readonly trouble?: Trouble | undefined;
  /** The link that was made for them, as long as nobody used it, and when it expires (Unix milliseconds). */
  readonly link?: string | undefined;
  readonly expires?: number | undefined;
  /** What ends `link`, and any link that was made for them: the rest goes with the list's name, and changes with it. There with `link`. */
  readonly connectoid?: string | undefined;
  /** When they were last there. Unix milliseconds. */
  readonly lastSeen?: number | undefined;
  /** What the two compare; none before they connected once. */
  readonly sas?: Sas | undefined;
  readonly verification: Verification;
  /** Whether nothing of the list flows until they compared. */
  readonly mustVerify: boolean;
  /** When somebody else used the link, too. */
  readonly usedTwice?: number | undefined;
}

/** A list. */
export interface ListView {
  readonly id: string;
  readonly name: string;
  /** In their order; what is bought among them. */
  readonly items: readonly Item[];
  /** How many more entries there are, which are not shown. */
  readonly hidden: number;
  readonly people: readonly Person[];
  /** Whether it was joined and nothing of it came yet. */
  readonly isAwaited: boolean;
}

/** Something that must be read. */
export interface Alarm {
  readonly id: number;
  readonly alarm:
    | 'link-used-twice'
    | 'strings-differ'
    | 'no-proof'
    | 'broken-commitment'
    | 'foreign-certificate'
    | 'too-many-offers';
  readonly list: string;
  readonly contact: string;
  readonly name: string;
}

/** Something that people should hear of once. */
export interface News {
  readonly id: number;
  /** `unshared`: this person ended it; the list stays. */
  readonly news: 'unshared';
  readonly list: string;
  readonly name: string;
}

/** A link that leads to somebody's list: what stands in the address bar. */
export interface Invitation {
  readonly list: string;
  readonly listName: string;
  /** How whoever made it calls themselves. Not proven. */
  readonly from: string;
  /** The link, whole. */
  readonly link: string;
}

/** All that is on the screen, as of now: another object after each change. */
export interface View {
  /** Whether this tab runs the app; another one may. */
  readonly isActive: boolean;
  /** How the user is called by the others; empty as long as nobody asked. */
  readonly me: string;
  /** The relay at which this app's boxes are. */
  readonly relay: string;
  /** The STUN servers that are asked, with blanks between them; empty if none is. */
  readonly stun: string;
  readonly lists: readonly ListView[];
  readonly alarms: readonly Alarm[];
  readonly news: readonly News[];
  /** Why the relay is of no use now. */
  readonly relayDown?: string | undefined;
  /** That something could not be stored on this device. */
  readonly notStored: boolean;
  /** The data of this site was deleted under the page: nothing is stored any more until it is loaded again. */
  readonly deleted: boolean;
}

/**
 * Why a list takes nothing more: as many entries as are shown; or as large as it may be, with all that ever was in it. Then nothing can
 * be added, and in the end not even deleted.
 */
export type Full = 'too-many' | 'too-large';

/**
 * The app behind the screen. What it does is seen by the next view; what takes longer gives a promise. What changes a list throws
 * an error whose `code` is one of `Full` if that is full.
 */
export interface App {
  view(): View;
  /** Calls `changed` after each change, until what it returns is called. */
  subscribe(changed: () => void): () => void;

  callMe(name: string): void;
  /** Makes an empty list, and gives its id. */
  makeList(name: string): string;
  renameList(list: string, name: string): void;
  /** Ends it with everybody, and forgets it here. */
  deleteList(list: string): Promise<void>;

  /** Adds an entry at the end, and gives its id. */
  add(list: string, text: string): string;
  edit(list: string, item: string, text: string): void;
  tick(list: string, item: string, done: boolean): void;
  /** Moves an entry before another one; to the end if there is none. */
  move(list: string, item: string, before: string | undefined): void;
  remove(list: string, items: readonly string[]): void;
  /** Takes `remove` back. */
  restore(list: string, items: readonly string[]): void;

  /** Makes a link by which one person comes to a list. Rejects with a `ConnectoidError`: `name-taken`, for one. */
  share(list: string, name: string): Promise<string>;
  /** Uses a link, and gives the id of its list. */
  join(invitation: Invitation): Promise<string>;
  /** Tries again now: to connect, or to exchange the list with who is connected. */
  reconnect(contact: string): Promise<void>;
  verify(contact: string, same: boolean): Promise<void>;
  rename(contact: string, name: string): Promise<void>;
  /** Ends it with this person. Everybody keeps what they have of the list. */
  unshare(contact: string): Promise<void>;
  /** An alarm was read. */
  read(alarm: number): void;
  /** News were heard. */
  hear(news: number): void;
  /**
   * What the relays store in this device's boxes for a list's people, or for everybody, as its owner is told by them: nothing is taken
   * away. Rejects if this tab does not run the app, and with the reason of `signal`.
   */
  inspect(list: string | undefined, signal: AbortSignal): Promise<readonly InspectedBox[]>;
  /** Takes the app over from another tab. */
  useHere(): Promise<void>;
}
