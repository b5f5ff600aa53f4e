// scripts/size.js [--write]
//
// What an app pays in bytes: bundled, minified and gzipped. Fails if the core is larger than promised, or if what the READMEs say
// is not so; --write corrects them. They say it between marks: <!-- size:core -->14.2 kB<!-- /size -->

import { readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { minified, WEB } from './minified.js';

const PROMISE = 20_000;

// The whole library; what is left of it in an app of five lines; and the QR code with what it depends on.
const ENTRIES = {
  core: `export * from './dist/index.js';`,
  app: `
    import { Client } from './dist/index.js';
    const client = await Client.open({ relays: ['https://connecto.id'], on: { channel: ({ channel }) => (channel.onmessage = console.log) } });
    if (location.hash) await client.connect(location, 'them');
    else console.log(await client.share('them'));
    (await client.open('them', 'chat')).send('hello');`,
  qr: `export * from './dist/qr.js';`,
};
// Which of them each file has to name.
const FILES = { 'README.md': ['core', 'app', 'qr'], '../README.md': ['core'] };
const MARKED = /(<!-- size:(\w+) -->)(.*?)(<!-- \/size -->)/g;

const bytes = {};
for (const [what, contents] of Object.entries(ENTRIES)) {
  bytes[what] = gzipSync(await minified(contents), { level: 9 }).length;
  console.log(`${what}: ${bytes[what]} bytes`);
}

const wrong = [];
if (bytes.core > PROMISE) wrong.push(`the core has ${bytes.core} bytes; promised are at most ${PROMISE}`);
for (const [file, needed] of Object.entries(FILES)) {
  const text = readFileSync(WEB + file, 'utf8');
  const named = new Set();
  const corrected = text.replace(MARKED, (all, open, what, said, close) => {
    named.add(what);
    if (bytes[what] === undefined) {
      wrong.push(`${file}: there is no size "${what}", only ${Object.keys(bytes).join(', ')}`);
      return all;
    }
    const is = `${(bytes[what] / 1000).toFixed(1)} kB`;
    if (said !== is && !process.argv.includes('--write')) {
      wrong.push(`${file} says ${what}: ${said}; it is ${is}: node scripts/size.js --write corrects it`);
    }
    return open + is + close;
  });
  for (const what of needed.filter(what => !named.has(what))) {
    wrong.push(`${file} does not say the size: write <!-- size:${what} --><!-- /size --> there`);
  }
  if (process.argv.includes('--write') && corrected !== text) writeFileSync(WEB + file, corrected);
}
for (const words of wrong) console.error(words);
process.exitCode = wrong.length === 0 ? 0 : 1;
