// scripts/demo.js [--into DIR | --check]
//
// Builds the shopping list (demo/) into the folder that is compiled into the relay, byte for byte the same each time. --check
// builds nothing there: it fails if what is there is not what the sources build.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';
import { LESS } from './less.js';
import { minified as library } from './minified.js';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const COMMITTED = fileURLToPath(new URL('../../src/http/demo/', import.meta.url));
const COPIED = ['index.html', 'manifest.webmanifest', 'icon.svg', 'icon-180.png', 'icon-512.png'];

const OPTIONS = {
  absWorkingDir: WEB,
  bundle: true,
  charset: 'utf8',
  legalComments: 'none', // All of it is in licenses.txt.
  target: 'es2022',
  write: false,
  metafile: true,
};

/** The library as small as it gets: what the app imports of it is one module, made as connectoid.min.js is. (The QR code has a licence of its own.) */
const LIBRARY = {
  name: 'library',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(\.\.\/)+src\/(index|emoji|inspect)\.js$/ }, () => ({
      path: 'library',
      namespace: 'library',
    }));
    onLoad({ filter: /./, namespace: 'library' }, async () => ({
      contents: await library(`
        export * from './src/index.js';
        export * from './src/emoji.js';
        export * from './src/inspect.js';`),
    }));
  },
};

/** esbuild bundles, terser minifies: that makes a difference of several kB. */
async function minified(code) {
  const { code: less } = await minify(Buffer.from(code).toString(), {
    module: true,
    ecma: 2022,
    compress: { passes: 3, ecma: 2022, unsafe_methods: true },
    format: { ascii_only: false },
  });
  return Buffer.from(`${less}\n`);
}

/** Each file's name and bytes. */
async function built() {
  const files = new Map(COPIED.map(name => [name, readFileSync(`${WEB}demo/${name}`)]));
  const { outputFiles, metafile } = await build({
    ...OPTIONS,
    entryPoints: { app: 'demo/src/main.tsx' },
    format: 'esm',
    plugins: [LESS, LIBRARY],
    outdir: 'out',
  });
  const css = await build({
    ...OPTIONS,
    minify: true,
    entryPoints: { app: 'demo/src/app.css' },
    outdir: 'out',
  });
  files.set('app.js', await minified(outputFiles[0].contents));
  files.set('app.css', Buffer.from(css.outputFiles[0].contents));
  files.set('licenses.txt', Buffer.from(licenses(Object.keys(metafile.inputs))));

  // The service worker keeps what the app needs where there is no network, under a name that is another one when any file is. Nobody
  // reads licences there, and the pictures are for the device that the app is installed on, which keeps them itself.
  const names = [...files.keys()].sort();
  const version = createHash('sha256');
  for (const name of names)
    version.update(createHash('sha256').update(name).update('\0').update(files.get(name)).digest());
  const kept = names
    .filter(name => !/^licenses|\.png$/.test(name))
    .map(name => [name, name === 'index.html' ? '' : integrity(files.get(name))]);
  const worker = await build({
    ...OPTIONS,
    entryPoints: { sw: 'demo/sw.ts' },
    format: 'iife',
    outdir: 'out',
    define: {
      FILES: JSON.stringify(Object.fromEntries(kept)),
      VERSION: JSON.stringify(version.digest('base64url').slice(0, 16)),
    },
  });
  files.set('sw.js', await minified(worker.outputFiles[0].contents));
  return files;
}

/** As browsers check it. */
function integrity(bytes) {
  return `sha256-${createHash('sha256').update(bytes).digest('base64')}`;
}

/** Whose work is in it, under which licences: the notices that they ask for. */
function licenses(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name) packages.add(name);
  }
  const texts = [...packages].sort().map(name => text(name, `${WEB}node_modules/${name}/`));
  return [
    'The shopping list is a part of connectoid, and holds the work of others. Their names and licences:\n',
    text('connectoid', WEB),
    ...texts,
  ].join(`\n${'-'.repeat(80)}\n\n`);
}

function text(name, folder) {
  const { version, license } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
  const files = readdirSync(folder)
    .filter(file => /^licen[cs]e/i.test(file))
    .sort();
  if (files.length === 0) throw new Error(`${name} has no text of its licence`);
  // Of a choice of licences the first one is enough: MIT, where there is one.
  const file = files.find(file => /mit/i.test(file)) ?? files[0];
  const words = readFileSync(folder + file, 'utf8')
    .replaceAll('\r\n', '\n')
    .trim();
  return `${name} ${version} (${license})\n\n${words}\n`;
}

function write(files, folder) {
  mkdirSync(folder, { recursive: true });
  // What is no longer built is not served either.
  for (const name of readdirSync(folder)) if (!files.has(name)) rmSync(`${folder}/${name}`);
  for (const [name, bytes] of files) writeFileSync(`${folder}/${name}`, bytes);
}

/** Which files in the folder are others than the sources build. */
function differing(files, folder) {
  const there = existsSync(folder) ? readdirSync(folder) : [];
  const names = new Set([...files.keys(), ...there]);
  return [...names].filter(name => {
    if (!files.has(name) || !there.includes(name)) return true;
    return !readFileSync(`${folder}/${name}`).equals(files.get(name));
  });
}

const [argument, value] = process.argv.slice(2);
const files = await built();
if (argument === '--check') {
  const wrong = differing(files, COMMITTED).sort();
  if (wrong.length > 0) {
    console.error(
      `src/http/demo/ is not what web/demo/ builds: ${wrong.join(', ')}. Run: npm --prefix web run demo, and commit src/http/demo/`,
    );
    process.exitCode = 1;
  }
} else if (argument === undefined || (argument === '--into' && value)) {
  write(files, value ?? COMMITTED);
} else {
  console.error('usage: node scripts/demo.js [--into DIR | --check]');
  process.exitCode = 2;
}
