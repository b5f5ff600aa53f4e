// One of the people of a list: how they stand, in words, and what can be done about it.

import { useEffect, useId, useState } from 'preact/hooks';
import type { Person } from '../view.js';
import { ago, isolated, isSame, type Remedy, wordsOf, wordsOfError, worksFor } from '../words.js';
import { Sign } from './Sign.js';
import { announce, say, useApp, useOnline } from './use.js';

/** What can be asked for that takes a dialog. */
export type Asked = 'show-link' | 'compare' | 'rename' | 'unshare';

/** The list of who is connected comes at once; if it did not after so long, something is wrong. Milliseconds. */
const LATE = 15_000;

export function One({ person, act }: { person: Person; act: (what: Asked) => void }) {
  const app = useApp();
  const now = useNow();
  const [isOpen, setOpen] = useState(false);
  const id = useId();
  const { contact, ownName, state, flows, link, expires, lastSeen, sas, verification } = person;
  const name = isolated(person.name);
  const { mark, short, more, remedy } = wordsOf(
    person,
    useLate(state === 'connected' && !flows),
    useOnline(),
  );
  const asksWho = !remedy && flows && !!sas && verification === 'unverified';
  const tryAgain = () => {
    announce(`Looking for ${name}.`);
    app.reconnect(contact).catch(error => say(wordsOfError(error, person.name)));
  };
  const words: Record<Remedy, [string, () => void]> = {
    'show-link': ['Show the link', () => act('show-link')],
    compare: [`Compare with ${name}`, () => act('compare')],
    'try-again': ['Try again', tryAgain],
    unshare: [link ? 'Take the link back' : 'Unshare', () => act('unshare')],
  };
  // All that can be done; what comes first stands outside already.
  const rest: Remedy[] = [];
  if (link) rest.push('show-link');
  if (sas && !asksWho) rest.push('compare');
  if (state === 'offline') rest.push('try-again');
  return (
    <li class="person" aria-labelledby={`${id}-name`}>
      <Sign mark={mark} />
      <div class="person-words">
        <div class="person-name" id={`${id}-name`}>
          {name}
          {verification === 'verified' && (
            <span class="verified">
              <svg viewBox="0 0 24 24" aria-hidden="true">
                <path d="M12 2.500l7.500 3v6c0 5-3.200 8.300-7.500 10-4.300-1.700-7.500-5-7.500-10v-6zM8.300 12l2.700 2.700 4.900-5" />
              </svg>
              verified
            </span>
          )}
        </div>
        {ownName && !isSame(ownName, person.name) && (
          <p class="own-name">calls themselves “{isolated(ownName)}”</p>
        )}
        <p class={`state ${mark}`}>
          {short}
          {state !== 'connected' && lastSeen !== undefined && (
            <span class="seen"> · last here {ago(lastSeen, now)}</span>
          )}
        </p>
        <p class="more">
          {more}
          {link && expires !== undefined && ` It works ${worksFor(expires, now)}.`}
        </p>
        {asksWho && (
          <p class="asks-who">
            Is it really {name}?{' '}
            <button type="button" class="small" onClick={words.compare[1]}>
              {words.compare[0]}
            </button>
          </p>
        )}
        {remedy && (
          <button
            type="button"
            class={remedy === 'compare' ? 'main small' : 'small'}
            onClick={words[remedy][1]}
          >
            {words[remedy][0]}
          </button>
        )}
        {isOpen && (
          <div class="actions" id={`${id}-actions`}>
            {rest
              .filter(what => what !== remedy)
              .map(what => (
                <button type="button" class="small" key={what} onClick={words[what][1]}>
                  {what === 'compare' ? 'Compare emoji' : words[what][0]}
                </button>
              ))}
            <button type="button" class="small" onClick={() => act('rename')}>
              Rename
            </button>
            {remedy !== 'unshare' && (
              <button type="button" class="small danger" onClick={() => act('unshare')}>
                {words.unshare[0]}
              </button>
            )}
          </div>
        )}
      </div>
      <button
        type="button"
        class="person-more"
        aria-expanded={isOpen}
        aria-controls={isOpen ? `${id}-actions` : undefined}
        aria-label={`What to do with ${name}`}
        onClick={() => setOpen(!isOpen)}
      >
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M6 9.500l6 6 6-6" />
        </svg>
      </button>
    </li>
  );
}

/** Whether something has been waited for so long that more has to be said. */
function useLate(waits: boolean): boolean {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    if (!waits) return;
    const timer = setTimeout(() => setLate(true), LATE);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [waits]);
  return waits && isLate;
}

/** The time, again each half minute. */
function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 30_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
