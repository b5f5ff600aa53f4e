// QR codes, read again by a decoder.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import decodeQR from 'qr/decode.js';
import { qrSvg, qrText } from '../dist/qr.js';

const LINK =
  'https://app.example.com/#connectoid=A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH';

const SCALE = 4;

/** The modules, true if black, as pixels. */
function pixels(modules) {
  const width = modules[0].length * SCALE;
  const height = modules.length * SCALE;
  const data = new Uint8Array(width * height * 3);
  for (let at = 0; at < width * height; at += 1) {
    const [x, y] = [at % width, Math.floor(at / width)].map(pixel => Math.floor(pixel / SCALE));
    data.fill(modules[y][x] ? 0 : 255, at * 3, at * 3 + 3);
  }
  return { width, height, data };
}

/** What an SVG shows: the rectangles of its last path, on white. */
function drawn(svg) {
  const size = Number(/viewBox="0 0 (\d+) \1"/.exec(svg)[1]);
  const modules = Array.from({ length: size }, () => Array(size).fill(false));
  for (const [, x, y, width] of svg.matchAll(/M(\d+) (\d+)h(\d+)v1h-\3z/g)) {
    for (let at = 0; at < Number(width); at += 1) modules[y][Number(x) + at] = true;
  }
  return modules;
}

test('a link can be read from its SVG', () => {
  const modules = drawn(qrSvg(LINK));
  assert.equal(decodeQR(pixels(modules)), LINK);
  // Four modules of white on each side, as the standard asks for.
  const size = modules.length;
  const isBlack = (x, y) => modules[y][x];
  for (let at = 0; at < size; at += 1) {
    for (const near of [0, 1, 2, 3]) {
      const edges = [
        isBlack(at, near),
        isBlack(near, at),
        isBlack(at, size - 1 - near),
        isBlack(size - 1 - near, at),
      ];
      assert.deepEqual(edges, [false, false, false, false]);
    }
  }
  assert.equal(isBlack(4, 4), true);
});

test('it has a title and, if one is asked for, a size', () => {
  const svg = qrSvg('x', { title: 'For <Bob> & Co', size: 300 });
  assert.match(svg, /<title>For &#60;Bob&#62; &#38; Co<\/title>/);
  assert.match(
    svg,
    /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 29 29" width="300" height="300" role="img"/,
  );
  assert.match(qrSvg('x'), /^<svg [^>]*viewBox="0 0 29 29" role="img"[^>]*><title>QR code<\/title>/);
});

test('a link can be read from a terminal', () => {
  const rows = qrText(LINK).trimEnd().split('\n');
  // Light characters are white: each stands for two modules, one above the other.
  const modules = rows.flatMap(row => [
    [...row].map(char => !'█▀'.includes(char)),
    [...row].map(char => !'█▄'.includes(char)),
  ]);
  assert.equal(decodeQR(pixels(modules)), LINK);
});

test('the longest text fits, with less correction; a longer one is refused', () => {
  assert.equal(decodeQR(pixels(drawn(qrSvg('x'.repeat(2331)))), { timeLimit: 10_000 }), 'x'.repeat(2331));
  assert.match(qrSvg('x'.repeat(2953)), /viewBox="0 0 185 185"/);
  assert.throws(() => qrSvg('x'.repeat(2954)), /overflow/);
});
