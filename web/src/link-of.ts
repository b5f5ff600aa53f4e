// What an app may know of a link before it is used.

import { formatConnectoid } from './connectoid.js';
import { findConnectoid, withoutConnectoid as without } from './link.js';

/** What a link says of itself. */
export interface LinkInfo {
  /** The connectoid in it, alone. */
  readonly connectoid: string;
  /** Its relays, in canonical form. */
  readonly relays: readonly string[];
  /** Whether it has a secret that no server saw. Else app data waits until both compared their strings. */
  readonly secret: boolean;
}

/** What stands in a link, or in the URL of a page; nothing if there is no connectoid in it, or one that was cut. */
export function linkOf(link: string | URL | Location): LinkInfo | undefined {
  const found = findConnectoid(href(link));
  if (typeof found === 'string') {
    return undefined;
  }
  const { connectoid, place } = found;
  return {
    connectoid: formatConnectoid(connectoid),
    relays: connectoid.relays,
    secret: connectoid.secret !== undefined && place !== 'query',
  };
}

/** The URL without its connectoid: for `history.replaceState`, so that neither a reload nor a bookmark uses it again. */
export function withoutConnectoid(url: string | URL | Location): string {
  return without(href(url));
}

/** A URL as text; nothing, if there is none. */
export function href(url: string | URL | Location): string {
  return `${url ?? ''}`;
}
