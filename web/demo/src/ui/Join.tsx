// What somebody sees who opened a link: who shares what, and a button. Nothing of the link is used before it is pressed.

import type { ComponentChildren, TargetedSubmitEvent } from 'preact';
import { useId, useState } from 'preact/hooks';
import { linkOf } from '../../../src/index.js';
import { NAME_MAX } from '../invitation.js';
import type { Invitation, ListView } from '../view.js';
import { isolated, whatJoiningMeans, whatNamesakesMean, wordsOfError } from '../words.js';
import { useFocusAs } from './focus.js';
import { BadLink } from './Missing.js';
import { go, useApp, useView } from './use.js';

export function Join({ invitation }: { invitation: Invitation }) {
  const { lists } = useView();
  const { list: id, link } = invitation;
  const found = linkOf(link);
  const had = lists.find(list => list.id === id);
  const own = lists
    .flatMap(({ people }) => people)
    .find(person => person.link && linkOf(person.link)?.connectoid === found?.connectoid);

  if (!found) {
    return <BadLink />;
  }
  if (own) {
    return (
      <Card title="This link is your own">
        <p>
          You made it for {isolated(own.name)}. Nothing happened to it by looking: send it to{' '}
          {isolated(own.name)}, who can use it as before.
        </p>
        <Leave had={had} />
      </Card>
    );
  }
  return <Ask invitation={invitation} relays={found.relays} had={had} />;
}

interface AskProps {
  invitation: Invitation;
  relays: readonly string[];
  had: ListView | undefined;
}

function Ask({ invitation, relays, had }: AskProps) {
  const app = useApp();
  const { me, relay } = useView();
  const [own, setOwn] = useState(me);
  const [wrong, setWrong] = useState('');
  const [isOver, setOver] = useState(false);
  const [isJoining, setJoining] = useState(false);
  const id = useId();
  const over = useFocusAs<HTMLParagraphElement>(isOver);
  const from = isolated(invitation.from || 'Somebody');
  const name = isolated(invitation.listName || 'a list');
  const namesakes = had && whatNamesakesMean(had, invitation.from);
  const others = relays
    .map(url => new URL(url))
    .filter(({ host }) => host !== (URL.canParse(relay) ? new URL(relay).host : ''));

  const join = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (isJoining) {
      return;
    }
    if (!own.trim()) {
      setWrong(`Say how ${from} should see you.`);
      event.currentTarget.querySelector('input')?.focus();
      return;
    }
    setJoining(true);
    setWrong('');
    try {
      app.callMe(own.trim());
      go(`#/list/${await app.join(invitation)}`, true);
    } catch (error) {
      setJoining(false);
      setWrong(wordsOfError(error, invitation.from || 'Somebody'));
      // These will not pass by trying again.
      setOver(
        ['own-link', 'link-taken', 'bad-link', 'this-machine', 'relays', 'unsupported'].includes(
          (error as { code: string }).code,
        ),
      );
    }
  };

  return (
    <Card title={`${from} shares “${name}” with you`}>
      <p>
        So says the link: nothing proves the names in it. If you did not expect it, ask{' '}
        {invitation.from ? from : 'the sender'} before you join.
      </p>
      {namesakes && <p class="note bad">{namesakes}</p>}
      {had && <p class="note">{whatJoiningMeans(had)}</p>}
      {!isOver && (
        <form class="fields" onSubmit={join} noValidate>
          <div>
            <label for={`${id}-own`}>How should {from} see you?</label>
            <input
              id={`${id}-own`}
              value={own}
              onInput={event => setOwn(event.currentTarget.value)}
              maxLength={NAME_MAX}
              placeholder="Your name"
              dir="auto"
              autocomplete="nickname"
              autocapitalize="words"
              enterkeyhint="go"
              aria-invalid={wrong ? true : undefined}
              aria-describedby={`${id}-wrong`}
            />
          </div>
          <p class="said" id={`${id}-wrong`} role="alert">
            {wrong}
          </p>
          <button type="submit" class="main wide" aria-disabled={isJoining}>
            {isJoining ? 'Joining…' : 'Join'}
          </button>
          <p class="hint">
            The link is for one person, and is used up when you press Join. The first time, {from}’s app has
            to be open, too.
          </p>
          {others.length > 0 && (
            <p class="hint">
              You find each other by {others.map(({ host }) => host).join(' and ')}, which the link names.
            </p>
          )}
        </form>
      )}
      {isOver && (
        <p class="said" ref={over} tabIndex={-1}>
          {wrong}
        </p>
      )}
      <Leave had={had} later={!isOver} />
    </Card>
  );
}

function Card({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="join">
      <svg class="join-sign" viewBox="0 0 48 48" aria-hidden="true">
        <path d="M8 20h32l-3.2 19H11.2zM17 20l5-11M31 20l-5-11M19 26v7M29 26v7" />
      </svg>
      <h1>{title}</h1>
      {children}
    </section>
  );
}

/** The way out. */
function Leave({ had, later = false }: { had: ListView | undefined; later?: boolean }) {
  return (
    <p class="leave">
      <a class="button wide" href={had ? `#/list/${had.id}` : '#/'}>
        {had ? `Open “${isolated(had.name)}”` : later ? 'Not now' : 'To the lists'}
      </a>
    </p>
  );
}
