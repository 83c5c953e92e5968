// Live views when connections end, cameras are refused, and nobody looks.
import type { Page, WebSocketRoute } from '@playwright/test';
import { expect, expectAccessible, get, open, test } from './support';

async function watchable(page: Page): Promise<any[]> {
  await open(page, 'now');
  const { may } = (await get(page, 'session')).body;
  test.skip(!may.includes('live.view'), 'this role may not watch live');
  const { items } = (await get(page, 'cameras')).body;
  const found = items.filter((c: any) => !c.live_refused && c.current && c.state === 'online');
  test.skip(found.length === 0, 'no camera may be watched live here');
  return found;
}
const keyOf = (c: any) => `${c.node}/${c.camera}`;

test('pictures of a wall that lost its connection are not taken for those of now', async ({ page }) => {
  test.setTimeout(120_000);
  await watchable(page);
  const lines: WebSocketRoute[] = [];
  let cut = false;
  await page.routeWebSocket(/\/live\/wall/, (line) => {
    if (cut) return void line.close();
    line.connectToServer();
    lines.push(line);
  });
  await open(page, 'wall');
  const now = page.locator('[data-test=wall] figure[data-state=ok][data-stale=false]');
  await expect(now.first()).toBeVisible({ timeout: 30_000 });
  cut = true;
  for (const line of lines) await line.close();
  await expect(page.locator('[data-test=wall] figure[data-stale=true]').first()).toBeVisible();
  await expect(page.locator('[data-test=wall] figure[data-stale=true] p').first()).toContainText(/\d{2}:\d{2}:\d{2}/);
  await expect(page.locator('[data-test=wall-line]')).not.toBeEmpty();
  await expectAccessible(page, 'a wall without its connection');
  cut = false;
  await expect(now.first()).toBeVisible({ timeout: 40_000 });
  await expect(page.locator('[data-test=wall-line]')).toBeEmpty();
});

test('a camera that may not be watched any more takes none of the others with it', async ({ page }) => {
  test.setTimeout(120_000);
  const cameras = await watchable(page);
  test.skip(cameras.length < 2, 'one camera has no others');
  const gone = keyOf(cameras[0]);
  const lines: WebSocketRoute[] = [];
  let refused = false;
  await page.route('**/api/v1/cameras', async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    for (const c of body.items) if (refused && keyOf(c) === gone) c.live_refused = 'sharing';
    await route.fulfill({ json: body });
  });
  await page.routeWebSocket(/\/live\/wall/, (line) => {
    // As the server does it: one that is refused refuses them all, and says nothing.
    if (refused && new URL(line.url()).searchParams.getAll('camera').includes(gone)) return void line.close();
    line.connectToServer();
    lines.push(line);
  });
  await open(page, 'wall');
  await expect(page.locator('[data-test=wall] figure[data-state=ok]').first()).toBeVisible({ timeout: 30_000 });
  const before = lines.length;
  refused = true;
  for (const line of lines) await line.close();
  await expect(page.locator('[data-test=wall] figure[data-state=refused]').first()).toBeVisible({ timeout: 20_000 });
  await expect.poll(() => lines.length, { timeout: 20_000 }).toBeGreaterThan(before);
  const asked = new URL(lines.at(-1)!.url()).searchParams.getAll('camera');
  expect(asked).not.toContain(gone);
  expect(asked).toContain(keyOf(cameras[1]));
  await expect(page.locator('[data-test=wall] figure[data-state=ok][data-stale=false]').first()).toBeVisible({ timeout: 30_000 });
});

test('cameras beyond what one connection carries are named', async ({ page }) => {
  const [camera] = await watchable(page);
  await page.route('**/api/v1/cameras', async (route) => {
    const many = Array.from({ length: 67 }, (_, i) => ({ ...camera, camera: `them-${i}`, name: `Thêm ${String(i).padStart(2, '0')}`, area: 'Tổ 9' }));
    await route.fulfill({ json: { items: many } });
  });
  await page.routeWebSocket(/\/live\/wall/, (line) => {
    expect(new URL(line.url()).searchParams.getAll('camera')).toHaveLength(64);
  });
  await open(page, 'wall');
  await expect(page.locator('[data-test=beyond]')).toContainText('Thêm 66');
  await expect(page.locator('[data-test=wall] figure[data-state=beyond]')).toHaveCount(3);
});

test('one camera that is away is tried again until it is back', async ({ page }) => {
  test.setTimeout(150_000);
  const [camera] = await watchable(page);
  let tries = 0;
  await page.routeWebSocket(/\/live\/camera/, (line) => {
    tries += 1;
    if (tries > 5) line.connectToServer();
    else line.send(JSON.stringify({ state: 'away', reason: null }));
  });
  await open(page, `wall/${keyOf(camera)}`);
  await expect(page.locator('[data-test=live-said]')).not.toBeEmpty();
  await expect.poll(() => tries, { timeout: 60_000 }).toBeGreaterThan(4);
  await expect(page.locator('.full figure')).toHaveCount(0);
  await expect(page.locator('video[data-playing=true], figure[data-state=ok] img[src^="blob:"]').first()).toBeVisible({ timeout: 60_000 });
});

test('what nobody looks at is not sent', async ({ page }) => {
  test.setTimeout(120_000);
  const [camera] = await watchable(page);
  const standing = new Set<unknown>();
  page.on('websocket', (socket) => {
    if (!socket.url().includes('/live/')) return;
    standing.add(socket);
    socket.on('close', () => standing.delete(socket));
  });
  const hide = (hidden: boolean) => page.evaluate((is) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => is });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  for (const view of [`wall/${keyOf(camera)}`, 'wall']) {
    // Of sockets that go with their page nothing is told.
    standing.clear();
    await open(page, view);
    await expect.poll(() => standing.size, { timeout: 20_000 }).toBe(1);
    await hide(true);
    await expect.poll(() => standing.size).toBe(0);
    await page.waitForTimeout(3_000);
    expect(standing.size).toBe(0);
    await hide(false);
    await expect.poll(() => standing.size).toBe(1);
  }
});

test('a marker of the map is not made anew while nothing changes', async ({ page }) => {
  await page.route('**/api/v1/stream*', (route) => route.abort());
  await open(page, 'map');
  const marker = page.locator('.leaflet-marker-icon').first();
  await expect(marker).toBeVisible();
  await page.waitForTimeout(4_000);
  await marker.evaluate((m) => { (m.firstElementChild as any).same = true; });
  await page.waitForTimeout(3_000);
  expect(await marker.evaluate((m) => (m.firstElementChild as any).same)).toBe(true);
});

test('the health board has a picture of each camera, by one question, and tells nothing of a node that is away', async ({ page }) => {
  const asked: string[] = [];
  page.on('request', (request) => { if (/\/api\/v1\/events\?/.test(request.url())) asked.push(request.url()); });
  await open(page, 'cameras');
  const board = page.locator('[data-test=cameras]');
  const { may } = (await get(page, 'session')).body;
  if (may.includes('search') && may.includes('snapshot.view')) {
    await expect.poll(() => board.locator('img').evaluateAll((all) => all.filter((i) => (i as HTMLImageElement).naturalWidth > 0).length), { timeout: 90_000 }).toBeGreaterThan(0);
    expect(asked.filter((url) => url.includes('camera='))).toEqual([]);
  }

  const since = (await get(page, 'site')).body.now_ms - 3_600_000;
  await page.route('**/api/v1/nodes', async (route) => {
    const body = await (await route.fetch()).json();
    await route.fulfill({ json: { ...body, items: body.items.map((n: any) => ({ ...n, state: 'offline', since_ms: since })) } });
  });
  await page.route('**/api/v1/cameras', async (route) => {
    const body = await (await route.fetch()).json();
    await route.fulfill({ json: { items: body.items.map((c: any) => ({ ...c, current: false, fault: 'stalled' })) } });
  });
  await page.route('**/api/v1/stream*', (route) => route.abort());
  await open(page, 'cameras');
  const first = board.locator('a').first();
  await expect(first.locator('[data-since=node]')).toContainText(/\d{2}:\d{2}/);
  await expect(first).not.toContainText('ngừng gửi hình');
  await expect(first).not.toContainText('×');
  await expectAccessible(page, 'a board of a node that is away');
});
