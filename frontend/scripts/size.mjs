/**
 * How much JavaScript the browser loads before the editor shows; fails above the limit.
 *
 * That is the page's entry and the screen of a workspace, each with all that it imports at once.
 * What is imported later (languages, terminals, key maps, the minimap) does not count.
 */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMIT = 350_000; // bytes, compressed
const DIST = new URL('../../cloudide/web/dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', DIST), 'utf8'));
const files = new Map();

function visit(key) {
  const chunk = manifest[key];
  if (!chunk) throw new Error(`The build has no ${key}.`);
  if (files.has(chunk.file)) return;
  files.set(chunk.file, gzipSync(readFileSync(new URL(chunk.file, DIST)), { level: 6 }).length);
  for (const next of chunk.imports ?? []) visit(next);
}

visit('index.html');
visit('src/lib/workspace/Workspace.svelte');
const total = [...files.values()].reduce((sum, size) => sum + size, 0);
for (const [file, size] of [...files].sort((a, b) => b[1] - a[1])) console.log(`${(size / 1000).toFixed(1).padStart(8)} kB  ${file}`);
console.log(`${(total / 1000).toFixed(1).padStart(8)} kB  before the editor shows; the limit is ${LIMIT / 1000} kB`);
if (total > LIMIT) process.exit(1);
