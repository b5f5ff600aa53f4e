// How somebody is called here, and how the user is called by the others.

import type { TargetedSubmitEvent } from 'preact';
import { useId, useState } from 'preact/hooks';
import { NAME_MAX } from '../invitation.js';
import type { Person } from '../view.js';
import { isolated, wordsOfError } from '../words.js';
import { Dialog } from './Dialog.js';
import { announce, useApp, useView } from './use.js';

export function Rename({ person, onClose }: { person: Person; onClose: () => void }) {
  const app = useApp();
  return (
    <Name
      title={`Rename ${isolated(person.name)}`}
      label="What do you call them?"
      hint={
        person.ownName && person.ownName !== person.name
          ? `Only you see this name. They call themselves “${isolated(person.ownName)}”.`
          : 'Only you see this name.'
      }
      value={person.name}
      save={async name => {
        await app.rename(person.contact, name);
        announce(`${person.name} is called ${name} now.`);
      }}
      onClose={onClose}
    />
  );
}

/** How one is called by the others, once that was asked. */
export function Me() {
  const app = useApp();
  const { me } = useView();
  const [isChanging, setChanging] = useState(false);
  return me ? (
    <p class="me">
      The others see you as “{isolated(me)}”.{' '}
      <button type="button" class="as-link" onClick={() => setChanging(true)}>
        Change
      </button>
      {isChanging && (
        <Name
          title="Your name"
          label="How should the others see you?"
          hint="They see it in links, and when you are connected."
          value={me}
          save={async name => app.callMe(name)}
          onClose={() => setChanging(false)}
        />
      )}
    </p>
  ) : null;
}

interface NameProps {
  title: string;
  label: string;
  hint: string;
  value: string;
  save: (name: string) => Promise<void>;
  onClose: () => void;
}

function Name({ title, label, hint, value, save, onClose }: NameProps) {
  const [name, setName] = useState(value);
  const [wrong, setWrong] = useState('');
  const id = useId();
  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const to = name.trim();
    if (!to) {
      setWrong('A name is needed.');
      return;
    }
    try {
      await save(to);
      onClose();
    } catch (error) {
      setWrong(wordsOfError(error, to));
    }
  };
  return (
    <Dialog title={title} close={onClose}>
      <form class="fields" onSubmit={submit} noValidate>
        <div>
          <label for={id}>{label}</label>
          <input
            id={id}
            autofocus
            value={name}
            dir="auto"
            onInput={event => setName(event.currentTarget.value)}
            maxLength={NAME_MAX}
            autocomplete="off"
            autocapitalize="words"
            enterkeyhint="done"
            aria-invalid={wrong ? true : undefined}
            aria-describedby={`${id}-hint ${id}-wrong`}
          />
        </div>
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
        <p class="said" id={`${id}-wrong`} role="alert">
          {wrong}
        </p>
        <button type="submit" class="main wide">
          Save
        </button>
      </form>
    </Dialog>
  );
}
