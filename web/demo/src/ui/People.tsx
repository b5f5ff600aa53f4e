// The people of a list, and how the user is called by them.

import { useState } from 'preact/hooks';
import type { ListView, Person } from '../view.js';
import { isLost } from '../words.js';
import { Check } from './Check.js';
import { useKeptFocus } from './focus.js';
import { Me, Rename } from './Names.js';
import { type Asked, One } from './Person.js';
import { Share } from './Share.js';
import { Unshare } from './Unshare.js';

type Doing = { what: Asked; person: Person };

export function People({ list, share }: { list: ListView; share: () => void }) {
  const [doing, setDoing] = useState<Doing>();
  const box = useKeptFocus();
  const { people } = list;
  // It may be called otherwise by now, or be gone.
  const person = people.find(({ contact }) => contact === doing?.person.contact);
  const close = () => setDoing(undefined);
  return (
    <div class="people" ref={box} tabIndex={-1}>
      <h2 class="people-title">People</h2>
      {people.length === 0 ? (
        <p class="alone">
          It is shared with nobody. Share it, and what one of you changes, the others see at once.
        </p>
      ) : (
        <ul>
          {people.map(person => (
            <One key={person.contact} person={person} act={what => setDoing({ what, person })} />
          ))}
        </ul>
      )}
      {!isLost(list) && (
        <button type="button" class={`wide ${people.length === 0 ? 'main' : ''}`} onClick={share}>
          Share with {people.length === 0 ? 'somebody' : 'somebody else'}
        </button>
      )}
      {people.length > 0 && <Me />}
      {doing?.what === 'show-link' && person?.link && <Share list={list} person={person} onClose={close} />}
      {doing?.what === 'compare' && person && <Check person={person} onClose={close} />}
      {doing?.what === 'rename' && person && <Rename person={person} onClose={close} />}
      {doing?.what === 'unshare' && person && <Unshare list={list} person={person} onClose={close} />}
    </div>
  );
}
