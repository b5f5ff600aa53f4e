// What tests of the client stand on: the real relay, and a folder that goes with the test.

import { spawn } from 'node:child_process';
import { accessSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const PROGRAM = resolve(ROOT, process.env.CONNECTOID_PROGRAM ?? 'target/debug/connectoid');

try {
  accessSync(PROGRAM);
} catch {
  throw Error(`${PROGRAM} is missing: build it with cargo build, or name it in CONNECTOID_PROGRAM`);
}

/** A relay for one test. `more`: options. */
export async function serve(test, ...more) {
  const args = ['serve', '--listen', '127.0.0.1:0', '--database', 'sqlite::memory:', ...more];
  const child = spawn(PROGRAM, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH },
  });
  const ended = new Promise(done => child.once('exit', done));
  test.after(() => {
    child.kill('SIGTERM');
    return ended;
  });
  return new Promise((found, failed) => {
    createInterface(child.stdout).once('line', found);
    child.once('error', failed);
    ended.then(code => failed(Error(`${PROGRAM} serve ended with ${code}`)));
  });
}

/** A folder for one test. */
export function folder(test) {
  const path = mkdtempSync(join(tmpdir(), 'connectoid-web-'));
  test.after(() => rmSync(path, { recursive: true }));
  return path;
}
