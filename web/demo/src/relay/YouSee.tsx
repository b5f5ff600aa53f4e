// What the people see of it: the list, and what changed in it while one looks.

import type { ListView, Person } from '../view.js';
import { wordsOf } from '../words.js';
import { useChange } from './use.js';
import { once, ordinal, time } from './words.js';

export function YouSee({
  list,
  lists,
  people,
}: {
  list: ListView | undefined;
  lists: readonly ListView[];
  people: readonly Person[];
}) {
  const here = people.filter(({ flows }) => flows);
  const away = people.filter(
    person => wordsOf(person).mark !== 'wrong' && !here.some(({ name }) => name === person.name),
  );
  const areMany = away.some(({ name }) => name !== away[0]?.name);
  return (
    <section class="relay-clear">
      <h3>{here.length > 0 ? `You and ${once(here)} see` : 'You see'}</h3>
      {list ? (
        <One list={list} />
      ) : lists.length > 0 ? (
        <ul>
          {lists.map(({ id, name }) => (
            <li key={id} dir="auto">
              {name}
            </li>
          ))}
        </ul>
      ) : (
        <p>Nothing yet</p>
      )}
      {away.length > 0 && (
        <p class="relay-small">
          ({once(away)} {areMany ? 'each get' : 'gets'} it when you are both here)
        </p>
      )}
    </section>
  );
}

function One({ list }: { list: ListView }) {
  const change = useChange(list);
  const { name, items } = list;
  const bought = items.filter(({ done }) => done).length;
  return (
    <>
      <p class="relay-list" dir="auto">
        {name}
      </p>
      <p class="relay-change">
        {change
          ? change.words
          : items.length > 0
            ? `${items.length - bought} to buy, ${bought} bought`
            : 'Nothing on it yet'}
      </p>
      {change && (
        <p class="relay-small">
          {time(change.when)}, the {ordinal(change.count)} change since you look. The relay saw nothing of it.
        </p>
      )}
    </>
  );
}
