// Prints what the build weighs, compressed, and fails when the first load is over its budget.
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const budget = 200 * 1024;
const dist = new URL('../dist/', import.meta.url);
const html = readFileSync(new URL('index.html', dist), 'utf8');
const named = new Set([...html.matchAll(/(?:src|href)="\.?\/?(assets\/[^"]+)"/g)].map((m) => m[1]));
let first = gzipSync(html).length;
const rows = [];
for (const name of readdirSync(new URL('assets/', dist))) {
  if (/\.(br|gz)$/.test(name)) continue;
  const bytes = readFileSync(new URL(`assets/${name}`, dist));
  const packed = gzipSync(bytes, { level: 9 }).length;
  const now = named.has(`assets/${name}`);
  if (now) first += packed;
  rows.push([now ? 'first' : 'later', name, packed]);
}
rows.sort((a, b) => (a[0] === b[0] ? b[2] - a[2] : a[0] < b[0] ? -1 : 1));
const kib = (n) => (n / 1024).toFixed(1).padStart(7) + ' KiB';
for (const [when, name, size] of rows) console.log(`${when}  ${kib(size)}  ${name}`);
console.log(`first load ${kib(first)} of ${kib(budget)} (gzip)`);
if (first > budget) process.exit(1);
