// The app's URLs, there and back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import model from './load.js';

const { findConnectoid, invitationUrl, linkIn, listHash, routeOf } = model;

const LIST = 'AAECAwQFBgcICQoLDA0ODw';
const PAGE = 'https://relay.example/demo/';

/** That of tests/vectors/connectoid-1.json. */
const CONNECTOID =
  'A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH';
const { connectoid } = findConnectoid(CONNECTOID);

const link = (listName, from, page = PAGE) => linkIn(invitationUrl(page, LIST, listName, from), connectoid);

test('a link to a list', () => {
  const url = link('Party & more', 'Alice');
  assert.equal(url, `${PAGE}#/join/${LIST}/Party%20%26%20more/Alice?connectoid=${CONNECTOID}`);
  assert.deepEqual(routeOf(url), {
    at: 'join',
    invitation: { list: LIST, listName: 'Party & more', from: 'Alice', link: url },
  });
  assert.equal(link('', ''), `${PAGE}#/join/${LIST}//?connectoid=${CONNECTOID}`);
});

test('it leads to the page that made it, whatever was open there', () => {
  for (const page of [`${PAGE}?a=1#/list/x`, `${PAGE}#/join/x?connectoid=y`, `${PAGE}#`]) {
    assert.equal(invitationUrl(page, LIST, 'a', 'b'), `${PAGE}#/join/${LIST}/a/b`);
  }
});

test('odd names come through', () => {
  for (const name of [
    'Käse/Brot',
    '100 %',
    '%2F%',
    '?connectoid=x',
    '#&;!=connectoid=',
    '😀👩‍👩‍👧',
    '../..',
    '.',
    'a+b c',
    '\'"<b>',
    'x'.repeat(40),
    'العربية',
  ]) {
    const url = link(name, name);
    const { at, invitation } = routeOf(url);
    assert.equal(at, 'join', name);
    assert.deepEqual([invitation.list, invitation.listName, invitation.from], [LIST, name, name]);
    assert.equal(findConnectoid(url).place, 'fragment');
    // As a browser has it in `location`.
    assert.deepEqual(routeOf(new URL(url).href).invitation.from, name);
  }
});

test('names that are too long are cut, and half an emoji is none', () => {
  const from = text => routeOf(link('List', text)).invitation.from;
  assert.equal(from('x'.repeat(41)), 'x'.repeat(40));
  assert.equal(from(`${'x'.repeat(39)}😀`), 'x'.repeat(39));
  assert.equal(from('\ud83d'), '\ufffd');
  assert.equal(from('  Anna \n Maria '), 'Anna Maria');
  assert.equal(routeOf(link('y'.repeat(81), 'a')).invitation.listName, 'y'.repeat(80));
  // What does not decode stays as it is.
  const url = `${PAGE}#/join/${LIST}/100%/%E0%A4%A?connectoid=${CONNECTOID}`;
  assert.deepEqual(routeOf(url).invitation.listName, '100%');
});

test('the app’s own pages', () => {
  assert.equal(listHash(LIST), `#/list/${LIST}`);
  for (const [hash, route] of [
    ['', { at: 'lists' }],
    ['#', { at: 'lists' }],
    ['#/', { at: 'lists' }],
    ['#/nothing', { at: 'lists' }],
    ['#/about', { at: 'about' }],
    [`#/list/${LIST}`, { at: 'list', list: LIST }],
    ['#/list/short', { at: 'lists' }],
    ['#/list/', { at: 'lists' }],
    [`#/list/${LIST}%2F`, { at: 'lists' }],
  ]) {
    assert.deepEqual(routeOf(PAGE + hash), route, hash);
  }
});

test('links that were cut or changed lead nowhere', () => {
  const url = link('Party', 'Alice');
  for (const bad of [
    url.slice(0, -3),
    url.slice(0, url.indexOf('?')),
    url.replace(LIST, LIST.slice(1)),
    url.replace(LIST, `${LIST}a`),
    `${PAGE}#connectoid=${CONNECTOID}`,
    `${PAGE}#/list?connectoid=${CONNECTOID}`,
  ]) {
    assert.deepEqual(routeOf(bad), { at: 'bad-link' }, bad);
  }
});
