// What every part of the screen uses: the app, its view, where one is, and words that pass by.

import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import { type Route, routeOf } from '../invitation.js';
import type { App, View } from '../view.js';

/** The app; none on the pages that say why there is none. */
export const AppContext = createContext<App | undefined>(undefined);

const NOTHING: View = {
  isActive: true,
  me: '',
  relay: '',
  stun: '',
  lists: [],
  alarms: [],
  news: [],
  notStored: false,
  deleted: false,
};

export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error('there is no app around this');
  return app;
}

/** All that there is to be seen, again after each change. */
export function useView(): View {
  const app = useContext(AppContext);
  const view = app?.view() ?? NOTHING;
  const [, setTold] = useState(view);
  useEffect(() => {
    if (!app) return;
    const changed = () => setTold(app.view());
    changed();
    return app.subscribe(changed);
  }, [app]);
  // As of now: where one went since may be what was made just now.
  return view;
}

/** Where one is: at what the app knows, or at the page about it. */
export type Place = Route | { readonly at: 'about'; readonly section: string };

/** Where one is: what the address bar says. */
export function useRoute(): Place {
  const [route, setRoute] = useState(placeOf);
  useEffect(() => {
    const changed = () => setRoute(placeOf());
    addEventListener('hashchange', changed);
    addEventListener(WENT, changed);
    return () => {
      removeEventListener('hashchange', changed);
      removeEventListener(WENT, changed);
    };
  }, []);
  return route;
}

function placeOf(): Place {
  const [, about, section = ''] = /^#\/about(?:\/([\w-]*))?$/.exec(location.hash)
    ? location.hash.split('/')
    : [];
  return about ? { at: 'about', section } : routeOf(location.href);
}

const WENT = 'shopping-list-went';

/** Goes to `#…`; `instead` of the page that one is on, which is then not among those to go back to. */
export function go(hash: string, instead = false): void {
  history[instead ? 'replaceState' : 'pushState'](null, '', hash);
  dispatchEvent(new Event(WENT));
}

/** Something to be told in passing. */
export interface Said {
  readonly words: string;
  /** Takes back what was done. */
  readonly undo?: () => void;
}

/** Shows words at the foot of the screen for a while, and reads them out. */
export function say(said: Said | string): void {
  dispatchEvent(new CustomEvent(SAID, { detail: typeof said === 'string' ? { words: said } : said }));
}

/** Reads words out to who does not see the screen, politely. */
export function announce(words: string): void {
  dispatchEvent(new CustomEvent(ANNOUNCED, { detail: words }));
}

const SAID = 'shopping-list-said';
const ANNOUNCED = 'shopping-list-announced';

export const useSaid = (heard: (said: Said) => void) => useHeard(SAID, heard);
export const useAnnounced = (heard: (words: string) => void) => useHeard(ANNOUNCED, heard);

function useHeard<T>(type: string, heard: (what: T) => void): void {
  useEffect(() => {
    const listener = (event: Event) => heard((event as CustomEvent<T>).detail);
    addEventListener(type, listener);
    return () => removeEventListener(type, listener);
  });
}

/** Whether a media query is true, as long as it is. */
export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setMatches(media.matches);
    changed();
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, [query]);
  return matches;
}

/** Whether this device has a network at all. */
export function useOnline(): boolean {
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const changed = () => setOnline(navigator.onLine);
    addEventListener('online', changed);
    addEventListener('offline', changed);
    return () => {
      removeEventListener('online', changed);
      removeEventListener('offline', changed);
    };
  }, []);
  return online;
}
