// What the relay has of it: numbers, boxes, and sealed bytes.

import type { InspectedBox } from '../../../src/inspect.js';
import type { Person } from '../view.js';
import { Begins } from './Begins.js';
import { type BoxMessage, isSent, type Logged, type RelayInfo } from './log.js';
import type { Exchange } from './tap.js';
import type { Look } from './use.js';
import { boxName, bytes, fateOf, hostOf, MESSAGES, number, time } from './words.js';

interface ItSeesProps {
  logged: Logged;
  look: Look;
  /** What lies, or lay, in the boxes that were looked into; and how many lie there, if that is known. */
  stored: readonly BoxMessage[];
  count: number | undefined;
  people: readonly Person[];
  /** The relay of this app. */
  own: string;
  /** Where these are the boxes of one list of several: what is said behind what is counted for all of them. */
  all: string;
}

export function ItSees({ logged, look, stored, count, people, own, all }: ItSeesProps) {
  const { exchanges, requests, up, down } = logged;
  const { boxes = [] } = look;
  const hosts = [...new Set(boxes.map(({ relay }) => hostOf(relay)))];
  const sent = new Map<string, Exchange[]>();
  for (const exchange of exchanges.filter(isSent)) {
    const [box = ''] = exchange.asked.boxes;
    sent.set(box, [...(sent.get(box) ?? []), exchange]);
  }
  return (
    <section class="relay-sealed">
      <h3>The relay sees</h3>
      <p class="relay-small">{hosts.length > 0 ? hosts.join(', ') : hostOf(own)}</p>
      <Numbers of={{ [`Stored now, for you${all && ' (this list)'}`]: count }} />
      <p class="relay-small">Since this page was opened</p>
      <Numbers
        of={{
          [MESSAGES + all]: logged.messages,
          [`Requests${all}`]: requests,
          [`Bytes sent${all}`]: up,
          [`Bytes received${all}`]: down,
        }}
      />

      <div class="relay-look">
        {/* Not disabled: that would take the focus away from who pressed it. */}
        <button type="button" aria-disabled={look.isLooking} onClick={() => look.isLooking || look.again()}>
          Look now
        </button>
        <p class="relay-small">
          {look.failed ? `Could not look: ${look.failed}` : look.when ? `Looked at ${time(look.when)}` : ' '}
        </p>
      </div>

      {boxes.length === 0 && (
        <p class="relay-small">
          {people.length === 0
            ? 'You have no box there: nobody has a link of yours.'
            : look.boxes && !look.isLooking
              ? 'Your box was not there yet.'
              : 'Looking into your boxes…'}
        </p>
      )}
      <ul class="relay-boxes">
        {boxes.map(box => (
          <Own
            key={`${box.relay} ${box.box}`}
            box={box}
            stored={stored.filter(one => one.relay === box.relay && one.box === box.box)}
            info={logged.relays.get(box.relay)}
            name={people.find(({ contact }) => contact === box.contact)?.name}
            host={hosts.length > 1 ? hostOf(box.relay) : undefined}
          />
        ))}
        {[...sent].map(([box, some]) => (
          <li key={box} class="relay-box">
            <h4>
              <span>
                Box <code>{boxName(box)}</code>
              </span>
              <span class="relay-whose">somebody else’s{all}</span>
            </h4>
            <p class="relay-small">
              Sent to, {some.length === 1 ? 'once' : `${some.length} times`}, last at{' '}
              {time(some.at(-1)?.began ?? 0)}; fetched or not: only its owner and the relay know. The relay
              asks you for a proof that you do not have.
            </p>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** What is counted; `undefined` if it is not known. */
function Numbers({ of }: { of: Record<string, number | undefined> }) {
  return (
    <dl class="relay-numbers">
      {Object.entries(of).map(([what, count]) => (
        <div key={what}>
          <dt>{what}</dt>
          <dd>{count === undefined ? '?' : number(count)}</dd>
        </div>
      ))}
    </dl>
  );
}

interface OwnProps {
  box: InspectedBox;
  stored: readonly BoxMessage[];
  info: RelayInfo | undefined;
  name: string | undefined;
  host: string | undefined;
}

/** A box of this device at one of its relays. */
function Own({ box: { box, why }, stored, info, name, host }: OwnProps) {
  return (
    <li class="relay-box">
      <h4>
        <span>
          Box <code title={box}>{boxName(box)}</code>
        </span>
        <span class="relay-whose">
          yours{name && `, for ${name}`}
          {host && `, at ${host}`}
        </span>
      </h4>
      {why !== undefined && (
        <p class="relay-small relay-wrong">
          It did not say what is in it: {why === 'unreachable' ? 'it cannot be reached' : why}
        </p>
      )}
      {stored.length === 0 && why === undefined && (
        <p class="relay-small">Empty, and nothing came since this page was opened.</p>
      )}
      {stored.length > 0 && (
        <ol class="relay-stored">
          {[...stored].reverse().map(one => (
            <li key={one.at}>
              <p>
                {bytes(one.size)}, stored at {time(one.at / 1000 - (info?.ahead ?? 0))};{' '}
                <span class="relay-gone">{fateOf(one, info)}</span>
              </p>
              <Begins with={one.begins} />
            </li>
          ))}
        </ol>
      )}
    </li>
  );
}
