// What somebody types or pastes to be on a list: an entry a line.

/** So many lines are taken of what is pasted: more is no shopping list. */
const LINES_MAX = 500;

/** The entries in some lines, without the dashes, dots and boxes that other lists begin theirs with. */
export function linesOf(text: string): string[] {
  return text
    .split(/\r\n|\r|\n/)
    .map(line => line.replace(/^\s*(?:[-*+•–]\s+)?(?:\[[ xX]?\]\s*|[☐☑✓✔]\s*)?/u, '').trim())
    .filter(line => line !== '')
    .slice(0, LINES_MAX);
}
