// The library without one of its defences: a copy of `dist` in a temporary folder, in which a line is another.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { library } from './world.js';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

/**
 * Each defence matters: with it an attack fails, without it the same attack succeeds. `changes` are `[file, text, other text]`; each text
 * must be there once. `attack` is given the options of a world, and says whether it succeeded.
 */
export async function matters(changes, attack) {
  assert.equal(await attack({}), false, 'the defence holds, and yet the attack succeeds');
  const folder = await mkdtemp(path.join(tmpdir(), 'connectoid-'));
  try {
    await cp(DIST, folder, { recursive: true, filter: from => !/\.d\.ts$|\.min\.js$/.test(from) });
    await writeFile(path.join(folder, 'package.json'), '{"type":"module"}');
    for (const [file, text, other] of changes) await change(path.join(folder, file), text, other);
    const lib = await library(pathToFileURL(`${folder}${path.sep}`));
    assert.equal(await attack({ lib }), true, 'the attack fails even without the defence');
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function change(file, text, other) {
  const before = await readFile(file, 'utf8');
  assert.equal(before.split(text).length - 1, 1, `${file} must hold this once: ${text}`);
  await writeFile(
    file,
    before.replace(text, () => other),
  );
}
