// Whether somebody is at the page, and whether the device woke up.

/** How it is at a page. */
export interface Presence {
  /** Whether somebody looks at it. */
  foreground: boolean;
  /** Whether nobody was there for long. */
  idle: boolean;
}

/** What is told. That somebody went is not: it is seen at the next look. */
export interface Told {
  /** Somebody came, or the device woke up or has a network again. */
  wokeUp(): void;
  /** The page is closed. */
  left(): void;
}

const ACTIVITY = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'focus'] as const;

/** Watches the page, until `end`. `now` says how it is. */
export function watch(idleAfter: number, told: Told): { now(): Presence; end(): void } {
  const end = new AbortController();
  const options = { signal: end.signal, passive: true, capture: true };
  let active = Date.now();
  const isIdle = () => Date.now() - active >= idleAfter;

  const woke = () => {
    active = Date.now();
    told.wokeUp();
  };
  const touched = () => {
    if (isIdle()) {
      woke();
    }
    active = Date.now();
  };

  for (const type of ACTIVITY) {
    addEventListener(type, touched, options);
  }
  addEventListener('online', woke, options);
  addEventListener('pageshow', event => event.persisted && woke(), options);
  addEventListener('pagehide', event => event.persisted || told.left(), options);
  document.addEventListener('visibilitychange', () => document.hidden || woke(), options);
  return { now: () => ({ foreground: !document.hidden, idle: isIdle() }), end: () => end.abort() };
}
