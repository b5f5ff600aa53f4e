// Instead of a list: there is none here, the link to it was cut, or another tab has it.

import { useState } from 'preact/hooks';
import { useApp } from './use.js';

export function Missing() {
  return (
    <div class="instead">
      <h1>This list is not here</h1>
      <p>
        It was deleted on this device, or never was on it. A list comes here by a link that somebody sends
        you.
      </p>
      <p>
        <a class="button" href="#/">
          To your lists
        </a>
      </p>
    </div>
  );
}

export function BadLink() {
  return (
    <div class="instead">
      <h1>This link is not whole</h1>
      <p>
        Something of it was lost or changed on its way. Ask for it again, and open it as it came, to its last
        character.
      </p>
      <p>
        <a class="button" href="#/">
          To your lists
        </a>
      </p>
    </div>
  );
}

export function Elsewhere() {
  const app = useApp();
  const [isAsked, setAsked] = useState(false);
  return (
    <main class="instead whole">
      <img src="icon.svg" alt="" width="48" height="48" />
      <h1>The list is open in another tab</h1>
      <p>It can be in one at a time.</p>
      <p>
        <button
          type="button"
          class="main"
          disabled={isAsked}
          onClick={() => {
            setAsked(true);
            void app.useHere();
          }}
        >
          Use it here
        </button>
      </p>
    </main>
  );
}
