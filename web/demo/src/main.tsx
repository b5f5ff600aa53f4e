// Starts: is this browser able to run the app? Then it is opened and shown; else why not.

import { type ComponentChild, render } from 'preact';
import { openApp } from './app.js';
import { listHash, routeOf } from './invitation.js';
import { openRelayLog } from './relay/log.js';
import { App } from './ui/App.js';
import { Failed } from './ui/Failed.js';
import { type Lack, lackHere, Unable } from './ui/Unable.js';
import { go } from './ui/use.js';

const root = document.getElementById('app')!;

function show(what: ComponentChild) {
  // What index.html shows until now stands where this comes.
  root.replaceChildren();
  render(what, root);
}

async function start() {
  const lack = lackHere();
  if (lack) return show(<Unable lack={lack} />);
  try {
    // Before the first request: what the relay sees is shown from the start.
    openRelayLog();
    const app = await openApp();
    const { lists } = app.view();
    const [only] = lists;
    // Who has one list wants to see it.
    if (only && lists.length === 1 && !location.hash && routeOf(location.href).at === 'lists') {
      go(listHash(only.id), true);
    }
    show(<App app={app} />);
  } catch (error) {
    console.error(error);
    show(isLack(error) ? <Unable lack={isLack(error)!} /> : <Failed error={error} />);
  }
}

/** What opening says of a browser that only seemed to be able. */
function isLack(error: unknown): Lack | undefined {
  const { code, name } = error as { code?: string; name?: string };
  if (code === 'unsupported') return 'browser';
  // Some browsers have IndexedDB in private windows, and refuse to open it.
  return code === 'storage' || ['InvalidStateError', 'SecurityError', 'UnknownError'].includes(name ?? '')
    ? 'storage'
    : undefined;
}

void start();

// Where there is none, the app is there as long as its server is. One that cannot be had now is asked for at the next load.
addEventListener('load', () => void navigator.serviceWorker?.register('sw.js').catch(() => {}));
