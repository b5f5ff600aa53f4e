// Requests, against servers that redirect, drip, send too much, hang up, or say nothing.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { post } from '../dist/transport.js';

/** A server for one test, which answers with `answer`. */
async function serve(test, answer) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise(done => server.once('listening', done));
  return `http://127.0.0.1:${server.address().port}`;
}

const ask = (url, patience = 5000, stop = new AbortController()) =>
  post(url, '{"action":"check"}', patience, stop);

/** What the server hears of the connection's end. */
const hangup = response => new Promise(done => response.once('close', done));

test('a reply is its status and its text, whatever the status', async t => {
  const asked = [];
  const url = await serve(t, async (request, response) => {
    const chunks = await request.toArray();
    const { method, headers } = request;
    const { cookie, referer, 'content-type': type } = headers;
    asked.push({ method, path: request.url, body: Buffer.concat(chunks).toString(), cookie, referer, type });
    response.writeHead(request.url === '/429' ? 429 : 200, { 'set-cookie': 'a=b' }).end('{"ok":"ü"}');
  });
  assert.deepEqual(await ask(url), { status: 200, body: '{"ok":"ü"}' });
  assert.deepEqual(await ask(`${url}/429`), { status: 429, body: '{"ok":"ü"}' });
  const expected = {
    method: 'POST',
    path: '/',
    body: '{"action":"check"}',
    cookie: undefined,
    referer: undefined,
    type: 'text/plain;charset=UTF-8',
  };
  assert.deepEqual(asked, [expected, { ...expected, path: '/429' }]);
});

test('a redirect is not followed', async t => {
  let asked = 0;
  const url = await serve(t, (_, response) => {
    asked += 1;
    response.writeHead(asked === 1 ? 307 : 301, { location: '/elsewhere' }).end();
  });
  assert.equal(await ask(url), 'redirect');
  assert.equal(await ask(url), 'redirect');
  assert.equal(asked, 2);
});

test('a mebibyte is read, and no byte more', async t => {
  let ended;
  const url = await serve(t, (request, response) => {
    if (request.url === '/fits') {
      response.end(Buffer.alloc(1_048_576, 'x'));
      return;
    }
    ended = hangup(response);
    // It would go on for ever.
    const pour = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 'x')));
    };
    response.on('drain', pour);
    pour();
  });
  const { status, body } = await ask(`${url}/fits`);
  assert.deepEqual([status, body.length], [200, 1_048_576]);
  assert.equal(await ask(url), 'too-large');
  await ended;
});

test('text that is none is no text', async t => {
  const url = await serve(t, (_, response) => response.end(Buffer.from([0x7b, 0xff, 0x7d])));
  assert.deepEqual(await ask(url), { status: 200, body: '' });
});

test('an empty reply is one', async t => {
  const url = await serve(t, (_, response) => response.writeHead(204).end());
  assert.deepEqual(await ask(url), { status: 204, body: '' });
});

test('who says nothing, or drips, or breaks off was not reached', async t => {
  const ends = [];
  const url = await serve(t, (request, response) => {
    ends.push(hangup(response));
    if (request.url === '/break') {
      response.writeHead(200, { 'content-length': 100 }).write('{"ok":');
      response.socket.end();
    } else if (request.url === '/drip') {
      const drip = setInterval(() => response.write('x'), 10);
      response.once('close', () => clearInterval(drip));
    }
  });
  assert.equal(await ask(`${url}/silent`, 100), 'unreachable');
  assert.equal(await ask(`${url}/drip`, 200), 'unreachable');
  assert.equal(await ask(`${url}/break`), 'unreachable');
  // It hung up on all of them.
  await Promise.all(ends);
  assert.equal(ends.length, 3);
});

test('where nobody listens nobody is reached', async () => {
  const gone = await new Promise(done => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(`http://127.0.0.1:${port}`));
    });
  });
  assert.equal(await ask(gone), 'unreachable');
  // A port that fetch refuses.
  assert.equal(await ask('http://127.0.0.1:1'), 'unreachable');
});

test('a request that is stopped ends at once', async t => {
  const stop = new AbortController();
  let ended;
  const url = await serve(t, (_, response) => {
    ended = hangup(response);
    stop.abort();
  });
  assert.equal(await ask(url, 60_000, stop), 'unreachable');
  await ended;
});
