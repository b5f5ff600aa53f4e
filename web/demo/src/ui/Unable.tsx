// When this browser cannot run the app: why, and what to do.

import type { ComponentChildren } from 'preact';
import { About } from './About.js';
import { useRoute } from './use.js';

/** What is missing here. */
export type Lack = 'framed' | 'secure-context' | 'webrtc' | 'storage' | 'browser';

export function lackHere(): Lack | undefined {
  // The page around could lay its own over this one's buttons. A relay forbids it; a host of static files may not.
  if (top !== self) return 'framed';
  if (!isSecureContext) return 'secure-context';
  if (!('RTCPeerConnection' in globalThis)) return 'webrtc';
  if (!('indexedDB' in globalThis) || !indexedDB) return 'storage';
  if (!crypto.subtle || !navigator.locks) return 'browser';
  return undefined;
}

export function Unable({ lack }: { lack: Lack }) {
  const route = useRoute();
  if (route.at === 'about') {
    return (
      <div class="app at-about">
        <header class="bar">
          <a class="brand" href="#/">
            <img src="icon.svg" alt="" width="28" height="28" /> Shopping list
          </a>
        </header>
        <main class="middle">
          <About />
        </main>
      </div>
    );
  }
  const { title, words } = LACKS[lack];
  return (
    <main class="instead whole">
      <img src="icon.svg" alt="" width="48" height="48" />
      <h1>{title}</h1>
      {words()}
      <p>
        <a href="#/about">About this app, and what it needs</a>
      </p>
    </main>
  );
}

const LACKS: Record<Lack, { title: string; words: () => ComponentChildren }> = {
  framed: {
    title: 'This list is inside another page',
    words: () => (
      <>
        <p>That page could have you press what you do not see. So the list opens by itself only.</p>
        <p>
          <a class="button" href={location.href} target="_top">
            Open it by itself
          </a>
        </p>
      </>
    ),
  },
  'secure-context': {
    title: 'This address is not secure enough',
    words: () => (
      <>
        <p>
          Browsers encrypt only for pages that came safely themselves. This one came by plain{' '}
          <code>http</code> from <code>{location.host}</code>, where anybody on the way could have changed it.
        </p>
        <p>
          Open it by <code>https</code>. On the computer that serves it, <code>http://localhost</code> works
          as well.
        </p>
      </>
    ),
  },
  webrtc: {
    title: 'This browser cannot connect to others',
    words: () => (
      <p>
        It has no WebRTC, or it is turned off: by a setting, by an add-on, or by the app in which this page is
        open. Open it in a current Firefox, Chrome or Safari.
      </p>
    ),
  },
  storage: {
    title: 'Nothing can be kept here',
    words: () => (
      <>
        <p>
          This browser stores nothing for this page, as some do in private windows. Lists would be gone with
          the tab.
        </p>
        <p>Open the page in an ordinary window, or allow it to store data.</p>
      </>
    ),
  },
  browser: {
    title: 'This browser is too old',
    words: () => <p>It lacks what is needed to encrypt. A current Firefox, Chrome or Safari has it.</p>,
  },
};
