// What must be read: it stands before all else until one of its buttons is pressed. Neither Escape nor a click beside takes it away.

import { useEffect, useState } from 'preact/hooks';
import type { Alarm } from '../view.js';
import { isolated, whatUnshareMeans, wordsOfAlarm, wordsOfError } from '../words.js';
import { Check } from './Check.js';
import { Dialog } from './Dialog.js';
import { useFocusAs } from './focus.js';
import { say, useApp, useView } from './use.js';

/** For so long, in milliseconds, it holds its buttons: a hand that was typing or tapping when it came up presses none. */
const HOLDS_FOR = 600;

/** The oldest alarm of all there are. */
export function Alarms() {
  const { alarms } = useView();
  const [alarm] = alarms;
  return alarm ? <One key={alarm.id} alarm={alarm} more={alarms.length - 1} /> : null;
}

function One({ alarm, more }: { alarm: Alarm; more: number }) {
  const app = useApp();
  const { lists } = useView();
  const [is, setIs] = useState<'shown' | 'comparing' | 'asking'>('shown');
  const [isEnding, setEnding] = useState(false);
  const [wrong, setWrong] = useState('');
  const [holds, setHolds] = useState(true);
  const list = lists.find(({ id }) => id === alarm.list);
  const person = list?.people.find(({ contact }) => contact === alarm.contact);
  const { title, what, means, now } = wordsOfAlarm(alarm, list?.name ?? 'the list');
  const canCompare = !!person?.sas && alarm.alarm !== 'too-many-offers';

  useEffect(() => {
    const timer = setTimeout(() => setHolds(false), HOLDS_FOR);
    return () => clearTimeout(timer);
  }, []);
  // Who was compared by now, and found to be the same, needs no warning of it any more.
  const isSettled =
    (alarm.alarm === 'link-used-twice' || alarm.alarm === 'strings-differ') &&
    person?.verification === 'verified';
  useEffect(() => {
    if (isSettled) {
      app.read(alarm.id);
    }
  }, [isSettled, app, alarm.id]);

  const keep = useFocusAs<HTMLButtonElement>(is === 'asking');
  const name = isolated(alarm.name);

  const unshare = async () => {
    if (isEnding) return;
    setEnding(true);
    setWrong('');
    try {
      await app.unshare(alarm.contact);
      app.read(alarm.id);
      say(`The list is not shared with ${name} any more.`);
    } catch (error) {
      setEnding(false);
      setWrong(wordsOfError(error, alarm.name));
    }
  };

  return (
    <>
      <Dialog title={title} look="alarm" stays close={() => {}}>
        <div class="alarm-words" role="alert">
          <p>{what}</p>
          <p>
            <strong>What it may mean: </strong>
            {means}
          </p>
          <p>
            <strong>What to do now: </strong>
            {now}
          </p>
        </div>
        {is === 'asking' ? (
          <>
            <p role="alert">{list && whatUnshareMeans(alarm.name, list)}</p>
            <div class="ways">
              <button type="button" class="danger" aria-disabled={isEnding} onClick={unshare}>
                {isEnding ? 'Unsharing…' : `Unshare ${name}`}
              </button>
              <button type="button" ref={keep} disabled={isEnding} onClick={() => setIs('shown')}>
                Keep
              </button>
            </div>
            <p class="said" role="alert">
              {wrong}
            </p>
          </>
        ) : (
          <div class="ways">
            {canCompare && (
              <button type="button" class="main" disabled={holds} onClick={() => setIs('comparing')}>
                {alarm.alarm === 'strings-differ' ? 'Compare again' : 'Compare'}
              </button>
            )}
            {person && (
              <button type="button" class="danger" disabled={holds} onClick={() => setIs('asking')}>
                Unshare…
              </button>
            )}
            <button type="button" disabled={holds} onClick={() => app.read(alarm.id)}>
              I have read it
            </button>
          </div>
        )}
        {more > 0 && (
          <p class="hint">{more === 1 ? 'There is one more warning.' : `There are ${more} more warnings.`}</p>
        )}
      </Dialog>
      {is === 'comparing' && person && <Check person={person} onClose={() => setIs('shown')} />}
    </>
  );
}
