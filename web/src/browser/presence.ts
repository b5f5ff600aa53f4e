// Whether somebody is at the page, and whether the device woke up.

/** How it is at a page. */
export interface Presence {
  /** Whether somebody looks at it. */
  foreground: boolean;
  /** Whether nobody was there for long. */
  idle: boolean;
}

/** What is told. */
export interface Told {
  /** Somebody came or went. That nobody was there for long is not told: it is seen at the next look. */
  changed(): void;
  /** The device woke up, or has a network again. */
  wokeUp(): void;
  /** The page is closed. */
  left(): void;
}

const ACTIVITY = ['pointerdown', 'pointermove', 'keydown', 'touchstart', 'wheel', 'focus'] as const;

/** Watches the page, until `end`. `now` says how it is. */
export function watch(idleAfter: number, told: Told): { now(): Presence; end(): void } {
  const end = new AbortController();
  const options = { signal: end.signal, passive: true, capture: true };
  let active = Date.now();
  const isIdle = () => Date.now() - active >= idleAfter;

  const touched = () => {
    const wasIdle = isIdle();
    active = Date.now();
    if (wasIdle) {
      told.changed();
    }
  };
  const seen = () => {
    if (!document.hidden) {
      touched();
    }
    told.changed();
  };
  const woke = () => {
    touched();
    told.wokeUp();
  };

  for (const type of ACTIVITY) {
    addEventListener(type, touched, options);
  }
  addEventListener('online', woke, options);
  addEventListener('pageshow', event => event.persisted && woke(), options);
  addEventListener('pagehide', event => event.persisted || told.left(), options);
  document.addEventListener('visibilitychange', seen, options);
  return { now: () => ({ foreground: !document.hidden, idle: isIdle() }), end: () => end.abort() };
}
