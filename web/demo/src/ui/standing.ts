// How a list stands with the others, in one line.

import type { ListView, View } from '../view.js';
import { isLost, isolated, type Mark, namesOf, wordsOf } from '../words.js';

export interface Standing {
  readonly mark: Mark;
  readonly words: string;
}

/** `isOnline`: what the browser says. It knows nothing of a relay on this very device: so that one is down comes first. */
export function standingOf(list: ListView, { relayDown }: View, isOnline: boolean): Standing {
  const { people } = list;
  const [person] = people;
  if (!person) return { mark: 'away', words: 'Shared with nobody' };
  if (isLost(list)) return { mark: 'wrong', words: 'Nothing of it came' };
  const here = people.filter(({ state, flows }) => state === 'connected' && flows);
  // Devices in one room may well be connected without a network beyond it.
  if (here.length === 0 && relayDown !== undefined) {
    // One line on a phone, both.
    const words = isOnline
      ? 'The relay cannot be reached. Changes wait.'
      : 'Offline. Changes are sent later.';
    return { mark: 'away', words };
  }
  const wrong = people.find(person => wordsOf(person).mark === 'wrong');
  if (wrong) {
    const { short } = wordsOf(wrong);
    // It was not they who did.
    const words = wrong.trouble === 'link-used' ? short : `${isolated(wrong.name)}: ${short}`;
    return { mark: 'wrong', words };
  }
  if (here.length > 0)
    return { mark: 'here', words: `${namesOf(here)} ${here.length === 1 ? 'is' : 'are'} here` };
  if (people.length === 1) {
    const { mark, short } = wordsOf(person);
    return { mark, words: short.includes(person.name) ? short : `${isolated(person.name)}: ${short}` };
  }
  return { mark: 'away', words: `Shared with ${namesOf(people)}; none of them is here now` };
}
