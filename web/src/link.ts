// Links: a connectoid inside an app's URL.

import { type BadLink, type Connectoid, formatConnectoid, parseConnectoid } from './connectoid.js';

/** A connectoid and where it was found. */
export interface FoundLink {
  connectoid: Connectoid;
  /** A browser never sends the fragment; a query has been seen by servers. None if the connectoid stood alone. */
  place?: 'fragment' | 'query';
}

/** Where it may stand in a fragment that the app uses for routes: at the start, or after one of these. */
const PARAMETER = /(^|[?&/#;!])connectoid=([^&]*)/;

/** One or more of them in a row. */
const PARAMETERS = /(^|[?&/#;!])connectoid=[^&]*(?:&connectoid=[^&]*)*(&|$)/g;

/**
 * Finds the connectoid in a link (`https://app.example.com/#connectoid=…`, `…?connectoid=…`) or takes one that stands alone. The
 * fragment wins over the query.
 */
export function findConnectoid(text: string): FoundLink | BadLink {
  const trimmed = text.trim();
  if (!trimmed.includes('://')) {
    const connectoid = parseConnectoid(trimmed.replace(/^connectoid=/, ''));
    return typeof connectoid === 'string' ? connectoid : { connectoid };
  }
  const [, query, fragment] = split(trimmed);
  const inFragment = PARAMETER.exec(fragment);
  const value = (inFragment ?? PARAMETER.exec(query))?.[2];
  if (value === undefined) {
    return 'no-connectoid';
  }
  const connectoid = parseConnectoid(value);
  return typeof connectoid === 'string'
    ? connectoid
    : { connectoid, place: inFragment ? 'fragment' : 'query' };
}

/**
 * The link to share: the app's URL with the connectoid in its fragment, instead of one that is there. A fragment that the app uses
 * for a route stays: `#/lists` becomes `#/lists?connectoid=…`.
 *
 * Throws a `TypeError` if `url` is not an absolute URL.
 */
export function linkIn(url: string, connectoid: Connectoid): string {
  const [before, query, fragment] = split(withoutConnectoid(new URL(url).href));
  const joint = !fragment ? '' : /[?=]/.test(fragment) ? '&' : '?';
  return join(before, query, `${fragment}${joint}connectoid=${formatConnectoid(connectoid)}`);
}

/** The app's URL again, without any connectoid: for `history.replaceState`. */
export function withoutConnectoid(url: string): string {
  const [before, query, fragment] = split(url);
  return join(before, removed(query), removed(fragment));
}

/** Of the two separators around a connectoid one is left if something follows, and none that would separate nothing. */
function removed(parameters: string): string {
  return parameters.replace(PARAMETERS, (_, before: string, after: string) =>
    after || !/[?&]/.test(before) ? before : '',
  );
}

/** What stands before the query, the query, and the fragment. */
function split(url: string): [string, string, string] {
  const [, before = '', query = '', fragment = ''] = /^([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(url) ?? [];
  return [before, query, fragment];
}

function join(before: string, query: string, fragment: string): string {
  return before + (query && `?${query}`) + (fragment && `#${fragment}`);
}
