// Which of an app's tabs runs its contacts: a Web Lock, and a channel on which the others ask for it.

import { missing } from '../errors.js';
import type { Lock } from '../storage.js';

/** How often a tab asks, in milliseconds: one that asked before it stood in the line may find the lock taken again. */
const ASK = 500;

/** The lock of all tabs that use this name. */
export function tabLock(name: string): Lock {
  const id = `connectoid:${name}`;
  const { locks } = globalThis.navigator ?? {};
  if (!locks) {
    missing('Web Locks');
  }
  return {
    request: (take, asked, signal) =>
      new Promise((resolve, reject) => {
        const others = new BroadcastChannel(id);
        const ask = () => others.postMessage('take');
        const asking = take ? setInterval(ask, ASK) : undefined;
        let place: AbortController;
        let held = false;
        const end = () => {
          clearInterval(asking);
          others.close();
        };

        const wait = () => {
          place = new AbortController();
          const request = locks.request(id, { signal: place.signal }, () => {
            clearInterval(asking);
            held = true;
            return new Promise<void>(release => {
              resolve(() => {
                end();
                release();
              });
            });
          });
          request.catch(error => {
            // Behind whoever asked for it: to the end of the line.
            if (error === others) {
              wait();
            } else {
              end();
              reject(error);
            }
          });
        };

        others.onmessage = () => {
          if (held) {
            asked();
          } else if (!take) {
            place.abort(others);
          }
        };
        signal.onabort = () => place.abort(signal.reason);
        wait();
        if (take) {
          ask();
        }
      }),
  };
}
