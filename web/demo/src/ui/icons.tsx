// The pictures on buttons: lines of one weight, in the colour of the words beside them, and silent.

import type { ComponentChildren } from 'preact';

const picture = (lines: ComponentChildren) => () => (
  <svg
    class="icon"
    viewBox="0 0 24 24"
    width="24"
    height="24"
    fill="none"
    stroke="currentColor"
    stroke-width="1.75"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
    focusable="false"
  >
    {lines}
  </svg>
);

export const Back = picture(<path d="m14.5 5-7 7 7 7" />);
export const Close = picture(<path d="m6 6 12 12M18 6 6 18" />);
export const Plus = picture(<path d="M12 5v14M5 12h14" />);
export const More = picture(
  <>
    <circle cx="5" cy="12" r=".6" fill="currentColor" />
    <circle cx="12" cy="12" r=".6" fill="currentColor" />
    <circle cx="19" cy="12" r=".6" fill="currentColor" />
  </>,
);
export const Tick = picture(<path d="m6 12.5 4 4 8-9" />);
export const Bin = picture(
  <path d="M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 10.5v5.5M13.5 10.5v5.5" />,
);
export const Grip = picture(
  <>
    <path d="M5 9.500h14" />
    <path d="M5 14.500h14" />
  </>,
);
export const People = picture(
  <>
    <circle cx="9" cy="8.5" r="3.25" />
    <path d="M3 19c.3-3.2 2.7-5.2 6-5.200s5.7 2 6 5.200M15.5 5.500a3.25 3.25 0 0 1 0 6M17.5 14.200c2 .7 3.3 2.4 3.5 4.8" />
  </>,
);
export const Envelope = picture(
  <>
    <rect x="3.5" y="5.5" width="17" height="13" rx="2" />
    <path d="m4 7 8 6 8-6" />
  </>,
);
export const Basket = picture(
  <path d="M4 10h16l-1.6 9.500H5.600zM8.5 10 11 4.500M15.5 10 13 4.500M10 13.500v2.500M14 13.500v2.5" />,
);
export const Share = picture(
  <path d="M12 14.5V4M8.5 7.2 12 3.800l3.5 3.400M7.5 10.500H6A1.5 1.5 0 0 0 4.5 12v6.500A1.5 1.5 0 0 0 6 20h12a1.5 1.5 0 0 0 1.5-1.500V12a1.5 1.5 0 0 0-1.5-1.500h-1.5" />,
);
export const Info = picture(
  <>
    <circle cx="12" cy="12" r="8.5" />
    <path d="M12 11v5M12 8v.01" />
  </>,
);
