// How soon the page is there: First Contentful Paint and Largest Contentful Paint of Now in headless Chromium, each time with
// an empty cache, and what was transferred for it. Wants WARDWATCH_URL, and WARDWATCH_LINK or a session that the tests left; RUNS,
// default 10.
import { chromium } from '@playwright/test';
import { existsSync } from 'node:fs';

const home = (process.env.WARDWATCH_URL ?? '').replace(/\/?(#.*)?$/, '/');
const link = process.env.WARDWATCH_LINK ?? '';
const runs = Number(process.env.RUNS ?? 10);
const left = new URL('../node_modules/.e2e-session.json', import.meta.url).pathname;
if (home === '/' || (!link && !existsSync(left))) {
  console.error('WARDWATCH_URL and WARDWATCH_LINK say where the page is and how to log in, once');
  process.exit(2);
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
let storageState = left;
if (link) {
  const first = await browser.newContext();
  const visitor = await first.newPage();
  await visitor.goto(link.includes('#') ? link : `${home}#/link/${link}`);
  await visitor.locator('#main').waitFor();
  storageState = await first.storageState();
  await first.close();
}

const seen = [];
for (let i = 0; i < runs; i += 1) {
  const context = await browser.newContext({ storageState, viewport: { width: 1366, height: 768 } });
  const page = await context.newPage();
  const wire = await context.newCDPSession(page);
  await wire.send('Network.enable');
  const kind = new Map();
  const bytes = { page: 0, api: 0, pictures: 0 };
  wire.on('Network.responseReceived', ({ requestId, response }) => {
    const of = /\/(thumbnail|snapshot)/.test(response.url) ? 'pictures' : /\/api\/v1\//.test(response.url) ? 'api' : 'page';
    if (!response.url.endsWith('/stream')) kind.set(requestId, of);
  });
  wire.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const of = kind.get(requestId);
    if (of) bytes[of] += encodedDataLength;
  });
  await page.addInitScript(() => {
    new PerformanceObserver((list) => { globalThis.largest = list.getEntries().at(-1).startTime; }).observe({ type: 'largest-contentful-paint', buffered: true });
  });
  await page.goto(`${home}#/now`);
  await page.locator('[data-key]').first().waitFor();
  const rows = await page.evaluate(() => performance.now());
  await page.waitForTimeout(1_500);
  const paints = await page.evaluate(() => ({ fcp: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN, lcp: globalThis.largest ?? NaN }));
  seen.push({ ...paints, rows, ...bytes });
  await context.close();
}
await browser.close();

const column = (name) => seen.map((s) => s[name]).sort((a, b) => a - b);
const median = (name) => { const all = column(name); return (all[Math.floor((all.length - 1) / 2)] + all[Math.ceil((all.length - 1) / 2)]) / 2; };
const line = (what, name, unit, by = 1) => {
  const all = column(name);
  const show = (n) => (n / by).toFixed(by === 1 ? 0 : 1).padStart(8);
  console.log(`${what.padEnd(34)}${show(median(name))}${show(all[0])}${show(all.at(-1))} ${unit}`);
};
console.log(`${`Now, ${runs} times, empty cache`.padEnd(34)}  median     min     max`);
line('first contentful paint', 'fcp', 'ms');
line('first row of the list there', 'rows', 'ms');
line('largest contentful paint', 'lcp', 'ms');
line('page (scripts, styles)', 'page', 'KiB', 1024);
line('answers of the API', 'api', 'KiB', 1024);
line('pictures', 'pictures', 'KiB', 1024);
