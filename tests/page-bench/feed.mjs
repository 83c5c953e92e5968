// A real Chromium on the page's "now": says when each event became visible. Started by `make bench-page` with a
// session's cookie; playwright comes from web/node_modules. Writes {"ready":…} when the list is there, and what it saw when its
// standard input ends.
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../../web/package.json', import.meta.url))('@playwright/test');
const [executablePath, address, cookie, events] = process.argv.slice(2);
const [name, value] = cookie.split('=');
const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
const page = await browser.newPage({ viewport: { width: 1366, height: 768 }, locale: 'vi-VN' });
await page.addInitScript(() => {
  // The first moment after an event's row was painted. Frames come while the page is visible.
  window.seen = {};
  window.rows = 0;
  const look = () => {
    for (const row of document.querySelectorAll('[data-event]')) {
      const id = row.dataset.event;
      if (id && !(id in window.seen)) window.seen[id] = Date.now();
    }
    if (window.rows === 0 && document.querySelector('[data-event]')) window.rows = performance.now();
  };
  const start = () => {
    let due = false;
    new MutationObserver(() => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => setTimeout(() => { due = false; look(); }));
    }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['data-event'] });
  };
  start();
});
await page.context().addCookies([{ name, value, url: address }]);
const home = `${address}/#/now`;

// How long a visitor with a session waits, with an empty cache each time: everything over the wire.
const cdp = await page.context().newCDPSession(page);
await cdp.send('Network.enable');
await cdp.send('Network.setCacheDisabled', { cacheDisabled: true });
const loads = [];
for (let n = 0; n < 10; n += 1) {
  await page.goto('about:blank');
  await page.goto(home);
  await page.waitForSelector('#main');
  const shown = events === 'yes' ? await page.waitForFunction(() => window.rows > 0 && window.rows).then((h) => h.jsonValue()) : null;
  // The event stream never ends, so the network is never idle.
  await page.waitForTimeout(1_000);
  loads.push(await page.evaluate((rows) => {
    const first = performance.getEntriesByName('first-contentful-paint')[0];
    const bytes = performance.getEntriesByType('resource').reduce((sum, r) => sum + r.transferSize, 0);
    return { paint_ms: first ? first.startTime : null, rows_ms: rows, bytes };
  }, shown));
}
await cdp.send('Network.setCacheDisabled', { cacheDisabled: false });
console.log(JSON.stringify({ ready: loads }));

process.stdin.resume();
await new Promise((resolve) => process.stdin.once('end', resolve));
// What is on its way is given as long as is promised.
await page.waitForTimeout(1_000);
const shot = process.env['WARDWATCH_SHOT'];
if (shot) await page.screenshot({ path: shot });
console.log(JSON.stringify({ seen: await page.evaluate(() => window.seen) }));
await browser.close();
