// What of an update may come into a list. Yjs takes much more than a list is made of, and what one can be made of only to do harm: types
// in types in types, which nobody can delete without running out of stack.

import * as Y from 'yjs';

/** The longest text that somebody writes in one piece, and that is shown. */
export const PIECE_MAX = 2000;

/** The entries of a document, with those that were deleted. */
const ENTRIES_MAX = 20_000;

type Struct = ReturnType<typeof Y.decodeUpdate>['structs'][number];

/** Whether there is nothing in it that a list is not made of. */
export function isAllowed(structs: readonly Struct[]): boolean {
  return structs.every(isOfList);
}

/**
 * Whether a document to which these came is a list still: entries in the list, texts in them, and nothing deeper. What is bounded is
 * bounded in the whole: what is taken in parts here must be taken as a whole by who lacks all of it.
 */
export function isList(doc: Y.Doc, structs: readonly Struct[]): boolean {
  return (
    doc.getMap('items')._map.size <= ENTRIES_MAX &&
    (!structs.some(isType) ||
      [...doc.store.clients.values()].flat().filter(isType).length <= 2 * ENTRIES_MAX) &&
    structs.every(struct => !isType(struct) || depthOf(Y.getItem(doc.store, struct.id)) <= 2)
  );
}

/** What is no item was one, of which nothing is left. */
function isOfList(struct: Struct): boolean {
  if (!(struct instanceof Y.Item)) {
    return true;
  }
  const { parent, content } = struct;
  if (typeof parent === 'string' && parent !== 'items' && parent !== 'meta') {
    return false;
  }
  if (content instanceof Y.ContentAny) {
    return content.arr.every(
      one => !one || (typeof one === 'string' ? one.length <= PIECE_MAX : typeof one !== 'object'),
    );
  }
  return (
    content instanceof Y.ContentString ||
    content instanceof Y.ContentDeleted ||
    (content instanceof Y.ContentType && [Y.Map, Y.Text].includes(content.type.constructor as typeof Y.Map))
  );
}

function isType(struct: Struct): boolean {
  return struct instanceof Y.Item && struct.content instanceof Y.ContentType;
}

function depthOf(item: Y.Item | null): number {
  return item ? 1 + depthOf((item.parent as Y.AbstractType<unknown> | null)?._item ?? null) : 0;
}
