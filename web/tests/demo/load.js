// The app's model for Node: its TypeScript, bundled into one module that goes with the process.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { LESS } from '../../scripts/less.js';

const SOURCES = fileURLToPath(new URL('../../demo/src/', import.meta.url));

// One bundle, so that all of it has one Yjs and one library.
const ENTRY = `
  export * from './list.js';
  export * from './sync.js';
  export * from './kept.js';
  export * from './invitation.js';
  export * from './app.js';
  export * as Y from 'yjs';
  export { linkIn } from '../../src/link.js';
  export { findConnectoid } from '../../src/link.js';
  export { memory } from '../../src/memory.js';
  export { Client, ConnectoidError } from '../../src/index.js';
`;

const folder = mkdtempSync(join(tmpdir(), 'connectoid-list-'));
const outfile = join(folder, 'model.mjs');
let model;
try {
  await build({
    stdin: { contents: ENTRY, resolveDir: SOURCES, loader: 'ts' },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['browser'],
    plugins: [LESS],
    logLevel: 'error',
  });
  model = await import(pathToFileURL(outfile));
} finally {
  rmSync(folder, { recursive: true });
}

/** All that the app's model exports, with the Yjs and the parts of the library that it uses. */
export default model;
