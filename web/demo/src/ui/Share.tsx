// Sharing a list with one person: whom it is for, and the link, to be sent, copied or scanned.

import type { TargetedSubmitEvent } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { qrSvg } from '../../../src/qr.js';
import { NAME_MAX } from '../invitation.js';
import type { ListView, Person } from '../view.js';
import { isolated, isSame, isThisComputer, wordsOfError, worksFor } from '../words.js';
import { Dialog } from './Dialog.js';
import { useFocusAs } from './focus.js';
import { useApp, useView } from './use.js';

interface Props {
  list: ListView;
  /** Whose link is shown again; a new one is made if there is nobody. */
  person?: Person | undefined;
  onClose: () => void;
}

export function Share({ list, person, onClose }: Props) {
  const [made, setMade] = useState<{ name: string; link: string }>();
  const shown = made ?? (person?.link ? { name: person.name, link: person.link } : undefined);
  return (
    <Dialog
      title={shown ? `The link for ${isolated(shown.name)}` : `Share “${isolated(list.name)}”`}
      close={onClose}
      look="share"
    >
      {shown ? (
        <Link list={list} {...shown} onClose={onClose} />
      ) : (
        <Whom list={list} onMade={(name, link) => setMade({ name, link })} />
      )}
    </Dialog>
  );
}

function Whom({ list, onMade }: { list: ListView; onMade: (name: string, link: string) => void }) {
  const app = useApp();
  const { me } = useView();
  // Asked once, and the field stays as long as this does.
  const [asksMe] = useState(!me);
  const [name, setName] = useState('');
  const [own, setOwn] = useState('');
  const [wrong, setWrong] = useState<{ field: 'whom' | 'own'; words: string }>();
  const [isMaking, setMaking] = useState(false);
  const id = useId();
  const fields = useRef<HTMLFormElement>(null);

  const refuse = (field: 'whom' | 'own', words: string) => {
    setWrong({ field, words });
    fields.current?.querySelector<HTMLElement>(`[name="${field}"]`)?.focus();
  };
  const make = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (isMaking) {
      return;
    }
    const whom = name.trim();
    const words =
      (whom
        ? list.people.some(person => isSame(person.name, whom)) && wordsOfError({ code: 'name-taken' }, whom)
        : 'Say whom it is for. Only you see this name.') || '';
    if (words) {
      refuse('whom', words);
      return;
    }
    if (asksMe && !own.trim()) {
      refuse('own', `Say how ${isolated(whom)} should see you: it stands in the link.`);
      return;
    }
    setMaking(true);
    setWrong(undefined);
    try {
      if (asksMe) {
        app.callMe(own.trim());
      }
      onMade(whom, await app.share(list.id, whom));
    } catch (error) {
      setMaking(false);
      refuse('whom', wordsOfError(error, whom));
    }
  };

  return (
    <form class="fields" ref={fields} onSubmit={make} noValidate>
      <div>
        <label for={`${id}-whom`}>Who is it for?</label>
        <input
          id={`${id}-whom`}
          name="whom"
          autofocus
          value={name}
          onInput={event => setName(event.currentTarget.value)}
          maxLength={NAME_MAX}
          placeholder="Bob"
          dir="auto"
          autocomplete="off"
          autocapitalize="words"
          enterkeyhint={asksMe ? 'next' : 'done'}
          aria-invalid={wrong?.field === 'whom' ? true : undefined}
          aria-describedby={`${id}-wrong`}
        />
      </div>
      {asksMe && (
        <div>
          <label for={`${id}-own`}>How should {isolated(name.trim()) || 'they'} see you?</label>
          <input
            id={`${id}-own`}
            name="own"
            aria-invalid={wrong?.field === 'own' ? true : undefined}
            aria-describedby={`${id}-wrong`}
            value={own}
            onInput={event => setOwn(event.currentTarget.value)}
            maxLength={NAME_MAX}
            placeholder="Your name"
            dir="auto"
            autocomplete="nickname"
            autocapitalize="words"
            enterkeyhint="done"
          />
        </div>
      )}
      <p class="said" id={`${id}-wrong`} role="alert">
        {wrong?.words}
      </p>
      <button type="submit" class="main wide" aria-disabled={isMaking}>
        {isMaking ? 'Making the link…' : 'Make the link'}
      </button>
      <p class="hint">A link is for one person. For somebody else, make another one.</p>
    </form>
  );
}

interface LinkProps {
  list: ListView;
  name: string;
  link: string;
  onClose: () => void;
}

function Link({ list, name: whom, link: made, onClose }: LinkProps) {
  const { me, relay, lists } = useView();
  const [said, setSaid] = useState('');
  const [isCopied, setCopied] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const ways = useRef<HTMLDivElement>(null);
  const id = useId();
  const canSend = typeof navigator.share === 'function';
  const name = isolated(whom);
  const people = lists.find(({ id }) => id === list.id)?.people ?? [];
  // As long as nobody used it. What is before its end goes with the list's name, which may change.
  const person = people.find(({ connectoid }) => connectoid && made.endsWith(connectoid));
  const link = person?.link ?? made;
  const contact = useRef<string>(undefined);
  if (person) contact.current = person.contact;
  const isOver = !!contact.current && !person;
  const then = people.find(person => person.contact === contact.current);
  const isUsed = then && then.trouble !== 'link-expired';
  const done = useFocusAs<HTMLParagraphElement>(isOver);

  useEffect(() => ways.current?.querySelector('button')?.focus(), []);
  useEffect(() => {
    const timer = isCopied ? setTimeout(() => setCopied(false), 4000) : undefined;
    return () => clearTimeout(timer);
  }, [isCopied]);

  const copy = async () => {
    const isDone = await navigator.clipboard?.writeText(link).then(
      () => true,
      () => false,
    );
    if (!isDone) {
      field.current?.focus();
      field.current?.select();
    }
    // What is selected can be copied without a permission, in older ways.
    if (isDone || document.execCommand('copy')) {
      setCopied(true);
      setSaid('The link is copied.');
    } else {
      setSaid('The link is selected: copy it with Ctrl+C, or hold it and choose “Copy”.');
    }
  };
  const send = async () => {
    const text = `${isolated(me) || 'Somebody'} shares the shopping list “${isolated(list.name)}” with you. The link is for you alone:`;
    try {
      await navigator.share({ title: list.name, text, url: link });
      setSaid('The link was handed over.');
    } catch (error) {
      // Whoever closes the sheet of the system changed their mind.
      if ((error as Error).name !== 'AbortError') {
        await copy();
      }
    }
  };

  if (isOver) {
    return (
      <div class="used">
        <p ref={done} tabIndex={-1}>
          <strong>{isUsed ? 'The link was used.' : 'The link does not work any more.'}</strong>{' '}
          {isUsed &&
            (then.flows
              ? `${name} is here.`
              : `${name} should appear in the list now. Nobody else can use it any more.`)}
        </p>
        <button type="button" class="main wide" onClick={onClose}>
          Done
        </button>
      </div>
    );
  }
  const rest = person?.expires === undefined ? 'for 7 days' : worksFor(person.expires, Date.now());
  return (
    <>
      <p class="lead">For one person. Who joins first is in this list with you; it works {rest}.</p>
      <div class="ways" ref={ways}>
        {canSend && (
          <button type="button" class="main" onClick={send}>
            Send…
          </button>
        )}
        <button type="button" class={canSend ? '' : 'main'} onClick={copy}>
          {isCopied ? 'Copied ✓' : 'Copy the link'}
        </button>
      </div>
      <p class={isCopied ? 'unseen' : 'hint'} role="status">
        {said}
      </p>
      <label class="unseen" for={`${id}-link`}>
        The link
      </label>
      <input
        id={`${id}-link`}
        class="link"
        ref={field}
        readOnly
        value={link}
        spellcheck={false}
        onFocus={event => event.currentTarget.select()}
      />
      <Qr link={link} name={name} />
      {(isThisComputer(location.href) || isThisComputer(relay)) && (
        <p class="note">
          This address works on this computer only. A phone on your network can open it when the relay is
          reachable there over https: browsers allow no encryption to pages that come over plain http.{' '}
          <a href="#/about/phone">How to do that</a>
        </p>
      )}
    </>
  );
}

/** The link for the camera of a phone beside: black on white, whatever the screen's colours are. */
function Qr({ link, name }: { link: string; name: string }) {
  const src = `data:image/svg+xml,${encodeURIComponent(qrSvg(link))}`;
  return (
    <figure class="qr">
      <img src={src} alt={`QR code of the link for ${name}`} width="320" height="320" />
      <figcaption>Or let {name} scan it with the camera of a phone.</figcaption>
    </figure>
  );
}
