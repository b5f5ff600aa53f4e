// A mark beside a list that something is wrong with.

import type { ListView } from '../view.js';
import { wordsOf } from '../words.js';

export function ToRead({ list }: { list: ListView }) {
  const isWrong = list.people.some(person => wordsOf(person).mark === 'wrong');
  return isWrong ? <span class="mark wrong" role="img" aria-label="Something needs your attention" /> : null;
}
