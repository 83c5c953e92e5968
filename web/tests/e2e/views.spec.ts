import { expect, expectAccessible, expectNoSidewaysScroll, get, open, test } from './support';

const VIEWS: [view: string, needs: string][] = [
  ['now', 'event.view'], ['wall', 'live.view'], ['map', 'camera.view'], ['cameras', 'camera.view'], ['playback', 'recording.view'],
  ['report', 'report.view'], ['report/handover', 'report.view'], ['snoozes', 'snooze'], ['holds', 'hold'], ['me', 'camera.view'], ['users', 'user.view'], ['log', 'log.view'],
];
const SIZES = [[1440, 900], [820, 1180], [390, 844], [360, 740]] as const;

test('each view is accessible in both themes and languages, on every screen', async ({ page }) => {
  test.setTimeout(600_000);
  await open(page, 'now');
  const { may } = (await get(page, 'session')).body;
  for (const [theme, lang] of [['dark', 'vi'], ['light', 'en']] as const) {
    await page.evaluate(([t, l]) => { localStorage.setItem('wardwatch.theme', t!); localStorage.setItem('wardwatch.lang', l!); }, [theme, lang]);
    for (const [view] of VIEWS.filter(([, needs]) => may.includes(needs))) {
      for (const [i, [width, height]] of SIZES.entries()) {
        await page.setViewportSize({ width, height });
        await open(page, view);
        await page.waitForTimeout(600);
        await expectNoSidewaysScroll(page, `${view} at ${width}`);
        if (i % 2 === 0) await expectAccessible(page, `${view} ${theme} ${lang} ${width}`);
      }
    }
  }
});

test('the language changes at once, and is remembered', async ({ page }) => {
  await open(page, 'now');
  await expect(page.locator('html')).toHaveAttribute('lang', 'vi');
  await expect(page.locator('nav').first()).toContainText('Bản đồ');
  await page.locator('[data-test=menu]').click();
  await page.locator('dialog button[lang=en]').click();
  await expect(page.locator('nav').first()).toContainText('Map');
  await open(page, 'cameras');
  await expect(page.locator('html')).toHaveAttribute('lang', 'en');
  await expect(page.locator('h1')).toHaveText('Cameras');
});

test('times are the site’s, not the browser’s', async ({ page }) => {
  await open(page, 'now');
  const { timezone, now_ms } = (await get(page, 'site')).body;
  const [hour, minute] = new Intl.DateTimeFormat('en-GB', { timeZone: timezone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(now_ms).split(':');
  await expect(page.locator('.clock')).toContainText(new RegExp(`\\d{2}/\\d{2}/\\d{4} +(${hour}:${minute}|\\d{2}:(${String((Number(minute) + 1) % 60).padStart(2, '0')}))`));
});

test('what the role forbids is neither offered nor given', async ({ page }) => {
  await open(page, 'now');
  const { may } = (await get(page, 'session')).body;
  const ROUTES: [needs: string, path: string, view: string][] = [['user.view', 'users', 'users'], ['log.view', 'log', 'log'], ['report.view', 'report?from_ms=0&to_ms=1', 'report']];
  const forbidden = ROUTES.filter(([needs]) => !may.includes(needs));
  test.skip(forbidden.length === 0, 'this role may do all of it');
  for (const [, path, view] of forbidden) {
    await expect(page.locator(`nav a[href="#/${view}"]`)).toHaveCount(0);
    const { status, body } = await get(page, path);
    expect([status, body.type], path).toEqual([403, 'urn:wardwatch:problem:forbidden']);
    await open(page, view);
    await expect(page.locator('#main [role=alert]').first()).not.toBeEmpty();
  }
});

test('the wall shows live pictures, or says why not', async ({ page }) => {
  await open(page, 'wall');
  const { may } = (await get(page, 'session')).body;
  test.skip(!may.includes('live.view'), 'this role may not watch live');
  const { items } = (await get(page, 'cameras')).body;
  await expect(page.locator('[data-test=wall] figure')).toHaveCount(items.length);
  const refused = items.filter((c: any) => c.live_refused).length;
  await expect(page.locator('[data-test=wall] figure[data-state=refused]')).toHaveCount(refused);
  if (items.some((c: any) => !c.live_refused && c.current && c.state === 'online')) {
    await expect(page.locator('[data-test=wall] figure[data-state=ok] img').first()).toHaveAttribute('src', /^blob:/, { timeout: 20_000 });
  }
});

test('one camera plays in full, or in single pictures', async ({ page }) => {
  await open(page, 'wall');
  const { items } = (await get(page, 'cameras')).body;
  const camera = items.find((c: any) => !c.live_refused && c.current && c.state === 'online');
  test.skip(!camera, 'no camera may be watched live here');
  await open(page, `wall/${camera.node}/${camera.camera}`);
  await expect(page.locator('video[data-playing=true], figure[data-state=ok] img[src^="blob:"]').first()).toBeVisible({ timeout: 30_000 });
});

test('cameras stand on the map where they are', async ({ page }) => {
  await open(page, 'map');
  const { items } = (await get(page, 'cameras')).body;
  const placed = items.filter((c: any) => c.position).length;
  await expect(page.locator('.leaflet-marker-icon')).toHaveCount(placed);
  if (placed > 0) {
    await page.locator('.leaflet-marker-icon').first().focus();
    await page.keyboard.press('Enter');
    await expect(page.locator('aside h2').first()).toBeVisible();
    await expectAccessible(page, 'map with a camera');
  }
});

test('the shift report counts what the list counts', async ({ page }) => {
  await open(page, 'report');
  const { may } = (await get(page, 'session')).body;
  test.skip(!may.includes('report.view'), 'this role sees no report');
  await expect(page.locator('[data-test=report]')).toBeVisible();
  await page.emulateMedia({ media: 'print' });
  await expect(page.locator('nav')).toBeHidden();
  await expect(page.locator('[data-test=report]')).toBeVisible();
  // As it comes out of a printer: on A4, not one endless page, with places to sign.
  const paper = (await page.pdf({ format: 'A4', margin: { top: '15mm', bottom: '15mm', left: '12mm', right: '12mm' } })).toString('latin1');
  const pages = [...paper.matchAll(/\/Type\s*\/Page\b(?!s)/g)].length;
  const rows = await page.locator('[data-test=report] tr').count();
  expect(pages).toBeGreaterThanOrEqual(Math.max(1, Math.floor(rows / 60)));
  expect(pages).toBeLessThan(20);
  await expect(page.locator('.sign')).toBeVisible();
  const cut = await page.locator('[data-test=report] .scroll').evaluateAll((all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).length);
  expect(cut).toBe(0);
});

test('an event of last Tuesday night is three actions away', async ({ page }) => {
  await open(page, 'now');
  const { timezone, now_ms } = (await get(page, 'site')).body;
  const weekday = (ms: number) => new Intl.DateTimeFormat('en-GB', { timeZone: timezone, weekday: 'short' }).format(ms);
  // Some real event, as if it had been on that night: a demo is not a week old.
  const { items } = (await get(page, 'events?limit=1')).body;
  let asked: { from: number; to: number } | null = null;
  await page.route('**/api/v1/events?*', async (route) => {
    const query = new URL(route.request().url()).searchParams;
    const [from, to] = [Number(query.get('from_ms')), Number(query.get('to_ms'))];
    if (!from || !to) return route.continue();
    asked = { from, to };
    return route.fulfill({ json: { items: query.get('severity') ? [] : [{ ...items[0], severity: 'notice', started_ms: from + 3_600_000 }], next: null } });
  });
  // 1: the filter. 2: the night, by its name. 3: the event.
  await page.locator('.list header button').first().click();
  const nights = await page.locator('[data-test=period] option[value^=night-]').evaluateAll((all) => all.map((o) => [(o as HTMLOptionElement).value, o.textContent!] as const));
  const tuesday = nights.find(([, name]) => name.includes('Thứ Ba'));
  // Last night has a name of its own.
  await page.locator('[data-test=period]').selectOption(tuesday?.[0] ?? 'last_night');
  await expect(page.locator('[data-key]')).toHaveCount(1);
  expect(weekday(asked!.from)).toBe('Tue');
  expect(asked!.to - asked!.from).toBe(12 * 3_600_000);
  expect(asked!.to).toBeLessThan(now_ms);
  expect(asked!.from).toBeGreaterThan(now_ms - 9 * 86_400_000);
  await page.locator('[data-key]').click();
  await expect(page.locator('article[data-test=event]')).toBeVisible();
});

test('the page comes compressed, and what it begins with is asked for once and before anything else', async ({ page }) => {
  await open(page, 'now');
  const codings: (string | undefined)[] = [];
  const asked: string[] = [];
  page.on('response', (response) => { if (/\/assets\/[^/]+\.(js|css)$/.test(response.url())) codings.push(response.headers()['content-encoding']); });
  page.on('request', (request) => { if (request.url().includes('/api/v1/')) asked.push(request.url().replace(/^.*\/api\/v1\//, '').replace(/&.*/, '')); });
  await open(page, 'now');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  expect(new Set(codings)).toEqual(new Set(['br']));
  expect(asked.slice(0, 4).sort()).toEqual(['events?limit=50', 'events?severity=alert', 'session', 'site']);
  for (const once of ['site', 'session']) expect(asked.filter((a) => a === once), once).toHaveLength(1);
});
