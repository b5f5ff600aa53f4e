// What is told in passing, at the foot of the screen: what was done and can be taken back, and what went wrong.

import { useEffect, useState } from 'preact/hooks';
import { Close } from './icons.js';
import { type Said, say, useAnnounced, useSaid } from './use.js';

/** Long enough to read it, to get there, and to think again. */
const STAYS = 12_000;

export function Notices({ notStored, deleted }: { notStored: boolean; deleted: boolean }) {
  const [said, setSaid] = useState<Said>();
  const [isHeld, setHeld] = useState(false);
  const [broke, setBroke] = useState(false);
  useSaid(setSaid);
  useEffect(() => {
    if (!said || isHeld) return;
    const timer = setTimeout(() => setSaid(undefined), STAYS);
    return () => clearTimeout(timer);
  }, [said, isHeld]);
  useBroke(() => setBroke(true));
  const dismiss = () => {
    setHeld(false);
    setSaid(undefined);
  };

  return (
    <>
      <div class="notices">
        <div role="alert">
          {deleted && (
            <div class="notice wrong">
              <p>
                The data of this site was deleted, and your lists with it. Copy what you still need from this
                screen, then reload.
              </p>
              <Reload />
            </div>
          )}
          {notStored && !deleted && (
            <div class="notice wrong">
              <p>
                This device cannot store your changes: it may be full. Leave this page open; it is tried
                again.
              </p>
            </div>
          )}
          {broke && (
            <div class="notice wrong">
              <p>Something went wrong.{!notStored && !deleted && ' Your lists are kept.'}</p>
              <Reload />
              <Dismiss dismiss={() => setBroke(false)} />
            </div>
          )}
        </div>
        <div role="status">
          {said && (
            <div
              class="notice"
              onPointerEnter={() => setHeld(true)}
              onPointerLeave={() => setHeld(false)}
              onFocusIn={() => setHeld(true)}
              onFocusOut={() => setHeld(false)}
            >
              <p>{said.words}</p>
              {said.undo && (
                <button
                  type="button"
                  onClick={() => {
                    dismiss();
                    try {
                      said.undo?.();
                    } catch {
                      say('That cannot be taken back any more.');
                    }
                  }}
                >
                  Undo
                </button>
              )}
              <Dismiss dismiss={dismiss} />
            </div>
          )}
        </div>
      </div>
      <Announcer />
    </>
  );
}

function Reload() {
  return (
    <button type="button" onClick={() => location.reload()}>
      Reload
    </button>
  );
}

function Dismiss({ dismiss }: { dismiss: () => void }) {
  return (
    <button type="button" class="plain" aria-label="Dismiss" onClick={dismiss}>
      <Close />
    </button>
  );
}

/** Reads out what `announce` is given. A dialog has its own: what is behind it is silent. */
export function Announcer() {
  const [words, setWords] = useState('');
  // The same words twice are read twice.
  useAnnounced(next => setWords(words => (words === next ? `${next}\u00a0` : next)));
  return (
    <p class="unseen" aria-live="polite">
      {words}
    </p>
  );
}

/** Hears of errors that nobody expected. */
function useBroke(heard: () => void) {
  useEffect(() => {
    const listener = (event: Event) => {
      // Chromium's word for a layout that takes another round: nothing broke.
      if (event instanceof ErrorEvent && event.message.startsWith('ResizeObserver')) return;
      heard();
    };
    addEventListener('error', listener);
    addEventListener('unhandledrejection', listener);
    return () => {
      removeEventListener('error', listener);
      removeEventListener('unhandledrejection', listener);
    };
  }, []);
}
