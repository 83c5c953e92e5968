// A real Chromium with one camera in full: reads from the <video> itself when the camera made each picture. The camera burns
// its clock into the top rows as 32 black or white blocks (milliseconds, the highest bit first) and the same inverted below.
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../../web/package.json', import.meta.url))('@playwright/test');
const [executablePath, address, cookie, place, seconds] = process.argv.slice(2);
const [name, value] = cookie.split('=');
const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
const page = await browser.newPage({ viewport: { width: 1366, height: 768 }, locale: 'vi-VN' });
await page.context().addCookies([{ name, value, url: address }]);
const opened = Date.now();
await page.goto(`${address}/${place}`);
const video = page.locator('video[data-test=live]');
await page.waitForSelector('video[data-playing=true]', { timeout: 60_000 });
const first = Date.now() - opened;
const delays = await video.evaluate(async (video, seconds) => {
  const BITS = 32;
  const canvas = document.createElement('canvas');
  const found = { delays: [], unread: 0 };
  const end = performance.now() + seconds * 1000;
  const read = () => {
    canvas.width = video.videoWidth;
    canvas.height = 48;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    const width = video.videoWidth / BITS;
    const bright = (bit, y) => context.getImageData(Math.floor((bit + 0.5) * width), y, 1, 1).data[1];
    let stamp = 0;
    for (let bit = 0; bit < BITS; bit += 1) {
      const [above, below] = [bright(bit, 12), bright(bit, 36)];
      if (Math.abs(above - below) < 64) return null;
      stamp = stamp * 2 + (above > below ? 1 : 0);
    }
    return stamp;
  };
  while (performance.now() < end) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    const stamp = read();
    if (stamp === null) found.unread += 1;
    else found.delays.push((Date.now() % 2 ** BITS) - stamp);
  }
  return found;
}, Number(seconds));
const shot = process.env['WARDWATCH_SHOT'];
if (shot) await page.screenshot({ path: shot });
console.log(JSON.stringify({ first, ...delays }));
await browser.close();
