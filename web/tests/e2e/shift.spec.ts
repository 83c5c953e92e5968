// What a whole shift in front of the page needs: one's place is kept, nothing that happens is missed, nothing done is lost.
import type { Page } from '@playwright/test';
import { eventIn, expect, expectAccessible, get, open, test } from './support';

/** Keeps the page's line at hand, so that a test can say something on it as the centre would. */
async function listen(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const lines: EventSource[] = [];
    (globalThis as any).lines = lines;
    (globalThis as any).EventSource = class extends EventSource {
      constructor(address: string | URL) {
        super(address);
        lines.push(this);
      }
    };
  });
}
const say = (page: Page, name: string, data: unknown) =>
  page.evaluate(([n, d]) => (globalThis as any).lines.at(-1).dispatchEvent(new MessageEvent(n as string, { data: JSON.stringify(d) })), [name, data] as const);

const NEW = { state: 'new', verdict: null, owner: null, version: 0, updated_ms: null, escalated: false, snoozed: false, incident: null };

/** An alert as the centre tells it, of something that never was. */
async function alert(page: Page, camera_name: string): Promise<any> {
  const like = await eventIn(page, '');
  const { now_ms } = (await get(page, 'site')).body;
  const of = { camera_name, severity: 'alert', phase: 'started', has_snapshot: false, has_clip: false, started_ms: now_ms, first_committed_ms: now_ms, committed_ms: now_ms };
  return { ...like, ...of, id: `thu-${camera_name.replace(/\W/g, '')}-${now_ms}`, triage: NEW };
}
const focused = (page: Page) => page.evaluate(() => (document.activeElement as HTMLElement).dataset['key'] ?? null);

test('an alert is told in whatever view one is, once more when nobody takes it, and over a dialog as well', async ({ page }) => {
  await listen(page);
  await open(page, 'cameras');
  const news = page.locator('[data-test=news]');
  const one = await alert(page, 'Thử một');
  await say(page, 'event', one);
  await expect(news.locator('[data-what=alert]', { hasText: 'Thử một' })).toBeVisible();
  await say(page, 'triage', { node: one.node, id: one.id, triage: { ...NEW, escalated: true, updated_ms: one.committed_ms } });
  await expect(news.locator('[data-what=overdue]', { hasText: 'Thử một' })).toContainText('Quá giờ chưa ai nhận');
  await expect(news.locator('.one', { hasText: 'Thử một' })).toHaveCount(1);

  await page.locator('h1').click();
  await page.keyboard.press('?');
  await expect(page.locator('dialog[open] h2')).toBeFocused();
  // What was read out before is not read out again.
  await expect(page.locator('dialog .sr[role=alert]')).toBeEmpty();
  await say(page, 'event', await alert(page, 'Thử hai'));
  await expect(page.locator('dialog .sr[role=alert]')).toContainText('Thử hai');
  await expectAccessible(page, 'an alert over a dialog');
  await page.locator('dialog .one', { hasText: 'Thử hai' }).locator('button').click();
  await expect(page.locator('dialog .one', { hasText: 'Thử hai' })).toHaveCount(0);
  await expect(page.locator('dialog .one', { hasText: 'Thử một' })).toBeVisible();
  // Somebody took it.
  await say(page, 'triage', { node: one.node, id: one.id, triage: { ...NEW, state: 'owned', version: 1, owner: { id: 'x', display_name: 'Người khác' } } });
  await expect(page.locator('.one', { hasText: 'Thử một' })).toHaveCount(0);
});

test('what came while the line was lost is told when it is back', async ({ page }) => {
  await listen(page);
  await open(page, 'now');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  const missed = [await alert(page, 'Lỡ một'), await alert(page, 'Lỡ hai')];
  await page.route('**/api/v1/stream', (route) => route.abort());
  await page.route('**/api/v1/events?severity=alert&state=new&limit=200', async (route) => {
    const real = await (await route.fetch()).json();
    await route.fulfill({ json: { ...real, items: [...missed, ...real.items] } });
  });
  await page.evaluate(() => {
    const line = (globalThis as any).lines.at(-1) as EventSource;
    line.close();
    line.dispatchEvent(new Event('error'));
  });
  await expect(page.locator('[data-banner=lost]')).toBeVisible({ timeout: 20_000 });
  await page.unroute('**/api/v1/stream');
  await expect(page.locator('[data-what=missed]')).toHaveText(/^(?!1 )\d+ cảnh báo/, { timeout: 40_000 });
  await expect(page.locator('[data-banner=lost]')).toHaveCount(0);
});

test('Enter opens the event that j went to, and Escape comes back to its row', async ({ page }) => {
  await open(page, 'now');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  const key = await focused(page);
  expect(key).not.toBeNull();
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/#\/event\//);
  await expect(page.locator('#main h1')).toBeFocused();
  await expect(page).toHaveTitle(new RegExp(`${(await page.locator('#main h1').textContent())!.trim()}.*\\d{2}/\\d{2}/\\d{4}`));
  await page.keyboard.press('Escape');
  await expect.poll(() => focused(page)).toBe(key);
});

test('on a phone one comes back to the same place of the same list', async ({ page }) => {
  await expect.poll(async () => (await get(page, 'events?limit=40')).body.items.length, { timeout: 75_000 }).toBeGreaterThan(14);
  await page.setViewportSize({ width: 390, height: 740 });
  await open(page, 'now?within_ms=86400000');
  await expect(page.locator('[data-key]').nth(12)).toBeAttached();
  const below = (key: string) => page.evaluate((k) => {
    const edge = document.querySelector('.body')!.getBoundingClientRect().top;
    return document.querySelector(`[data-key="${k}"]`)!.getBoundingClientRect().top - edge;
  }, key);
  await page.locator('.body').evaluate((box) => box.scrollBy(0, 320));
  await page.waitForTimeout(400);
  const key = await page.evaluate(() => {
    const edge = document.querySelector('.body')!.getBoundingClientRect().top;
    return [...document.querySelectorAll<HTMLElement>('[data-key]')].find((row) => row.getBoundingClientRect().top > edge + 60)!.dataset['key']!;
  });
  const was = await below(key);
  for (const back of [() => page.goBack(), () => page.locator('article a.button', { hasText: 'Quay lại' }).click()]) {
    await page.locator(`[data-key="${key}"]`).click();
    await expect(page.locator('#main h1')).toBeFocused();
    expect(await page.locator('.body').evaluate((box) => box.scrollTop)).toBe(0);
    await back();
    await expect.poll(() => focused(page)).toBe(key);
    expect(Math.abs((await below(key)) - was)).toBeLessThan(6);
    await expect(page).toHaveURL(/within_ms=86400000/);
  }
  await page.locator('a.waiting').click();
  await expect(page).toHaveURL(/#\/now$/);
  await expect.poll(() => page.locator('.body').evaluate((box) => box.scrollTop)).toBe(0);
});

test('alerts that wait are one press away, whatever the list is narrowed to', async ({ page }) => {
  await open(page, 'now?severity=notice');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  await page.locator('a.waiting').click();
  await expect(page).toHaveURL(/#\/now$/);
  await expect(page.locator('.list header button[aria-pressed=true]')).toHaveCount(0);
});

test('a colleague’s act brings an event into the list that it belongs to', async ({ page }) => {
  await open(page, 'now?state=owned');
  const e = await eventIn(page, '&state=new');
  await expect(page.locator(`[data-event="${e.id}"]`)).toHaveCount(0);
  await page.evaluate(([node, id, version]) => fetch(`api/v1/events/${node}/${id}/triage`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ action: 'own', version }),
  }), [e.node, e.id, e.triage.version] as const);
  await expect(page.locator(`[data-event="${e.id}"]`)).toHaveCount(1);
});

test('a verdict takes what was written along, as one act, and the keyboard stays where it was', async ({ page }) => {
  const e = await eventIn(page, '&state=new');
  const sent: string[] = [];
  page.on('request', (request) => { if (request.method() === 'POST' && /\/(triage|notes)$/.test(request.url())) sent.push(request.postData() ?? ''); });
  await open(page, `event/${e.node}/${e.id}`);
  await page.locator('[data-choice=note]').click();
  await page.locator('#note').fill('Mèo nhảy qua tường');
  await page.locator('form [data-choice=false_alarm]').click();
  await expect(page.locator('[data-test=triage] [data-state=resolved]')).toBeVisible();
  await expect(page.locator('[data-test=history]')).toContainText('Mèo nhảy qua tường');
  expect(sent.length).toBe(1);
  expect(JSON.parse(sent[0]!)).toMatchObject({ action: 'resolve', verdict: 'false_alarm', note: 'Mèo nhảy qua tường' });
  await expect(page.locator('[data-test=triage]')).toBeFocused();
  // Escape ends a note, and nothing else.
  await page.keyboard.press('n');
  await expect(page.locator('#note')).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(page.locator('[data-choice=note]')).toBeFocused();
  await expect(page).toHaveURL(new RegExp(e.id));
});

test('an event whose patrol is out can be handed over', async ({ page }) => {
  const e = await eventIn(page, '&state=new');
  await open(page, `event/${e.node}/${e.id}`);
  const bar = page.locator('[data-test=triage]');
  await bar.locator('[data-choice=dispatch]').click();
  await expect(bar.locator('[data-state=dispatched]')).toBeVisible();
  await bar.locator('[data-choice=release]').click();
  await expect(bar.locator('.owner')).toHaveCount(0);
  await expect(bar.locator('[data-state=dispatched]')).toBeVisible();
  await bar.locator('[data-choice=own]').click();
  await expect(bar.locator('.owner')).toBeVisible();
  await bar.locator('[data-choice=true_alarm]').click();
  await expect(bar.locator('[data-state=resolved]')).toBeVisible();
});

test('an event is joined with another of that hour, and its incident shows both', async ({ page }) => {
  const e = await eventIn(page, '', (x) => x.triage.incident === null);
  await open(page, `event/${e.node}/${e.id}`);
  await page.locator('[data-test=nearby] details summary').click();
  const choice = page.locator('[data-test=join-other]');
  await expect.poll(() => choice.locator('option').count(), { timeout: 15_000 }).toBeGreaterThan(1);
  const other = (await choice.locator('option').nth(1).getAttribute('value'))!;
  await choice.selectOption(other);
  await page.locator('[data-test=nearby] form button').click();
  await expect(page.locator(`[data-test=members] [data-key="${other}"]`)).toBeVisible();
  await expect(page.locator('[data-test=history]')).toContainText('Gộp vụ');
  await expectAccessible(page, 'an incident');
});
