// Of Yjs, and of what draws QR codes, what the shopping list uses: esbuild keeps the rest too, as tables, classes and options name all
// of it. The demo is built with this, and its tests run with it.

import { readFileSync } from 'node:fs';

/** All that prints, or asks where it runs: left are two words, in a page that never prints, and the browser's answers. */
const QUIET = {
  'logging.js': `export const [BOLD, UNBOLD, ORANGE, RED] = '    ';
    export const print = () => {}, warn = message => console.warn(message);`,
  'environment.js': 'export const isBrowser = true, getVariable = () => undefined;',
};

const YJS = [
  // Arrays, and the types of XML. Who sends one is refused as anybody is who sends what Yjs does not know.
  [/\n {2}readYArray,\n/, '\n  undefined,\n'],
  emptied('YArray'),
  ...['TreeWalker', 'Fragment', 'Element', 'Event', 'Hook', 'Text'].map(name => emptied(`YXml${name}`)),
  [/,\n {2}readYXmlElement,\n {2}readYXmlFragment,\n {2}readYXmlHook,\n {2}readYXmlText\n\]/, '\n]'],
  // The second form of an update: neither stored nor sent here, it is that of what waits in memory for an update it stands on, for
  // which the first one does as well.
  ...['DSEncoder', 'DSDecoder', 'UpdateEncoder', 'UpdateDecoder'].map(name => [
    classOf(`${name}V2`),
    `\nconst ${name}V2 = ${name}V1;\n`,
  ]),
  // What changed within a text, and texts with formats: here a text is read as it is.
  [classOf('YTextEvent'), '\nclass YTextEvent extends YEvent {}\n'],
  ...['toDelta', 'applyDelta'].map(name => [RegExp(`\n  ${name} \\(.*\\) {\n[^]*?\n  }\n`), '\n']),
];

/** Each way to draw a code but the plain one, of which the library makes its own. */
const QR = ['renderAscii', 'renderTerm', 'renderSvg', 'renderGif', 'gifDataUrl'].map(name => [
  RegExp(`\nfunction ${name}\\(.*\\) {\n[^]*?\n}\n`),
  `\nfunction ${name}() {}\n`,
]);

function emptied(name) {
  return [classOf(name), `\nclass ${name} {}\n`];
}

/** A class, as Yjs is formatted. */
function classOf(name) {
  return RegExp(`\nclass ${name} (extends \\w+ )?{\n[^]*?\n}\n`);
}

function without(path, parts) {
  let contents = readFileSync(path, 'utf8');
  for (const [part, instead] of parts) {
    if (!part.test(contents)) {
      throw new Error(`${path} is another version, which has no ${part}`);
    }
    contents = contents.replace(part, instead);
  }
  return { contents };
}

/** For esbuild. */
export const LESS = {
  name: 'less',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]lib0[\\/](logging|environment)\.js$/ }, ({ path }) => ({
      contents: QUIET[path.split(/[\\/]/).at(-1)],
    }));
    onLoad({ filter: /[\\/]yjs[\\/]dist[\\/]yjs\.mjs$/ }, ({ path }) => without(path, YJS));
    onLoad({ filter: /[\\/]node_modules[\\/]qr[\\/]index\.js$/ }, ({ path }) => without(path, QR));
  },
};
