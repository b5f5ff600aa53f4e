// What the app says of people and what happens between them, in words that need no explanation: all of it is in this file.

import type { ErrorCode } from '../../src/index.js';
import type { Alarm, Full, ListView, Person, Trouble } from './view.js';

/** How somebody stands, at a glance. Each has a sign of its own beside its colour. */
export type Mark = 'here' | 'away' | 'waiting' | 'wrong';

/** What can be done about it first. */
export type Remedy = 'show-link' | 'compare' | 'try-again' | 'unshare';

/** What is said of somebody. */
export interface Words {
  readonly mark: Mark;
  /** A few words. */
  readonly short: string;
  /** What it means, and what to do if there is something. */
  readonly more: string;
  readonly remedy?: Remedy | undefined;
  /** Whether it must not be overlooked: it may be that it is not they who are there. */
  readonly isGrave?: boolean;
}

/** Letters that are read from right to left, and marks that say how to read. */
const OTHER_WAY =
  /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc\ud802\ud803\ud83a\ud83b]/;

/** A text of others among words of the app: whichever way it is read, the words around it stay in their order. */
export function isolated(text: string): string {
  return OTHER_WAY.test(text) ? `\u2068${text}\u2069` : text;
}

/** “Bob”, “Bob and Carol”, “Bob, Carol and 3 more”. */
export function namesOf(people: readonly Pick<Person, 'name'>[]): string {
  const names = people.map(({ name }) => isolated(name));
  if (names.length > 3) return `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`;
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : (names[0] ?? '');
}

/**
 * What there is to say of somebody, as things stand. `isLate`: they have been connected for long, and yet nothing flows. `isOnline`:
 * what the browser says.
 */
export function wordsOf(person: Person, isLate = false, isOnline = true): Words {
  const { state, flows, trouble, link, sas, verification, mustVerify, usedTwice } = person;
  const name = isolated(person.name);
  if (verification === 'mismatch') {
    return {
      mark: 'wrong',
      isGrave: true,
      short: 'The emoji differed',
      more: `Nothing goes to ${name} or comes from there any more. Unshare, and hand over a new link face to face.`,
      remedy: 'unshare',
    };
  }
  if (mustVerify && sas) {
    return {
      mark: 'wrong',
      isGrave: true,
      short: 'Compare first',
      more: `${whyHeld(person)} Until you compared seven emoji with ${name}, nothing of the list goes either way.`,
      remedy: 'compare',
    };
  }
  if (usedTwice !== undefined && verification !== 'verified') {
    return {
      mark: 'wrong',
      isGrave: true,
      short: 'Somebody else used the link, too',
      more: `It is not certain who is there. Unshare, and give ${name} a new link another way.`,
      remedy: 'unshare',
    };
  }
  if (trouble === 'relay-down' && state !== 'connected' && !isOnline) {
    return { mark: 'away', short: 'Offline', more: 'Changes wait here, and are sent later.' };
  }
  if (trouble && state !== 'connected') {
    return TROUBLES[trouble](name);
  }
  switch (state) {
    case 'waiting':
      return link
        ? {
            mark: 'waiting',
            short: `Waiting for ${name} to open the link`,
            more: 'Nobody has used it yet.',
            remedy: 'show-link',
          }
        : {
            mark: 'waiting',
            short: `${name} opened the link`,
            more: 'It goes on as soon as you are both here.',
          };
    case 'connecting':
      return sas
        ? {
            mark: 'waiting',
            short: `Looking for ${name}`,
            more: `It connects as soon as ${name} has the list open, too.`,
          }
        : {
            mark: 'waiting',
            short: `Waiting for ${name}`,
            more: `The first time, ${name}’s app has to be open, too.`,
          };
    case 'connected':
      if (trouble === 'wrong-list' || trouble === 'no-list' || trouble === 'too-large') {
        return TROUBLES[trouble](name);
      }
      if (flows) {
        return {
          mark: 'here',
          short: 'Connected',
          more: 'What one of you changes, the other one sees at once.',
        };
      }
      return isLate
        ? {
            mark: 'waiting',
            short: 'Connected, but the list does not come',
            more: 'Nothing is lost: changes wait here.',
            remedy: 'try-again',
          }
        : { mark: 'waiting', short: 'Connecting…', more: 'The list comes in a moment.' };
    case 'interrupted':
      return {
        mark: 'waiting',
        short: 'Connection lost',
        more: 'Another way is being looked for. Nothing is lost: changes wait here.',
      };
    default:
      return sas
        ? { mark: 'away', short: 'Not here now', more: `Changes reach ${name} when you are both here.` }
        : {
            mark: 'away',
            short: 'Not connected yet',
            more: `You and ${name} have to have the list open at the same time once.`,
            remedy: 'try-again',
          };
  }
}

type Shared = Pick<ListView, 'people' | 'isAwaited'>;

/** Whether all that came of the link to a list was that somebody else had used it before. */
export function isLost({ people, isAwaited }: Shared): boolean {
  return isAwaited && people.length > 0 && people.every(({ trouble }) => trouble === 'link-used');
}

/** What it means to unshare somebody. */
export function whatUnshareMeans(who: string, { people, isAwaited }: Shared): string {
  if (isAwaited) return 'Nothing came by this link.';
  const name = isolated(who);
  return (
    `${name} keeps what is in the list by now, and gets nothing more from you. ` +
    (people.length > 1 ? `Others who share it with ${name} go on doing so. ` : '') +
    'To share it again, make a new link.'
  );
}

/** Why nothing flows before two people compared. */
export function whyHeld({ name, usedTwice }: Person): string {
  return usedTwice === undefined
    ? 'Others could have read the link on its way.'
    : `Two people used the link that was meant for ${isolated(name)}.`;
}

/** What joining a list means that is here already: whoever made the link comes to it, and to its people. */
export function whatJoiningMeans({ name, people }: ListView): string {
  return (
    `You have this list already, as “${isolated(name)}”. Whoever made this link gets all that is on it, and may change it. ` +
    (people.length > 0 ? `It is shared with ${namesOf(people)} already.` : 'It is shared with nobody now.')
  );
}

/** What is said of a link from somebody who is called like one of its people; nothing of others. */
export function whatNamesakesMean({ people }: ListView, from: string): string | undefined {
  const name = isolated(from);
  return people.some(({ name, ownName }) => [name, ownName].some(other => other && isSame(other, from)))
    ? `${name} is in this list already: this link is somebody else’s, or from another device of ${name}. Ask ${name}.`
    : undefined;
}

/** Whether two names are the same to who reads them. */
export const isSame = (one: string, other: string) => one.toLowerCase() === other.toLowerCase();

const TROUBLES: Record<Trouble, (name: string) => Words> = {
  'no-path': name => ({
    mark: 'wrong',
    short: 'No way through',
    more: `${name} is there, but no way leads from your network to theirs. Being in the same Wi-Fi helps. Tries go on.`,
    remedy: 'try-again',
  }),
  'link-used': name => ({
    mark: 'wrong',
    isGrave: true,
    short: 'Somebody else used this link before you',
    more:
      `If that was not you on another device, somebody may have read your messages. Tell ${name} by phone or face to face, ` +
      'unshare here, and ask for a new link.',
    remedy: 'unshare',
  }),
  declined: name => ({
    mark: 'wrong',
    short: 'Refused',
    more: `${name}’s app did not want to connect. Ask ${name}, and then for a new link.`,
    remedy: 'unshare',
  }),
  'gave-up': name => ({
    mark: 'away',
    short: 'Nobody answered for two days',
    more: `Ask ${name} to open the list, and try again meanwhile.`,
    remedy: 'try-again',
  }),
  'link-expired': name => ({
    mark: 'wrong',
    short: 'The link is too old',
    more: `It was not used in time. Take it back, and make ${name} a new one.`,
    remedy: 'unshare',
  }),
  'relay-down': name => ({
    mark: 'away',
    short: 'The relay cannot be reached',
    more: `So ${name} cannot be found now. Changes wait here, and tries go on by themselves.`,
  }),
  'wrong-list': name => ({
    mark: 'wrong',
    isGrave: true,
    short: 'Another list came',
    more: `${name}’s app sent another list than the link named. Nothing of it was taken. Unshare, and ask for a new link.`,
    remedy: 'unshare',
  }),
  'no-list': name => ({
    mark: 'wrong',
    isGrave: true,
    short: 'What came is no list',
    more: `Nothing of it was taken. Both reload the page; if it comes again, unshare ${name}.`,
    remedy: 'try-again',
  }),
  'too-large': name => ({
    mark: 'wrong',
    isGrave: true,
    short: 'The list is too large',
    more: `What you and ${name} have of it together is more than a list holds. Go on with a new one.`,
  }),
};

/** What is said of an alarm: what happened, what it may mean, what to do now. */
export interface AlarmWords {
  readonly title: string;
  readonly what: string;
  readonly means: string;
  readonly now: string;
}

export function wordsOfAlarm({ alarm, name }: Alarm, list: string): AlarmWords {
  return ALARMS[alarm](isolated(name), isolated(list));
}

const ALARMS: Record<Alarm['alarm'], (name: string, list: string) => AlarmWords> = {
  'link-used-twice': (name, list) => ({
    title: `Two people used ${name}’s link`,
    what: `The link to “${list}” was meant for ${name} alone. Somebody else used it, too. Nothing of the list goes either way now.`,
    means: `It may be harmless: ${name} opened it on two devices. Or somebody read it on its way, and one of the two is not ${name}.`,
    now: `Call or meet ${name}, and compare seven emoji. If you cannot, or they differ: unshare, and give ${name} a new link another way.`,
  }),
  'strings-differ': (name, list) => ({
    title: 'The emoji differ',
    what: `You said that ${name} sees other emoji than you do. The connection was ended, and nothing of “${list}” goes either way.`,
    means: `Somebody may sit between the two of you, and may have read what went through. Or you looked at those of somebody else.`,
    now: `If you are not sure, compare again. Otherwise unshare, and hand ${name} a new link face to face: let ${name} scan it.`,
  }),
  'no-proof': (name, list) => ({
    title: `Somebody may have posed as ${name}`,
    what: `Whoever answered for ${name} could not prove it. The connection was ended before anything of “${list}” went through it.`,
    means:
      'It may have been a fault. Or somebody who sees your messages, the relay perhaps, tried to get in between.',
    now: `Compare seven emoji with ${name}. If they are the same, all is well. If this comes again, unshare and share anew.`,
  }),
  'broken-commitment': (name, list) => ({
    title: `Somebody may have posed as ${name}`,
    what: `The other end did not keep to what it had announced. The connection was ended before anything of “${list}” went through it.`,
    means:
      'That is how one would try to make the emoji come out alike on both sides, while sitting between you.',
    now: `Compare seven emoji with ${name}, by phone or face to face. If they differ, or this comes again, unshare and share anew.`,
  }),
  'foreign-certificate': (name, list) => ({
    title: `The connection did not lead to ${name}`,
    what: `It ended at another device than the one that had signed for it. It was ended before anything of “${list}” went through it.`,
    means: 'Somebody on the way may have tried to get in between.',
    now: `Compare seven emoji with ${name}. If they differ, or this comes again, unshare and share anew. Another network may help.`,
  }),
  'too-many-offers': (name, list) => ({
    title: `Somebody kept trying ${name}’s link`,
    what: `So many tries came to the link to “${list}” that it was closed. None of them got in.`,
    means: `The link may have come to where others read it. ${name} cannot use it any more, either.`,
    now: `Unshare ${name}, make a new link, and send it another way.`,
  }),
};

/** What is said when something that was asked for had no effect. `name`: whom it was about. */
export function wordsOfError(error: unknown, name: string): string {
  const code = (error as { code?: ErrorCode | Full } | undefined)?.code;
  return (
    (code && ERRORS[code]?.(isolated(name))) ||
    'That did not work. Try it again; if it stays so, reload the page.'
  );
}

const ERRORS: { readonly [code in ErrorCode | Full]?: (name: string) => string } = {
  'no-name': () => 'A name is needed.',
  'name-taken': name => `There is a ${name} in this list already. Take another name, like “${name} at work”.`,
  'no-contact': name => `${name} is not in this list any more.`,
  'own-link': () => 'You made this link yourself. It is for the one you want to send it to.',
  'link-taken': () => 'You used this link here before. Once is enough.',
  'bad-link': name => `This link was cut or changed on its way. Ask ${name} to send it again, all of it.`,
  'this-machine': name =>
    `This link leads to a server on this computer, and to others. Do not use it, and ask ${name} about it.`,
  relays: name => `This link names no relay that can be used. Ask ${name} for another one.`,
  unsupported: () => 'This browser cannot do that. A current Firefox, Chrome or Safari can.',
  storage: () => 'This device could not store it: its storage may be full. Make room, and try again.',
  inactive: () => 'The list is open in another tab. Use it there.',
  deleted: () => 'The data of this site was deleted meanwhile. Reload the page.',
  'too-many': () => 'This list is full. Clear what is bought to make room.',
  'too-large': () => 'This list is full, with all that ever was on it. Go on with a new one.',
};

/** How long ago something was: “5 minutes ago”, “yesterday”. */
export function ago(then: number, now: number): string {
  const seconds = Math.max(0, (now - then) / 1000);
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? [];
  return unit && length ? RELATIVE.format(-Math.floor(seconds / length), unit) : 'just now';
}

const UNITS = [
  ['month', 30 * 86_400],
  ['week', 7 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const;
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** How long a link works yet: “for 7 days”, “for 3 hours”. */
export function worksFor(expires: number, now: number): string {
  const hours = Math.max(0, (expires - now) / 3_600_000);
  const [count, unit] =
    hours >= 36 ? [Math.round(hours / 24), 'day'] : [Math.max(1, Math.floor(hours)), 'hour'];
  return hours < 1 ? 'for less than an hour' : `for ${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** Whether a URL is that of a server on this computer. */
export function isThisComputer(url: string): boolean {
  const host = URL.canParse(url) ? new URL(url).hostname : '';
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127\./.test(host);
}
