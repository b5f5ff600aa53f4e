// Ending it with one person, or taking their link back.

import type { ListView, Person } from '../view.js';
import { isolated, whatUnshareMeans, wordsOfError } from '../words.js';
import { Dialog } from './Dialog.js';
import { say, useApp } from './use.js';

export function Unshare({ list, person, onClose }: { list: ListView; person: Person; onClose: () => void }) {
  const app = useApp();
  const { contact, link } = person;
  const name = isolated(person.name);
  const unshare = () => {
    // It takes as long as the relay does. They are not among the list's people any more from now on.
    app.unshare(contact).then(
      () =>
        say(
          link
            ? `The link for ${name} does not work any more.`
            : `The list is not shared with ${name} any more.`,
        ),
      error => say(wordsOfError(error, person.name)),
    );
    onClose();
  };
  return (
    <Dialog title={link ? `Take the link for ${name} back?` : `Unshare ${name}?`} close={onClose}>
      <p>
        {link
          ? `Nobody can use it any more then. To share the list with ${name} after all, make a new link.`
          : whatUnshareMeans(person.name, list)}
      </p>
      <div class="ways">
        <button type="button" class="danger" onClick={unshare}>
          {link ? 'Take it back' : 'Unshare'}
        </button>
        <button type="button" autofocus onClick={onClose}>
          Keep
        </button>
      </div>
    </Dialog>
  );
}
