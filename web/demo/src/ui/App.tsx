// The whole screen. A phone shows one thing at a time; a wide one the lists, the list, and its people side by side, and what the relay
// sees beside them.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { ListView, App as Model } from '../view.js';
import { isLost } from '../words.js';
import { About } from './About.js';
import { Alarms } from './Alarm.js';
import { Dialog } from './Dialog.js';
import { ErrorBoundary } from './Failed.js';
import { Back, Envelope, Info, People as PeopleIcon, Share as ShareIcon } from './icons.js';
import { Join } from './Join.js';
import { List } from './List.js';
import { ListMenu } from './ListMenu.js';
import { FirstList, Lists } from './Lists.js';
import { BadLink, Elsewhere, Missing } from './Missing.js';
import { Notices } from './Notices.js';
import { People } from './People.js';
import { RelayView } from './RelayView.js';
import { Share } from './Share.js';
import { AppContext, go, useMedia, useRoute, useView } from './use.js';

/** From where on there is room for several columns; app.css has the same. */
const WIDE = '(min-width: 56.25rem)';

export function App({ app }: { app: Model }) {
  return (
    <ErrorBoundary>
      <AppContext.Provider value={app}>
        <Screen />
      </AppContext.Provider>
    </ErrorBoundary>
  );
}

function Screen() {
  const view = useView();
  const route = useRoute();
  const wide = useMedia(WIDE);
  const [sharing, setSharing] = useState(false);
  const [people, setPeople] = useState(false);
  const [relay, setRelay] = useState(false);
  const list = route.at === 'list' ? view.lists.find(list => list.id === route.list) : undefined;

  // There is room for a list beside the lists: the first one, as long as none was chosen.
  const first = view.lists[0]?.id;
  useEffect(() => {
    if (wide && route.at === 'lists' && first) go(`#/list/${first}`, true);
  }, [wide, route.at, first]);
  useEffect(() => {
    setSharing(false);
    setPeople(false);
  }, [route.at, list?.id]);
  useEffect(() => {
    if (wide) setPeople(false);
  }, [wide]);
  useArrival(`${route.at} ${list?.id}`);
  const section = 'section' in route && route.section;
  useEffect(() => {
    if (section) document.getElementById(section)?.scrollIntoView();
  }, [section]);

  // A client whose data was deleted runs nothing either, but no other tab does.
  if (!view.isActive && !view.deleted) return <Elsewhere />;

  const share = () => setSharing(true);
  const showRelay = () => setRelay(true);
  const hideRelay = () => setRelay(false);
  const columns = ['app', `at-${route.at}`, list && 'has-list', relay && wide && 'has-relay']
    .filter(Boolean)
    .join(' ');

  return (
    <div class={columns}>
      <header class="bar">
        {route.at !== 'lists' && !wide ? (
          <a class="plain back" href="#/">
            <Back /> Lists
          </a>
        ) : (
          <a class="brand" href="#/">
            <img src="icon.svg" alt="" width="28" height="28" /> Shopping list
          </a>
        )}
        <span class="bar-gap" />
        {list && !wide ? (
          <>
            {!isLost(list) && (
              <button type="button" class="plain with-words share-it" onClick={share}>
                <ShareIcon /> Share
              </button>
            )}
            <button
              type="button"
              class="plain"
              aria-label={peopleLabel(list)}
              onClick={() => setPeople(true)}
            >
              <PeopleIcon />
              {list.people.length > 0 && <span class="count">{list.people.length}</span>}
            </button>
            <ListMenu list={list} wide={wide} showRelay={showRelay} />
          </>
        ) : (
          <>
            <button
              type="button"
              class={`plain ${wide ? 'with-words' : ''}`}
              aria-label="What the relay sees"
              aria-expanded={relay}
              onClick={() => setRelay(!relay)}
            >
              <Envelope /> {wide && 'What the relay sees'}
            </button>
            <a class={`plain ${wide ? 'with-words' : ''}`} aria-label="About" href="#/about">
              <Info /> {wide && 'About'}
            </a>
          </>
        )}
      </header>

      {wide && view.lists.length > 0 && (
        <nav class="side" aria-label="Lists">
          <Lists lists={view.lists} chosen={list?.id} isPage={false} />
        </nav>
      )}
      {!wide && route.at === 'lists' && view.lists.length > 0 && (
        <main class="side">
          <Lists lists={view.lists} chosen={undefined} isPage />
        </main>
      )}

      {(wide || route.at !== 'lists' || view.lists.length === 0) && (
        <main class="middle">
          {list ? (
            <List key={list.id} list={list} wide={wide} share={share} showRelay={showRelay} />
          ) : route.at === 'list' ? (
            <Missing />
          ) : route.at === 'bad-link' ? (
            <BadLink />
          ) : route.at === 'join' ? (
            <Join invitation={route.invitation} />
          ) : route.at === 'about' ? (
            <About />
          ) : (
            view.lists.length === 0 && <FirstList />
          )}
        </main>
      )}

      {list && wide && (
        <aside class="people-column" aria-label="People">
          <People list={list} share={share} />
        </aside>
      )}
      {relay && wide && (
        <aside class="relay-column" aria-label="The relay">
          <RelayView list={list} titled onClose={hideRelay} />
        </aside>
      )}

      {list && people && !wide && (
        <Dialog title="People" look="full" close={() => setPeople(false)}>
          <People list={list} share={share} />
        </Dialog>
      )}
      {relay && !wide && (
        <Dialog title="What the relay sees" look="full" close={hideRelay}>
          <RelayView list={list} onClose={hideRelay} />
        </Dialog>
      )}
      {list && sharing && <Share list={list} onClose={() => setSharing(false)} />}
      <Alarms />
      <Notices notStored={view.notStored} deleted={view.deleted} />
    </div>
  );
}

function peopleLabel({ people }: ListView): string {
  return people.length === 0 ? 'People: nobody yet' : `People: ${people.length}`;
}

/** Who comes to another page begins at its top, and a screen reader at its title, unless something there has the focus. */
function useArrival(page: string) {
  const before = useRef(page);
  useEffect(() => {
    if (page === before.current) return;
    before.current = page;
    scrollTo(0, 0);
    if (document.activeElement !== document.body) return;
    const title = document.querySelector<HTMLElement>('.app h1');
    if (title) title.tabIndex = -1;
    title?.focus();
  }, [page]);
}
