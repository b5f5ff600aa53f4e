// How somebody stands, by a shape of its own: not by colour alone. The words beside it say it, too.

import type { Mark } from '../words.js';

export function Sign({ mark }: { mark: Mark }) {
  return (
    <svg class={`sign ${mark}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={SIGNS[mark]} />
    </svg>
  );
}

const SIGNS: Record<Mark, string> = {
  here: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16zM8 12.300l2.800 2.800 5.200-5.600',
  away: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16z',
  waiting: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16zM12 7.500v5l3 2',
  wrong: 'M12 4l9 16H3zM12 10v4.500M12 17v.2',
};
