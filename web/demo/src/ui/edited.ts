// An entry that is being edited, while others change the list.

import type { Item } from '../view.js';

/** The entry that is being edited, as it was when that began, and where among all. */
export interface Editing {
  readonly item: Item;
  readonly index: number;
}

/** `item` of a list, from now on. */
export function editingOf(items: readonly Item[], item: Item): Editing {
  return { item, index: items.findIndex(({ id }) => id === item.id) };
}

/**
 * The entries, where the one that is being edited stays in its section, and stays at all: others may have ticked or deleted it
 * meanwhile, which must not take the field away from under somebody's hands.
 */
export function withEdited(items: readonly Item[], editing: Editing | undefined): readonly Item[] {
  if (!editing) return items;
  const { item, index } = editing;
  const at = items.findIndex(({ id }) => id === item.id);
  const there = items[at];
  if (there?.done === item.done) return items;
  return there ? items.with(at, { ...there, done: item.done }) : items.toSpliced(index, 0, item);
}
