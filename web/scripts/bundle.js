// Makes dist/connectoid.min.js: the core, notes and emoji in one file, for pages without a build step.

import { readFileSync, writeFileSync } from 'node:fs';
import { minified, WEB } from './minified.js';

const { name, version, license } = JSON.parse(readFileSync(`${WEB}package.json`, 'utf8'));

const code = await minified(`export * from './dist/all.js';`);
writeFileSync(`${WEB}dist/connectoid.min.js`, `/*! ${name} ${version} | ${license} */\n${code}\n`);
