// Where two texts differ: what is changed of an entry is this, and not all of it.

/** The one piece in which two texts differ: `text` stands instead of what was from `from` to `to`. */
export interface Change {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/**
 * What turns `before` into `after`: what is between the beginning and the end that both have; nothing if they are the same. Yjs knows no
 * half characters: a pair of surrogates stays one.
 */
export function difference(before: string, after: string): Change | undefined {
  if (before === after) {
    return undefined;
  }
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before[from] === after[from]) {
    from += 1;
  }
  if (splits(before, from) || splits(after, from)) {
    from -= 1;
  }
  let same = 0;
  while (same < shorter - from && before.at(-1 - same) === after.at(-1 - same)) {
    same += 1;
  }
  if (splits(before, before.length - same) || splits(after, after.length - same)) {
    same -= 1;
  }
  return { from, to: before.length - same, text: after.slice(from, after.length - same) };
}

/** Whether a pair of surrogates would be cut at this place. */
function splits(text: string, at: number): boolean {
  return at > 0 && /^[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.slice(at - 1, at + 1));
}
