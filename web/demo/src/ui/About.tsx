// What this is, whom it trusts, what it needs, and how to host it oneself: in plain words.

import { useView } from './use.js';

export function About() {
  const { relay, stun } = useView();
  const host = URL.canParse(relay) ? new URL(relay).host : 'the relay';
  return (
    <article class="about">
      <h1>About this list</h1>
      <p class="lead">
        A shopping list that you share by a link, with one person or a few. No account, and no server that has
        it: what you write goes from your device to theirs.
      </p>

      <section>
        <h2>Who can read it</h2>
        <p>
          You, and those who used a link to it; each of them can share it on. What the list says is encrypted
          between your devices and never reaches the relay, {host}, in a form that it could read.
        </p>
        <p>
          The relay passes on a few sealed messages by which your devices find each other. It sees when these
          come, how long they are, and from which addresses. “What the relay sees” shows it for your own
          boxes, live.
        </p>
      </section>

      <section class="plainly">
        <h2>Whom you have to trust</h2>
        <p>
          <strong>This page comes from a server, and you have to trust whoever runs that server.</strong> Who
          serves the page could change it, for you alone and at any time, so that it sends your list
          elsewhere. No encryption helps against that. If a relay serves the page, the relay has to be trusted
          like this, too.
        </p>
        <p>If you would rather not, host the page yourself. Then the relay has only messages to pass on.</p>
        <h3>How to host it elsewhere</h3>
        <p>One command writes the page into a folder, for any host of static files:</p>
        <pre>
          <code>connectoid demo --into FOLDER --relay https://relay.example</code>
        </pre>
        <p>Its two settings stand in index.html:</p>
        <pre>
          <code>
            {
              '<meta name="relay" content="https://relay.example">\n<meta name="stun" content="stun:stun.example">'
            }
          </code>
        </pre>
      </section>

      <section>
        <h2>What it needs</h2>
        <p>
          A current Firefox, Chrome or Safari, and a page over <strong>https</strong>: browsers allow
          encryption there and, for trying things out, on the computer itself (http://localhost), and nowhere
          else.
        </p>
        <h3 id="phone">A phone on your network</h3>
        <p>
          An address like http://192.168.1.20:8080 does not do: it is plain http. Give the relay a name with
          https: a reverse proxy with a certificate before it, as Caddy makes in two lines, or any relay that
          you reach by https. Then open the list under that address, share it from there, and the phone can
          scan the code.
        </p>
        <h3>How devices find each other</h3>
        <p>
          Both have to have the list open at the same time to exchange changes. In one network they find each
          other by themselves.{' '}
          {stun
            ? `Between networks the page asks ${stun.replace(/stuns?:/g, '')} how the outside sees you; who runs that sees when you are awake.`
            : 'Between networks mostly not: the page asks no STUN server, which would see when you are awake.'}{' '}
          What you change while apart waits, and is put together when you meet; neither side’s change is lost.
        </p>
      </section>

      <section>
        <h2>Without a network, and as an app</h2>
        <p>
          Opened once, it works without a network. To have it among your apps: on an iPhone, Share, then “Add
          to Home Screen”; on Android and on computers, “Install” or “Add to Home screen” in the browser’s
          menu.
        </p>
      </section>

      <section>
        <h2>Where your lists are</h2>
        <p>
          On this device, in this browser, and on the devices of those you share them with. There is no
          backup. Who clears the data of this site deletes the lists and the keys. Safari does so by itself
          with pages that were not used for a week, if they are not on the Home Screen.
        </p>
        <p>To have a list on another device of yours, share it with yourself: “Me, on the phone”.</p>
      </section>

      <section>
        <h2>Whose work it is</h2>
        <p>
          It is a part of connectoid, free software, and holds the work of others:{' '}
          <a href="licenses.txt">names and licences</a>.
        </p>
      </section>
    </article>
  );
}
