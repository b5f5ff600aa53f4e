// The canonical URL of a relay: what links carry, what questions are bound to.

/**
 * A relay's URL in its one canonical form (docs/protocol.md 2.3), ASCII: two are the same relay if and only if they are the same
 * text.
 */
export type RelayUrl = string & { readonly brand: 'RelayUrl' };

/** The longest canonical URL. */
const MOST_CHARS = 2048;

/**
 * The canonical form of a relay's URL: without user, query, fragment and a bare "/" path. `undefined` if it is not https, or http
 * on this machine.
 */
export function relayUrl(text: string): RelayUrl | undefined {
  try {
    const { protocol, hostname, origin, pathname } = new URL(text);
    const canonical = (origin + (pathname === '/' ? '' : pathname)) as RelayUrl;
    const allowed = protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname));
    return allowed && canonical.length <= MOST_CHARS ? canonical : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is on this machine. */
export function isLoopback(url: RelayUrl): boolean {
  return isLoopbackHost(new URL(url).hostname);
}

/** Names under localhost are this machine, too (RFC 6761, section 6.3). */
function isLoopbackHost(host: string): boolean {
  return /^(?:(?:.*\.)?localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(host);
}
