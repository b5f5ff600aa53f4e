// Puts the guide into the package, as dist/guide.md. Links to what is not in the package become words.

import { readFileSync, writeFileSync } from 'node:fs';
import { WEB } from './minified.js';

const guide = readFileSync(`${WEB}../docs/browser.md`, 'utf8');
writeFileSync(`${WEB}dist/guide.md`, guide.replace(/\[([^\]]+)\]\((?!#|https:)[^)]+\)/g, '$1'));
