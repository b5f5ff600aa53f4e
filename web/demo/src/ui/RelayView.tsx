// What the relay sees beside what the people see: what it stores in this page's own boxes, what it is asked, and what it can tell by
// that. True both ways to docs/threat-model.md.

import { useEffect, useId } from 'preact/hooks';
import { ItSees } from '../relay/ItSees.js';
import { Learns } from '../relay/Learns.js';
import { lies } from '../relay/log.js';
import { Requests } from '../relay/Requests.js';
import { type Look, useLogged, useLook } from '../relay/use.js';
import { MESSAGES, once } from '../relay/words.js';
import { YouSee } from '../relay/YouSee.js';
import type { ListView, Person } from '../view.js';
import { Close } from './icons.js';
import { useView } from './use.js';

/** `titled`: where nothing around it says what this is. */
export function RelayView({
  list,
  titled,
  onClose,
}: {
  list?: ListView | undefined;
  titled?: boolean;
  onClose: () => void;
}) {
  const view = useView();
  const people = list?.people ?? view.lists.flatMap(({ people }) => people);
  const logged = useLogged();
  const states = people.map(({ contact, state }) => `${contact} ${state}`).join('\n');
  const look = useLook(list?.id, states);
  const title = useId();
  // What covers the screen goes when one of its links leads elsewhere.
  useEffect(() => {
    if (titled) return;
    addEventListener('hashchange', onClose);
    return () => removeEventListener('hashchange', onClose);
  }, [titled, onClose]);

  const all = list && view.lists.length > 1 ? ' (all lists)' : '';
  const stored = logged.stored.filter(one =>
    look.boxes?.some(({ relay, box }) => relay === one.relay && box === one.box),
  );
  const count = look.boxes?.some(({ why }) => why !== undefined)
    ? undefined
    : stored.filter(one => lies(one, logged.relays.get(one.relay))).length;
  return (
    <section class="relay" aria-labelledby={titled ? title : undefined}>
      {titled && (
        <header class="relay-title">
          <h2 id={title}>What the relay sees</h2>
          <button type="button" class="plain" aria-label="Close what the relay sees" onClick={onClose}>
            <Close />
          </button>
        </header>
      )}
      <Summary list={list} people={people} look={look} count={count} all={all} />
      <div class="relay-sides">
        <YouSee list={list} lists={view.lists} people={people} />
        <ItSees
          logged={logged}
          look={look}
          stored={stored}
          count={count}
          people={people}
          own={view.relay}
          all={all}
        />
      </div>
      <Requests logged={logged} />
      <Learns relays={logged.relays} own={view.relay} />
    </section>
  );
}

/** What counts: where the list goes, and how much lies at the relay, which is read out when it changes. */
function Summary({
  list,
  people,
  look,
  count,
  all,
}: {
  list: ListView | undefined;
  people: readonly Person[];
  look: Look;
  count: number | undefined;
  all: string;
}) {
  const connected = people.filter(({ flows }) => flows);
  const holds = look.failed
    ? ''
    : !look.boxes
      ? 'Looking what it holds for you…'
      : count === undefined
        ? 'What it holds for you now it did not say.'
        : `It holds ${messages(count)} for you now.`;
  return (
    <div class="relay-summary">
      <p>
        <strong>Nothing of your {list ? 'list' : 'lists'} goes through the relay.</strong>{' '}
        <span role="status">{holds}</span>
      </p>
      <p class="relay-way">
        {connected.length > 0
          ? `You are connected with ${once(connected)}: all that either of you changes goes straight from device to device. Edit, and watch “${MESSAGES}${all}” below: it does not move.`
          : people.length > 0
            ? 'It passes on the sealed messages by which two devices find each other. Once they are connected, the list goes straight from one to the other.'
            : 'As long as you share nothing there is nothing to pass on, and it is asked nothing. Make a link, and look what happens.'}
      </p>
    </div>
  );
}

function messages(count: number): string {
  return count === 0 ? 'no message' : count === 1 ? 'one sealed message' : `${count} sealed messages`;
}
