// What axe-core finds on a screen, on a phone and on a desktop, light and dark.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };

/** Nothing is wrong with what is on the screen now. `on`: where it is there; on both, mostly. */
export async function isAccessible(page, what, on = ['phone', 'desktop']) {
  const before = page.viewportSize();
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
  for (const size of on) {
    await page.setViewportSize(SIZES[size]);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const where = `${what}, on a ${size}, ${colorScheme}`;
      // Between light and dark there is but one difference.
      const only = colorScheme === 'dark' ? { runOnly: ['color-contrast'] } : {};
      const found = await page.evaluate(async only => {
        // axe knows nothing of the top layer, and would say that what is below covers the dialog.
        for (const dialog of document.querySelectorAll('dialog')) dialog.style.zIndex = '1000';
        await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
        const { violations, passes } = await globalThis.axe.run(document, {
          resultTypes: ['violations', 'passes'],
          ...only,
        });
        const { scrollWidth, clientWidth } = document.documentElement;
        return {
          violations: violations.map(({ id, nodes }) => [
            id,
            ...nodes.map(node => [node.html, node.failureSummary]),
          ]),
          hasContrast: passes.some(({ id }) => id === 'color-contrast'),
          beyond: scrollWidth - clientWidth,
        };
      }, only);
      assert.deepEqual(found, { violations: [], hasContrast: true, beyond: 0 }, where);
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: 'light' });
}
