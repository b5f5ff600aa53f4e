/**
 * Links as QR codes.
 *
 * @module connectoid/qr
 */

import encodeQR from 'qr';

/** How a code is drawn. */
export interface QrOptions {
  /** What it is, for who cannot see it. `QR code`, if absent. */
  title?: string | undefined;
  /** Width and height in CSS pixels. It fills the element around it, if absent. */
  size?: number | undefined;
}

/** What a reader needs around a code, in modules (ISO/IEC 18004). */
const QUIET = 4;

/**
 * A text, a link for example, as a QR code: an SVG element, black on white with its quiet zone. Throws if the text is too long for
 * one, which begins at 2,953 bytes; a link has some 200.
 */
export function qrSvg(text: string, options: QrOptions = {}): string {
  const modules = encodeQR(text, 'raw', { ecc: ecc(text), border: QUIET });
  const title = (options.title ?? 'QR code').replace(/[&<>]/g, char => `&#${char.charCodeAt(0)};`);
  const size = options.size === undefined ? '' : ` width="${options.size}" height="${options.size}"`;
  // Each row as the runs of its black modules.
  const path = modules.map((row, y) => {
    const runs = row
      .map(dark => (dark ? '1' : '0'))
      .join('')
      .matchAll(/1+/g);
    return [...runs].map(({ index, 0: run }) => `M${index} ${y}h${run.length}v1h-${run.length}z`).join('');
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${modules.length} ${modules.length}"${size} role="img" ` +
    `shape-rendering="crispEdges"><title>${title}</title><path fill="#fff" d="M0 0h${modules.length}v${modules.length}H0z"/>` +
    `<path fill="#000" d="${path.join('')}"/></svg>`
  );
}

/** The same for a terminal whose lines are as dark as its background: white on black, two modules in one character. */
export function qrText(text: string): string {
  return encodeQR(text, 'ascii', { ecc: ecc(text), border: QUIET });
}

/** What does not fit with the usual correction of errors may fit with less. */
function ecc(text: string): 'medium' | 'low' {
  return new TextEncoder().encode(text).length > 2331 ? 'low' : 'medium';
}
