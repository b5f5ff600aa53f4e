// What the tests stand on: the real relay, a real Chromium, and a shell.

import { spawn, spawnSync } from 'node:child_process';
import { accessSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const PROGRAM = resolve(ROOT, process.env.CONNECTOID_PROGRAM ?? 'target/debug/connectoid');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

must(PROGRAM, 'build it with cargo build, or name it in CONNECTOID_PROGRAM');
must(CHROMIUM, 'install it (Debian: apt-get install chromium), or name it in CHROMIUM');

function must(file, remedy) {
  try {
    accessSync(file);
  } catch {
    throw Error(`${file} is missing: ${remedy}`);
  }
}

/** A relay of this test, with these options; `url` is where it listens. */
export async function serve(...options) {
  const database = options.includes('--database') ? [] : ['--database', 'sqlite::memory:'];
  const args = ['serve', '--listen', '127.0.0.1:0', ...database, ...options];
  const child = spawn(PROGRAM, args, { stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: process.env.PATH } });
  process.once('exit', () => child.kill());
  const ended = new Promise(done => child.once('exit', done));
  const url = await new Promise((found, failed) => {
    createInterface(child.stdout).once('line', found);
    child.once('error', failed);
    ended.then(code => failed(Error(`${PROGRAM} serve ended with ${code}`)));
  });
  return {
    url,
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

/** Chromium, without a display. */
export function browser(...flags) {
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...flags] });
}

/** Someone with a shell, the program on the path, keys of their own, and a folder that goes with the test. */
export function person(test) {
  const home = mkdtempSync(join(tmpdir(), 'connectoid-page-'));
  test.after(() => rmSync(home, { recursive: true }));
  const env = { PATH: `${dirname(PROGRAM)}:${process.env.PATH}`, HOME: home };
  return {
    home,
    write: (name, text) => writeFileSync(join(home, name), text),
    shell(line, input = '') {
      const { status, stdout, stderr } = spawnSync('sh', ['-c', line], { cwd: home, env, input, encoding: 'utf8' });
      if (status !== 0) throw Error(`${line}\nended with ${status}: ${stderr}`);
      return stdout;
    },
  };
}
