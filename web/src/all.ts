/**
 * What is in `connectoid.min.js`, for pages without a bundler: the core, notes and emoji.
 *
 * @module connectoid/connectoid.min.js
 */

export * from './emoji.js';
export * from './index.js';
export * from './notes.js';
