// The shopping list as the relay serves it, and what holds after each of its tests: the relay was asked for nothing else, and no word
// of what people wrote, nor a link's secret, came to it in any form.

import assert from 'node:assert/strict';
import { World } from '../../chromium/harness.js';

const FILES =
  /^\/demo\/(app\.css|app\.js|icon\.svg|icon-180\.png|icon-512\.png|licenses\.txt|manifest\.webmanifest|sw\.js)?$/;

export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
export const DESKTOP = { viewport: { width: 1280, height: 800 } };

/** A link that was given away: its secrets are the list's id and what follows the last dot. */
const LINK = /^[^#]*#\/join\/([\w-]{22})\/[^?]*\?connectoid=.*\.(A[\w-]{43})$/;

export class Demo extends World {
  #secrets = new Set();
  /** Whether anything goes through the relay in this test. */
  isShared = true;

  get origin() {
    return this.relay.url;
  }

  get mayAsk() {
    return [`POST ${this.relay.url}`, `GET ${this.relay.url}`];
  }

  /** `more`: what the page is like, a phone or a desktop, and more of Playwright's options. */
  browser(more = PHONE) {
    return super.browser({
      ...more,
      reducedMotion: 'reduce',
      permissions: ['microphone', 'clipboard-read', 'clipboard-write'],
    });
  }

  /** The relay must never get this: eight characters or more, for fewer come by chance. */
  keep(secret) {
    assert.ok(secret.length >= 8, secret);
    this.#secrets.add(secret);
  }

  keepLink(link) {
    const [, list, secret] = LINK.exec(link) ?? assert.fail(link);
    this.keep(list);
    this.keep(secret);
  }

  lookOver() {
    for (const { url } of this.relay.gets) assert.ok(url === '/info' || FILES.test(url), url);
    for (const { url } of this.relay.requests) assert.equal(url, '/');
    const seen = [...this.relay.requests, ...this.relay.gets]
      .map(({ url, headers, body }) => JSON.stringify([url, headers, body]).toLowerCase())
      .join('\n');
    assert.equal(seen.includes('"action":"send"'), this.isShared);
    for (const secret of this.#secrets) {
      for (const form of formsOf(secret)) {
        assert.ok(!seen.includes(form.toLowerCase()), `the relay got ${JSON.stringify(secret)} as ${form}`);
      }
    }
  }
}

/** A text as it stands in JSON and in a URL, and what of it stands in base64 of something that contains it. */
function formsOf(text) {
  const forms = [JSON.stringify(text).slice(1, -1), encodeURIComponent(text)];
  for (const before of ['', '.', '..']) {
    const whole = Buffer.from(before + text).toString('base64url');
    // The first and the last characters depend on what stands around it.
    const core = whole.slice(
      before.length && before.length + 1,
      Math.floor(((before + text).length * 4) / 3),
    );
    forms.push(core, core.replaceAll('-', '+').replaceAll('_', '/'));
  }
  return forms;
}
