// What a relay can tell by what it sees, what it cannot, and whether it has to be believed: as in docs/threat-model.md.

import type { Logged } from './log.js';
import { lasted } from './words.js';

export function Learns({ relays, own }: { relays: Logged['relays']; own: string }) {
  const infos = [...relays.values()];
  const addresses = [...new Set(infos.map(({ client }) => client).filter(Boolean))];
  const keeps = Math.max(...infos.map(({ keeps = 0 }) => keeps));
  return (
    <div class="relay-learns">
      <section>
        <h3>It learns</h3>
        <ul>
          <li>
            the address that you ask from
            {addresses.length > 0 && (
              <>
                : it takes this page for <code>{addresses.join(', ')}</code>
              </>
            )}
            , and when you ask;
          </li>
          <li>which boxes are asked for together, so that it can guess that they are on one device;</li>
          <li>
            which box gets a message, when, and from which address. So it can guess which addresses know each
            other, and by the order and the time, what a message is for;
          </li>
          <li>
            how many messages there are, and which of three sizes each has: 4,096, 8,192 or 16,384 bytes. They
            are filled up to that, so the size says no more;
          </li>
          <li>
            the messages as they are sealed.{' '}
            {keeps > 0 && `It promises to forget them after ${lasted(keeps)} at the latest.`}
          </li>
        </ul>
      </section>
      <section>
        <h3>It never learns</h3>
        <ul>
          <li>the list: no entry, no name of a list or of a person, in no form;</li>
          <li>what is in a sealed message, who signed it, or where a reply to it goes;</li>
          <li>
            the secret in a link: browsers do not send what follows the <code>#</code>, and messages are
            sealed with it;
          </li>
          <li>
            the private keys of this device: they stay in this browser, and no script can read them out.
          </li>
        </ul>
      </section>
      <section>
        <h3>Can it be believed?</h3>
        <p>
          It need not be. This program stores the boxes, on which day each was last asked for, and the sealed
          messages, each with a mark by which it counts those of one sender; no addresses. Another one may
          note all that it sees, keep copies, hold messages back or lose them. None can open one, change one
          unnoticed, or take anybody’s place.
        </p>
        <p>
          One thing is left to trust: <a href="#/about">whoever serves this page</a> decides what it does.{' '}
          {isServedBy(own) && 'Here that is the relay itself.'}
        </p>
      </section>
    </div>
  );
}

/** Whether the page came from the relay that it uses. */
function isServedBy(relay: string): boolean {
  try {
    return new URL(relay).origin === location.origin;
  } catch {
    return false;
  }
}
