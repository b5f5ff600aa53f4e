// A text that is being typed, and what somebody else made of it meanwhile.

import { type Change, difference } from '../difference.js';

/**
 * `mine` with what turned `base` into `theirs`, and where `marks` in `mine` are in it. Nothing if both changed the same place.
 */
export function merged(
  base: string,
  mine: string,
  theirs: string,
  marks: readonly [number, number],
): { text: string; marks: [number, number] } | undefined {
  const own = difference(base, mine);
  const other = difference(base, theirs);
  if (!own) return { text: theirs, marks: at(marks, other) };
  if (!other || mine === theirs) return { text: mine, marks: [...marks] };
  const by = own.text.length - (own.to - own.from);
  if (other.to <= own.from) return put(mine, other, marks);
  if (other.from >= own.to) return put(mine, { ...other, from: other.from + by, to: other.to + by }, marks);
  return undefined;
}

function put(text: string, change: Change, marks: readonly [number, number]) {
  return { text: text.slice(0, change.from) + change.text + text.slice(change.to), marks: at(marks, change) };
}

function at(marks: readonly [number, number], change: Change | undefined): [number, number] {
  if (!change) return [...marks];
  const { from, to, text } = change;
  const moved = (mark: number) => (mark <= from ? mark : Math.max(mark, to) + text.length - (to - from));
  return [moved(marks[0]), moved(marks[1])];
}
