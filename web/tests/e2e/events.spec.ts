import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { eventIn, expect, expectAccessible, get, open, test } from './support';

const keys = (page: Page) => page.locator('[data-key]').evaluateAll((rows) => rows.map((r) => (r as HTMLElement).dataset['key']!));

test('a new event appears by itself', async ({ page }) => {
  await open(page, 'now');
  await expect(page.locator('[data-test=rest], [data-test=pinned]').first()).toBeVisible();
  await page.waitForTimeout(1_000);
  const before = new Set(await keys(page));
  await expect(async () => {
    expect((await keys(page)).some((k) => !before.has(k))).toBe(true);
  }).toPass({ timeout: 80_000 });
});

test('an event is taken, noted and resolved by keyboard, and stays so', async ({ page }) => {
  const e = await eventIn(page, '&state=new');
  await open(page, `event/${e.node}/${e.id}`);
  const triage = page.locator('[data-test=triage]');
  await expect(triage.locator('[data-state=new]')).toBeVisible();
  await expect(page.locator('[data-test=why]')).not.toBeEmpty();
  await page.keyboard.press('o');
  await expect(triage.locator('[data-state=owned]')).toBeVisible();

  await page.keyboard.press('n');
  await page.locator('#note').fill('Đã hỏi chủ nhà');
  await page.locator('#note').press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.locator('[data-test=history]')).toContainText('Đã hỏi chủ nhà');

  await page.locator('h1').click();
  await page.keyboard.press('f');
  await expect(triage.locator('[data-state=resolved]')).toBeVisible();
  await open(page, `event/${e.node}/${e.id}`);
  await expect(page.locator('[data-test=triage] [data-state=resolved]')).toBeVisible();
  await expectAccessible(page, 'event');
});

test('who comes second is told that somebody has it', async ({ page, context }) => {
  const e = await eventIn(page, '&state=new');
  await open(page, `event/${e.node}/${e.id}`);
  await expect(page.locator('[data-choice=own]')).toBeVisible();
  // The page does not hear of it: its answer will carry an old version.
  await page.route('**/api/v1/stream', (route) => route.abort());
  await page.route('**/triage', async (route) => {
    const sent = route.request().postDataJSON();
    await route.continue({ postData: JSON.stringify({ ...sent, version: sent.version + 1_000 }) });
  });
  const answer = page.waitForResponse('**/triage');
  await page.locator('[data-choice=own]').click();
  expect((await answer).status()).toBe(409);
  await expect(page.locator('[data-test=triage-said]')).not.toBeEmpty();
  expect((await context.pages()).length).toBe(1);
});

test('a clip plays, steps and is sought in', async ({ page }) => {
  const e = await eventIn(page, '', (x) => x.has_clip);
  await open(page, `event/${e.node}/${e.id}`);
  await page.locator('[data-test=clip-tab]').click();
  const time = () => page.locator('video[data-test=clip]').evaluate((v: HTMLVideoElement) => v.currentTime);
  await expect.poll(time, { timeout: 15_000 }).toBeGreaterThan(0.3);
  await page.locator('h1').click();
  await page.keyboard.press('.');
  const stood = await time();
  await page.keyboard.press('.');
  await expect.poll(time).toBeGreaterThan(stood);
  await page.keyboard.press(',');
  await expect.poll(time).toBeLessThanOrEqual(stood + 0.001);
  await expectAccessible(page, 'clip');
});

test('over a clip is drawn what the rules saw, and it is downloaded as what it is said to be', async ({ page }) => {
  const e = await eventIn(page, '', (x) => x.has_clip && x.label !== null);
  const { body } = await get(page, `events/${e.node}/${e.id}`);
  await open(page, `event/${e.node}/${e.id}`);
  await page.locator('[data-test=clip-tab]').click();
  const drawing = page.locator('.screen [data-test=drawing]');
  await expect(drawing.locator('.zone, .line').first()).toBeAttached();
  // Within its way, what was seen is marked.
  await page.locator('video[data-test=clip]').evaluate((v: HTMLVideoElement, at) => { v.pause(); v.currentTime = at; }, Math.max(0, (e.started_ms - body.clips.at(-1).from_ms) / 1000 + 0.2));
  if (body.event.path.length > 1) await expect(page.locator('[data-test=here]')).toBeAttached();
  await page.locator('[data-test=overlay]').uncheck();
  await expect(drawing).toHaveCount(0);

  const [file] = await Promise.all([page.waitForEvent('download'), page.locator('[data-test=download]').click()]);
  const { sha256 } = body.clips.at(-1);
  expect(file.suggestedFilename()).toMatch(new RegExp(`_\\d{8}-\\d{6}_${sha256.slice(0, 12)}\\.mp4$`));
  expect(createHash('sha256').update(await readFile(await file.path())).digest('hex')).toBe(sha256);
});

test('the object is framed in the list already', async ({ page }) => {
  const e = await eventIn(page, '', (x) => x.has_snapshot && x.box);
  await open(page, 'now');
  await expect(page.locator(`[data-event="${e.id}"] [data-test=drawing] rect`).first()).toBeAttached();
});

test('the filter narrows the list and stands in the address', async ({ page }) => {
  await open(page, 'now?severity=notice');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  await expect(page.locator('.event.alert')).toHaveCount(0);
  await page.keyboard.press('/');
  await page.locator('#search').fill('khong-co-camera-nao-ten-the-nay');
  await expect(page.locator('[data-key]')).toHaveCount(0);
  await expect(page).toHaveURL(/text=khong-co/);
});

test('the keyboard goes through the list', async ({ page }) => {
  await open(page, 'now');
  await expect(page.locator('[data-key]').first()).toBeVisible();
  await page.keyboard.press('j');
  await expect(page.locator('[data-key][aria-current]')).toHaveCount(1);
  await expect(page.locator('article[data-test=event]')).toBeVisible();
  await page.keyboard.press('?');
  await expect(page.locator('dialog[open] kbd').first()).toBeVisible();
  await expectAccessible(page, 'help');
});
