// Seven emoji that two people compare by voice or face to face: whether there is nobody between them.

import { useId, useState } from 'preact/hooks';
import { emoji, emojiNames } from '../../../src/emoji.js';
import type { Person } from '../view.js';
import { isolated, wordsOfError } from '../words.js';
import { Dialog } from './Dialog.js';
import { useFocusAs } from './focus.js';
import { announce, useApp } from './use.js';

export function Check({ person, onClose }: { person: Person; onClose: () => void }) {
  const app = useApp();
  const [differs, setDiffers] = useState(false);
  const [wrong, setWrong] = useState('');
  const { contact, sas, verification } = person;
  const name = isolated(person.name);
  const id = useId();
  const again = useFocusAs<HTMLButtonElement>(differs);

  const tell = async (same: boolean) => {
    try {
      await app.verify(contact, same);
      announce(same ? `${name} is verified.` : `The connection with ${name} was ended.`);
      onClose();
    } catch (error) {
      setWrong(wordsOfError(error, person.name));
    }
  };

  if (!sas) {
    return (
      <Dialog title={`Is it ${name}?`} close={onClose} look="check">
        <p>There is nothing to compare yet: you and {name} have to be connected once.</p>
      </Dialog>
    );
  }
  const symbols = emoji(sas);
  return (
    <Dialog title={`Is it ${name}?`} close={onClose} look="check">
      <p id={id}>
        Call {name}, or meet, and compare: the app shows seven emoji on both sides. If they are the same, in
        this order, nobody sits between you. {name} finds them under People, at your name.
      </p>
      <ol class="emoji" aria-describedby={id}>
        {emojiNames(sas).map((word, i) => (
          <li key={i}>
            <span class="symbol" aria-hidden="true">
              {symbols[i]}
            </span>
            <span>{word.replace(/(?<=[a-z])(?=[A-Z])/g, ' ')}</span>
          </li>
        ))}
      </ol>
      <details class="numbers">
        <summary>As numbers</summary>
        <p>{sas.numbers.join(' ')}</p>
      </details>
      {verification === 'verified' && <p class="note good">You said before that they are the same.</p>}
      {verification === 'mismatch' && <p class="note bad">You said before that they differ.</p>}
      <p class="said" role="alert">
        {wrong}
      </p>
      {differs ? (
        <div class="note bad">
          <p role="alert">
            <strong>Then this may not be {name}.</strong> Look at all seven again, and at the name above. If
            they do differ, the connection ends, and nothing of the list goes either way any more.
          </p>
          <div class="ways">
            <button type="button" class="danger" onClick={() => tell(false)}>
              End the connection
            </button>
            <button type="button" ref={again} onClick={() => setDiffers(false)}>
              Look again
            </button>
          </div>
        </div>
      ) : (
        <div class="ways">
          <button type="button" class="main" onClick={() => tell(true)}>
            They are the same
          </button>
          <button type="button" class="danger" onClick={() => setDiffers(true)}>
            They differ
          </button>
        </div>
      )}
    </Dialog>
  );
}
