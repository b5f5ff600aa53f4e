// Keeps the app on the device, so that it opens without a network: these files, and nothing else. What goes to a relay is none of
// its business, nor is another folder of the same host.

/**
 * The app's files, each with its hash as browsers take it, and a name for exactly these: put in by scripts/demo.js. The page itself has
 * none: whoever serves it writes the settings into it.
 */
declare const FILES: Readonly<Record<string, string>>;
declare const VERSION: string;

/** As much of a service worker as is used; the types of all of it and those of a page exclude each other. */
interface Worker {
  readonly registration: { readonly scope: string };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Lasting) => void): void;
  addEventListener(type: 'fetch', listener: (event: Fetch) => void): void;
}
interface Lasting {
  waitUntil(done: Promise<unknown>): void;
}
interface Fetch {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
const worker = self as unknown as Worker;

const SCOPE = worker.registration.scope;
/** A host's caches are one heap: those of a copy in another folder stay. */
const OURS = `shopping-list ${SCOPE} `;
const CACHE = OURS + VERSION;
/** The folder itself is its index.html; some hosts lead from the one to the other, and a page must not come by a detour. */
const INDEX = new URL('index.html', SCOPE).href;
const KEPT = new Map(
  Object.entries(FILES)
    .map(([name, hash]) => [new URL(name, SCOPE).href, hash] as const)
    .map(([url, hash]) => [url === INDEX ? SCOPE : url, hash]),
);

worker.addEventListener('install', event => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    // Asks the server: what the browser's own cache still has may be of another version. So may be what the server gives, while it
    // changes to this one: then nothing is kept, and the browser tries again later.
    await cache.addAll(
      [...KEPT].map(([url, integrity]) => new Request(url, { cache: 'no-cache', integrity })),
    );
    // The page that is open has loaded all of its files, so that this one can take over: it is the next load that sees it.
    await worker.skipWaiting();
  };
  event.waitUntil(keep());
});

worker.addEventListener('activate', event => {
  const forget = async () => {
    const old = (await caches.keys()).filter(name => name.startsWith(OURS) && name !== CACHE);
    await Promise.all(old.map(name => caches.delete(name)));
  };
  event.waitUntil(forget());
});

worker.addEventListener('fetch', event => {
  const { request } = event;
  if (request.method !== 'GET') return;
  const url = new URL(request.url);
  url.search = '';
  url.hash = '';
  const kept = url.href === INDEX ? SCOPE : url.href;
  if (!KEPT.has(kept)) return;
  event.respondWith(fromCache(kept, request));
});

async function fromCache(kept: string, request: Request): Promise<Response> {
  // A browser that is short of room may have thrown it away.
  return (await caches.match(kept, { cacheName: CACHE })) ?? fetch(request);
}
