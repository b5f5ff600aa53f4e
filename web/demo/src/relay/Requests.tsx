// What the page asks its relays, as it goes.

import { useState } from 'preact/hooks';
import { Begins } from './Begins.js';
import type { Logged } from './log.js';
import { bytes, type Line, logLines, number, time } from './words.js';

/** Those that are shown at first. */
const SHOWN = 20;

export function Requests({ logged }: { logged: Logged }) {
  const [all, setAll] = useState(false);
  const lines = logLines(logged);
  const shown = all ? lines : lines.slice(0, SHOWN);
  return (
    <section class="relay-requests">
      <h3>What this page asks it</h3>
      <p class="relay-small">
        The latest first. As long as you look at the page, it asks every 25 s whether anything came.
      </p>
      <ol>
        {shown.map(line => (
          <Request key={line.id} {...line} />
        ))}
      </ol>
      {lines.length > shown.length && (
        <button type="button" onClick={() => setAll(true)}>
          Show {number(lines.length - shown.length)} more
        </button>
      )}
    </section>
  );
}

function Request({ began, words, result, begins, failed, isLook, requests, up, down }: Line) {
  return (
    <li class={isLook ? 'relay-own-look' : undefined}>
      <time dateTime={new Date(began).toISOString()}>{time(began)}</time>
      <div>
        <p>
          {words} <span class={failed ? 'relay-wrong' : 'relay-result'}>{result ?? 'It waits.'}</span>
        </p>
        {begins && <Begins with={begins.slice(0, 44)} />}
        <p class="relay-small">
          {requests > 1 && `${requests} requests, `}
          {bytes(up)} up, {bytes(down)} down
        </p>
      </div>
    </li>
  );
}
