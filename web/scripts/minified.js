// What the library weighs at its best: esbuild bundles, terser minifies, names of inner properties as well.

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

export const WEB = fileURLToPath(new URL('..', import.meta.url));

/**
 * Properties of what is only in memory and only the library's own: neither stored, nor sent, nor an app's, nor a browser's. The tests in
 * Chromium run what came of it.
 */
const INNER = `
  asked boxesChanged brief candidatesSent candidatesTaken carryOut changed channels checking closed
  complete connection connections content controls deletions delivered down drain due early elapsed expecting
  failed failure frames fromStart handshake hear held heldBytes idle inARow isActive isLive isStored junk keeps
  lastId late left letter live message moves news next nextTry offer offers outage outgoing outputs own patience peerNonce pending
  place proof rA random react receiving release rests renews replies retried rO search secretO stage toldDown transcript
  until vain waits wokeUp`;

/** The text of `contents`, a module in `web/`, with all that it imports. */
export async function minified(contents) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: WEB },
    bundle: true,
    minifySyntax: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  const { code } = await minify(outputFiles[0].text, {
    module: true,
    ecma: 2022,
    compress: { passes: 5, ecma: 2022, unsafe: true, unsafe_arrows: true, unsafe_methods: true },
    // Also names that something of a browser has, which the library does not use.
    mangle: { properties: { builtins: true, regex: RegExp(`^(${INNER.trim().split(/\s+/).join('|')})$`) } },
    format: { ascii_only: true },
  });
  return code;
}
