// What is to be known of its people before a list is read.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { ListView, Person } from '../view.js';
import { isLost, isolated, whyHeld, wordsOf } from '../words.js';
import { Check } from './Check.js';
import { useKeptFocus } from './focus.js';
import { Sign } from './Sign.js';
import { announce, go, say, useApp, useOnline, useView } from './use.js';

/** That it is awaited, that nothing flows before a comparison, who left it. */
export function Callouts({ list }: { list: ListView }) {
  const app = useApp();
  const { news } = useView();
  const [checked, setChecked] = useState<string>();
  const box = useKeptFocus();
  useComings(list.people);
  const isOnline = useOnline();
  const { people } = list;
  const person = people.find(({ contact }) => contact === checked);
  // What concerns one person only stands beside their name; here is what concerns the list.
  const wrong = people.filter(person => wordsOf(person).isGrave || (list.isAwaited && isInTheWay(person)));
  const [first] = people;
  if (isLost(list) && first) {
    return (
      <div class="callouts" ref={box} tabIndex={-1}>
        <Lost list={list} from={first} />
      </div>
    );
  }
  return (
    <div class="callouts" ref={box} tabIndex={-1}>
      {list.isAwaited && first && wrong.length === 0 && (
        <div class="callout">
          <Sign mark="waiting" />
          <p>
            <strong>Waiting for {isolated(first.name)}.</strong> The first time, {isolated(first.name)}’s app
            has to be open, too. Then the list comes by itself: you can leave this page, and come back.
          </p>
        </div>
      )}
      <div role="alert">
        {wrong.map(person => (
          <Trouble
            key={person.contact}
            person={person}
            isOnline={isOnline}
            compare={() => setChecked(person.contact)}
          />
        ))}
      </div>
      <div role="status">
        {news
          .filter(({ list: id }) => id === list.id)
          .map(({ id, name }) => (
            <div class="callout" key={id}>
              <Sign mark="away" />
              <div>
                <p>
                  <strong>{isolated(name)} does not share this list with you any more.</strong> What is in it
                  stays here.
                </p>
                <button type="button" class="small" onClick={() => app.hear(id)}>
                  I have read it
                </button>
              </div>
            </div>
          ))}
      </div>
      {person && <Check person={person} onClose={() => setChecked(undefined)} />}
    </div>
  );
}

/** Whether somebody stands so that a list that is awaited does not come from there. */
function isInTheWay(person: Person): boolean {
  return (
    wordsOf(person).mark === 'wrong' || (person.trouble === 'relay-down' && person.state !== 'connected')
  );
}

interface TroubleProps {
  readonly person: Person;
  readonly isOnline: boolean;
  readonly compare: () => void;
}

function Trouble({ person, isOnline, compare }: TroubleProps) {
  const { mark, short, more, remedy } = wordsOf(person, false, isOnline);
  const name = isolated(person.name);
  const isHeld = remedy === 'compare';
  return (
    <div class={`callout ${mark === 'wrong' ? 'bad' : ''}`}>
      <Sign mark={mark} />
      <div>
        <p>
          <strong>
            {isHeld
              ? `Nothing goes to ${name} or comes from there yet.`
              : person.trouble === 'link-used'
                ? `${short}.`
                : `${name}: ${short}.`}
          </strong>{' '}
          {isHeld ? `${whyHeld(person)} Compare seven emoji first.` : more}
        </p>
        {isHeld && (
          <button type="button" class="main small" onClick={compare}>
            Compare with {name}
          </button>
        )}
      </div>
    </div>
  );
}

/** Instead of a list of which nothing came, nor will come. */
function Lost({ list, from }: { list: ListView; from: Person }) {
  const app = useApp();
  const name = isolated(from.name);
  const remove = () => {
    const said = `“${isolated(list.name)}”`;
    go('#/', true);
    app.deleteList(list.id).then(
      () => say(`${said} is removed`),
      () => say(`${said} could not be removed. Try it again.`),
    );
  };
  return (
    <div class="callout bad" role="alert">
      <Sign mark="wrong" />
      <div>
        <p>
          <strong>Somebody else used this link before you.</strong> If that was not you on another device,
          somebody may have read your messages. Tell {name} by phone or face to face, and ask for a new link.
        </p>
        <button type="button" class="small" onClick={remove}>
          Remove this list
        </button>
      </div>
    </div>
  );
}

/** Says who came, and who went. */
function useComings(people: readonly Person[]): void {
  const before = useRef(people);
  useEffect(() => {
    for (const was of before.current) {
      const is = people.find(({ contact }) => contact === was.contact);
      if (is?.flows && !was.flows && was.state !== 'interrupted') {
        announce(`${is.name} is connected.`);
      } else if (is && was.state !== 'offline' && was.state !== 'waiting' && is.state === 'offline') {
        announce(`${is.name} is not here any more.`);
      }
    }
    before.current = people;
  }, [people]);
}
