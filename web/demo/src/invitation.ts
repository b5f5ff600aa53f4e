// The app's URLs: the links that lead to somebody's list, `#/join/<list id>/<list name>/<from>?connectoid=…`, and its own
// `#/list/<id>`. All of it is in the fragment, which no server sees.

import { linkOf } from '../../src/index.js';
import { LIST_NAME_MAX, tidy } from './list.js';
import type { Invitation } from './view.js';

/** The characters of a person's name. */
export const NAME_MAX = 40;

const LIST_ID = /^[\w-]{22}$/;

/** Where somebody is in the app. A link that was cut on its way is `bad-link`. */
export type Route =
  | { at: 'lists' }
  | { at: 'list'; list: string }
  | { at: 'join'; invitation: Invitation }
  | { at: 'about' }
  | { at: 'bad-link' };

/** Where a URL of the app leads. */
export function routeOf(url: string): Route {
  const { hash } = new URL(url);
  const [, kind, ...parts] = hash.replace(/\?.*$/s, '').replace(/^#/, '').split('/').map(decode);
  const [list = '', listName = '', from = ''] = parts;
  if (kind === 'list' && LIST_ID.test(list)) {
    return { at: 'list', list };
  }
  if (kind === 'join') {
    return LIST_ID.test(list) && linkOf(url)
      ? {
          at: 'join',
          invitation: {
            list,
            listName: tidy(listName, LIST_NAME_MAX),
            from: tidy(from, NAME_MAX),
            link: url,
          },
        }
      : { at: 'bad-link' };
  }
  if (kind === 'about') {
    return { at: 'about' };
  }
  // A connectoid without a list, or a link whose route was changed on its way.
  return linkOf(url) ? { at: 'bad-link' } : { at: 'lists' };
}

/** The fragment of a list. */
export function listHash(list: string): string {
  return `#/list/${list}`;
}

/** The URL that a link to a list is made with. `page` is any URL of the app. */
export function invitationUrl(page: string, list: string, listName: string, from: string): string {
  const url = new URL(page);
  url.search = '';
  url.hash = `#/join/${list}/${encode(listName)}/${encode(from)}`;
  return url.href;
}

function encode(text: string): string {
  // What is no text, as half an emoji, has no encoding: it becomes a question mark in a diamond.
  return encodeURIComponent(new TextDecoder().decode(new TextEncoder().encode(text)));
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
