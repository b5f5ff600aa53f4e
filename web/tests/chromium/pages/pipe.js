// A pipe between a page and `connectoid --pipe`, as docs/tools.md has it.

const WINDOW = 4_194_304;
const QUARTER = 1_048_576;

/** Opens a pipe in the session that is open. `write` and `end` it; what comes is in `came()`. */
export async function openPipe(app, contact) {
  const [tool, out] = await Promise.all([
    app.opens(contact, 'connectoid.tool'),
    app.opens(contact, 'connectoid.pipe'),
  ]);
  const pipe = { parts: [], allowed: WINDOW, sent: 0, taken: 0, said: 0 };
  const say = ({ channel }, message) => channel.send(JSON.stringify(message));
  pipe.came = () => new Blob(pipe.parts).text();

  say(tool, { t: 'plan', v: 1, pipe: true });
  const id = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
  say(out, {
    t: 'pipe',
    v: 1,
    id: id.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', ''),
    from: 0,
  });
  each(out, message => {
    if (message.t === 'at') pipe.at = message.offset;
    else if (message.t === 'more') pipe.allowed = Math.max(pipe.allowed, message.to);
    else if (message.t === 'done') pipe.done = message.bytes;
    else pipe.failed = message;
  });

  const [theirTool, incoming] = await Promise.all([
    app.channel(contact, 'connectoid.tool'),
    app.channel(contact, 'connectoid.pipe'),
  ]);
  each(theirTool, message => {
    if (message.t === 'plan') pipe.plan = message;
    else if (message.t === 'finished') pipe.isFinished = true;
    else pipe.failed = message;
  });
  each(incoming, message => {
    if (message instanceof ArrayBuffer) {
      pipe.parts.push(message);
      pipe.taken += message.byteLength;
      if (pipe.taken - pipe.said < QUARTER) return;
      pipe.said = pipe.taken;
      say(incoming, { t: 'more', to: pipe.taken + WINDOW });
    } else if (message.t === 'pipe') say(incoming, { t: 'at', offset: 0 });
    else if (message.t === 'end') {
      pipe.hasEnded = true;
      say(incoming, { t: 'done', bytes: pipe.taken });
    } else pipe.failed = message;
  });

  const isWell = isSo => () => {
    if (pipe.failed) throw Error(JSON.stringify(pipe.failed));
    return isSo();
  };
  await app.until(
    'the offset',
    isWell(() => pipe.at !== undefined),
  );
  pipe.write = async bytes => {
    for (let at = 0; at < bytes.length; at += 65_536) {
      const part = bytes.subarray(at, at + 65_536);
      await app.until(
        'room',
        isWell(() => pipe.sent + part.length <= pipe.allowed),
      );
      out.channel.send(part);
      pipe.sent += part.length;
    }
  };
  /** Ends this direction; fulfilled when both are at their end on both sides. */
  pipe.end = async () => {
    say(out, { t: 'end' });
    await app.until(
      'done',
      isWell(() => pipe.done !== undefined && pipe.hasEnded),
    );
    out.channel.close();
    say(tool, { t: 'finished' });
    await app.until(
      'the other side to finish',
      isWell(() => pipe.isFinished),
    );
    return pipe.done;
  };
  return pipe;
}

/** Takes what came on a channel and all that will: text as the object in it. */
function each({ channel, came }, take) {
  const read = data => take(typeof data === 'string' ? JSON.parse(data) : data);
  came.forEach(read);
  channel.addEventListener('message', ({ data }) => read(data));
}
