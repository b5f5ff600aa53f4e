// What the tests in Chromium stand on: the real relay behind a gateway that writes down what was asked, pages on another origin,
// browsers with profiles that can be started again, and the command line. When a test ends, all of it is looked over.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { accessSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, extname, join, resolve, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const WEB = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const ROOT = resolve(WEB, '..');
const PROGRAM = resolve(ROOT, process.env.CONNECTOID_PROGRAM ?? 'target/debug/connectoid');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

// Longer than anything takes, also where many things run beside.
export const PATIENCE = 90_000;
export const options = { timeout: 300_000 };

// With the fake devices and the permission, Chromium offers its own addresses; else it hides them behind names of mDNS.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--allow-loopback-in-peer-connection',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

must(PROGRAM, 'build it with cargo build, or name it in CONNECTOID_PROGRAM');
must(CHROMIUM, 'install it (Debian: apt-get install chromium), or name it in CHROMIUM');
must(`${WEB}/dist/connectoid.min.js`, 'build it with npm run build');
if (Object.values(networkInterfaces()).some(addresses => addresses.some(({ internal }) => !internal))) {
  const remedy = `unshare --net --map-root-user sh -c 'ip link set lo up && exec npm --prefix web run chromium'`;
  throw Error(`these tests need a network with nothing but loopback: ${remedy}`);
}

function must(file, remedy) {
  try {
    accessSync(file);
  } catch {
    throw Error(`${file} is missing: ${remedy}`);
  }
}

/** Waits until it is so; `what` says what is waited for. */
export async function until(what, isSo) {
  const late = Date.now() + PATIENCE;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > late) throw Error(`waited for ${what}`);
    await new Promise(done => setTimeout(done, 20));
  }
}

/** All that one test uses. It goes with the test, which fails if anything was seen that must not be. */
export class World {
  #ends = [];
  #folder = mkdtempSync(join(tmpdir(), 'connectoid-chromium-'));
  browsers = [];

  /** `serving`: more options of the relay. */
  static async begin(test, ...serving) {
    const world = new this();
    test.after(() => world.#end());
    [world.site, world.relay] = await Promise.all([serveSite(), Relay.start(world.folder('relay'), serving)]);
    world.#ends.push(
      () => world.site.stop(),
      () => world.relay.stop(),
    );
    return world;
  }

  folder(name) {
    return mkdtempSync(join(this.#folder, `${name}-`));
  }

  /** A browser with a profile of its own. `more`: options of Playwright besides; `args` are added to the others. */
  async browser(more = {}) {
    const browser = new Browser(this, this.folder('profile'), more);
    this.browsers.push(browser);
    await browser.start();
    return browser;
  }

  /** Somebody with a shell and keys of their own. */
  person() {
    const home = this.folder('home');
    return {
      connectoid: (...args) => {
        const terminal = new Terminal(home, args);
        this.#ends.push(() => terminal.kill());
        return terminal;
      },
    };
  }

  async #end() {
    await Promise.all(this.browsers.map(browser => browser.close()));
    for (const end of this.#ends.reverse()) await end();
    rmSync(this.#folder, { recursive: true, maxRetries: 5 });

    const errors = this.browsers.flatMap(browser => browser.errors);
    assert.deepEqual(
      errors.filter(error => !(this.relay.wasGone && this.#isUnreached(error))),
      [],
    );
    for (const { url, method } of this.browsers.flatMap(browser => browser.requests)) {
      const { origin } = new URL(url);
      assert.ok([`GET ${this.origin}`, ...this.mayAsk].includes(`${method} ${origin}`), `${method} ${url}`);
    }
    for (const { method, headers } of this.relay.requests) {
      assert.equal(method, 'POST', 'a preflight, or something else that is no call');
      if (headers.origin === undefined) continue; // the command line
      assert.equal(headers['content-type'], 'text/plain;charset=UTF-8');
      assert.deepEqual(
        [headers.cookie, headers.authorization, headers.referer],
        [undefined, undefined, undefined],
      );
      assert.equal(headers.origin, this.origin);
    }
    assert.deepEqual(this.relay.checkedTwiceAtOnce(), []);
    this.lookOver();
  }

  /** What is to be seen to besides when a test ended. */
  lookOver() {}

  /** Where the pages come from. */
  get origin() {
    return this.site.url;
  }

  get mayAsk() {
    return [`POST ${this.relay.url}`];
  }

  /** What Chromium itself writes to the console when a relay cannot be reached; no page can prevent it. */
  #isUnreached({ text, url }) {
    return (
      url?.startsWith(`${this.relay.url}/`) &&
      /^Failed to load resource: net::ERR_(CONNECTION|EMPTY|NETWORK|INTERNET_DISCONNECTED)/.test(text)
    );
  }
}

// --- The pages ---

const TYPES = { '.html': 'text/html', '.js': 'text/javascript' };

/** Serves the pages of these tests, and the library as it was built, on an origin of its own. */
function serveSite() {
  const pages = join(WEB, 'tests/chromium/pages');
  const files = new Map();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://site');
    const path = pathname === '/' ? '/index.html' : pathname;
    const file = path.startsWith('/dist/') ? join(WEB, path) : join(pages, path);
    const isInside = file.startsWith(join(WEB, 'dist') + sep) || file.startsWith(pages + sep);
    let body = files.get(path);
    try {
      body ??= isInside && readFileSync(file);
    } catch {}
    // No page has an icon, and Chromium asks.
    if (!body) return response.writeHead(path === '/favicon.ico' ? 204 : 404).end();
    const type = `${TYPES[extname(path)] ?? 'application/octet-stream'}; charset=utf-8`;
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
  });
  return listen(server).then(url => ({
    url,
    /** Serves this text under this path, too. */
    put: (path, text) => files.set(path, text),
    stop: () => stopServer(server),
  }));
}

async function listen(server, port = 0) {
  await new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(port, '127.0.0.1', done);
  });
  return `http://127.0.0.1:${server.address().port}`;
}

function stopServer(server) {
  return new Promise(done => {
    server.close(done);
    server.closeAllConnections();
  });
}

// --- The relay ---

/** The relay on a database of its own, behind a gateway at a fixed port. While it is stopped nobody listens there. */
class Relay {
  /**
   * What was asked: method, URL, headers, body, when it began and ended (or undefined), the status and text of the reply; the bytes of both
   * bodies and, about, of the reply's head.
   */
  requests = [];
  /** The same of pages and their files. */
  gets = [];
  wasGone = false;
  /** What is to happen before the reply to a request is passed on. */
  onReply;
  #child;
  #gateway;
  #port = 0;

  static async start(folder, serving) {
    const relay = new Relay();
    relay.folder = folder;
    relay.serving = serving;
    await relay.start();
    return relay;
  }

  async start() {
    const database = `sqlite://${this.folder}/relay.db`;
    const args = [
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--database',
      database,
      '--no-limits',
      '--sweep-interval',
      '1s',
      ...this.serving,
    ];
    const stdio = ['ignore', 'pipe', 'pipe'];
    this.#child = spawn(PROGRAM, args, { stdio, env: { PATH: process.env.PATH } });
    const kill = this.#child.kill.bind(this.#child, 'SIGKILL');
    process.once('exit', kill);
    let said = '';
    this.#child.stderr.on('data', data => {
      said += data;
    });
    this.ended = new Promise(done => this.#child.once('exit', done)).then(code => {
      process.off('exit', kill);
      return code;
    });
    this.behind = await new Promise((found, failed) => {
      createInterface(this.#child.stdout).once('line', found);
      this.#child.once('error', failed);
      this.ended.then(code => failed(Error(`connectoid serve ended with ${code}: ${said}`)));
    });
    this.#gateway = createServer((request, response) => this.#pass(request, response));
    this.url = await listen(this.#gateway, this.#port);
    this.#port = Number(new URL(this.url).port);
  }

  /** Kills it, in the middle of whatever it does. What it said `ok` to is in its database. */
  async kill() {
    this.wasGone = true;
    this.#child.kill('SIGKILL');
    await Promise.all([this.ended, stopServer(this.#gateway)]);
  }

  async stop() {
    this.#child.kill('SIGTERM');
    this.#gateway.closeAllConnections();
    await Promise.all([this.ended, stopServer(this.#gateway)]);
  }

  #pass(request, response) {
    const { method, url, headers } = request;
    const parts = [];
    const asked = { method, url, headers, began: performance.now() };
    (method === 'GET' ? this.gets : this.requests).push(asked);
    response.once('close', () => {
      asked.ended = performance.now();
    });
    request.on('data', part => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts);
      asked.body = read(body);
      asked.up = body.length;
      const onward = httpRequest(this.behind + url, { method, headers, agent: false }, reply => {
        const replied = [];
        asked.status = reply.statusCode;
        reply.on('data', part => replied.push(part));
        reply.on('end', async () => {
          asked.reply = read(Buffer.concat(replied));
          asked.down = Buffer.concat(replied).length;
          asked.head = reply.rawHeaders.join('::\r\n').length;
          await this.onReply?.(asked);
          response.writeHead(reply.statusCode, reply.headers).end(Buffer.concat(replied));
        });
      });
      onward.on('error', () => response.destroy());
      response.once('close', () => onward.destroy());
      onward.end(body);
    });
  }

  /** The checks that were asked since the request of this number. */
  checks(since = 0) {
    return this.requests.slice(since).filter(({ body }) => body?.action === 'check');
  }

  /** What was asked, for people: when, by whom, what, and what came of it. */
  story() {
    const [first] = this.requests;
    const lines = this.requests.map(({ began, ended, headers, body, status, reply }) => {
      const boxes = (body?.boxes ?? [body]).map(box => box?.pub.slice(1, 5));
      const times = [began, ended].map(time => Math.round(time - first.began));
      const more = [
        body?.wait && 'wait',
        body?.ask && 'ask',
        body?.all && 'all',
        reply?.found && 'found',
        reply?.error,
      ];
      const whose = headers.origin ? 'page' : 'program';
      return [...times, whose, body?.action, ...boxes, status, ...more].filter(Boolean).join(' ');
    });
    return lines.join('\n');
  }

  /** Boxes that were checked and whose owner did not delete them. */
  undeleted() {
    const isGone = ({ body, status }) => body.action === 'delete' && body.all && status === 200;
    const gone = new Set(this.requests.filter(isGone).map(({ body }) => body.pub));
    const checked = this.checks().flatMap(({ body }) => body.boxes ?? [body]);
    return [...new Set(checked.map(({ pub }) => pub))].filter(pub => !gone.has(pub));
  }

  /** How many boxes it has, as it says itself of the last sweep: of one that began after this call. */
  async boxes() {
    const metric = async name => {
      const metrics = await (await fetch(`${this.behind}/metrics`)).text();
      return Number(metrics.match(new RegExp(`^connectoid_${name} (.*)$`, 'm'))[1]);
    };
    const swept = 'sweeps_total{result="ok"}';
    const sweeps = await metric(swept);
    await until('two sweeps', async () => (await metric(swept)) >= sweeps + 2);
    return metric('boxes');
  }

  /**
   * Boxes about which two checks were open at once, but for the moment in which one takes the place of the other. Who unshares asks
   * for a question besides.
   */
  checkedTwiceAtOnce() {
    const MOMENT = 300;
    const last = new Map();
    const found = [];
    for (const check of this.checks().filter(({ body }) => !body.ask)) {
      for (const { pub } of check.body.boxes ?? [check.body]) {
        const before = last.get(pub);
        if (before && (before.ended ?? Infinity) > check.began + MOMENT) {
          found.push({
            pub,
            both: [before, check].map(({ began, ended, body }) => ({ began, ended, body })),
          });
        }
        last.set(pub, check);
      }
    }
    return found;
  }
}

function read(bytes) {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

// --- The browser ---

/** Chromium with a profile, without a display. It can be closed and started again. */
class Browser {
  errors = [];
  requests = [];

  constructor(world, profile, more) {
    this.world = world;
    this.profile = profile;
    this.more = more;
  }

  async start() {
    this.context = await chromium.launchPersistentContext(this.profile, {
      executablePath: CHROMIUM,
      permissions: ['microphone'],
      viewport: { width: 900, height: 700 },
      ...this.more,
      args: [...FLAGS, ...(this.more.args ?? [])],
    });
    this.context.setDefaultTimeout(PATIENCE);
    this.context.on('request', request => {
      const [url, method] = [request.url(), request.method()];
      if (!/^(data|blob):/.test(url)) this.requests.push({ url, method });
    });
    this.context.on('console', message => {
      if (['error', 'warning'].includes(message.type())) {
        this.errors.push({ text: message.text(), url: message.location().url });
      }
    });
    // Exceptions and promises that were rejected with nobody to hear it.
    this.context.on('weberror', error =>
      this.errors.push({ text: String(error.error().stack ?? error.error()) }),
    );
  }

  /** A page at this path. `before` gets it before it is loaded. */
  async open(path = '/', before = () => {}) {
    const page = await this.context.newPage();
    page.on('crash', () => this.errors.push({ text: 'the page crashed' }));
    await before(page);
    await page.goto(new URL(path, this.world.origin).href);
    return page;
  }

  async close() {
    await this.context?.close();
  }
}

// --- The command line ---

/** `connectoid` with these arguments, read line by line. */
class Terminal {
  out = '';
  err = '';

  constructor(home, args) {
    const env = { PATH: process.env.PATH, HOME: home };
    this.child = spawn(PROGRAM, args, { cwd: home, env, stdio: 'pipe' });
    this.child.stdout.on('data', data => {
      this.out += data;
    });
    this.child.stderr.on('data', data => {
      this.err += data;
    });
    this.child.stdin.on('error', () => {}); // it ended before it read all
    this.ended = new Promise((done, failed) => {
      this.child.once('error', failed);
      this.child.once('close', done);
    });
    this.ended.catch(() => {});
    this.hasEnded = false;
    this.ended.then(() => {
      this.hasEnded = true;
    });
  }

  /** Waits for a line on standard error that begins like this: the rest of it. The `count`th of them. */
  says(start, count = 1) {
    return this.#until(start, () => {
      const whole = this.err.slice(0, this.err.lastIndexOf('\n') + 1).split('\n');
      const lines = whole.filter(line => line.startsWith(start));
      return lines.length >= count && { rest: lines[count - 1].slice(start.length) };
    }).then(({ rest }) => rest);
  }

  /** Waits until this stands on standard output. */
  shows(text) {
    return this.#until(text, () => this.out.includes(text));
  }

  async #until(what, isSo) {
    const late = Date.now() + PATIENCE;
    for (;;) {
      const found = isSo();
      if (found) return found;
      if (this.hasEnded || Date.now() > late)
        throw Error(`no ${JSON.stringify(what)}: ${this.out}\n${this.err}`);
      await new Promise(done => setTimeout(done, 20));
    }
  }

  write(text) {
    this.child.stdin.write(text);
  }

  kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    return this.ended;
  }
}
