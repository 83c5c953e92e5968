// Recordings, by a commander who may ask for any range that owners share, and by an officer who may ask about events.
import { createHash } from 'node:crypto';
import type { Locator, Page } from '@playwright/test';
import { place, reel, settled, whole } from '../../src/lib/sync';
import { COMMANDER, expect, expectAccessible, expectNoSidewaysScroll, get, hasCommander, open, SESSION, test } from './support';

test.skip(!hasCommander(), 'WARDWATCH_COMMANDER_LINK is not set');
test.use({ storageState: hasCommander() ? COMMANDER : undefined });

// Both record around events.
const PAIR = ['ngo-12-cuoi', 'cong-cho'];

/** A moment about which both cameras saw something: what lies from half a minute before it to a minute after is about both. */
async function moment(page: Page): Promise<{ cameras: string[]; at: number }> {
  const { items } = (await get(page, 'cameras')).body;
  const cameras = PAIR.map((id) => items.find((c: any) => c.camera === id)).map((c: any) => `${c.node}/${c.camera}`);
  let at = 0;
  await expect(async () => {
    const { now_ms } = (await get(page, 'site')).body;
    const [ours, theirs] = await Promise.all(cameras.map(async (camera) => {
      const { body } = await get(page, `events?limit=100&camera=${encodeURIComponent(camera)}`);
      return body.items.filter((e: any) => e.ended_ms !== null && e.ended_ms < now_ms - 20_000);
    }));
    for (const a of ours!) {
      const b = theirs!.find((e: any) => Math.max(a.started_ms, e.started_ms) - Math.min(a.ended_ms, e.ended_ms) < 20_000);
      if (b) at = Math.min(a.ended_ms, b.ended_ms);
    }
    expect(at).toBeGreaterThan(0);
  }).toPass({ timeout: 150_000, intervals: [2_000] });
  return { cameras, at };
}

interface Seen { at: number; playing: boolean; reels: { key: string; shown: string; at: number; duration: number; paused: boolean; rate: number }[] }

const look = (sync: Locator) => sync.evaluate((section): Seen => ({
  at: Number((section as HTMLElement).dataset['at']),
  playing: (section as HTMLElement).dataset['playing'] === 'true',
  reels: [...section.querySelectorAll('figure')].map((figure) => {
    const video = figure.querySelector('video')!;
    return { key: figure.dataset['reel']!, shown: figure.dataset['shown']!, at: video.currentTime, duration: video.duration, paused: video.paused, rate: video.playbackRate };
  }),
}));

async function seek(sync: Locator, ms: number): Promise<void> {
  await sync.locator('input[type=range]').evaluate((input: HTMLInputElement, to) => {
    input.value = String(to);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }, ms);
}

test('clips of two cameras of one range are asked for, kept in sight, and play in step', async ({ page }) => {
  test.setTimeout(420_000);
  await open(page, 'now');
  const { cameras, at } = await moment(page);
  await open(page, `playback?${cameras.map((c) => `camera=${encodeURIComponent(c)}`).join('&')}&at=${at}`);
  const form = page.locator('[data-test=ask]');
  await expect(form.locator('button.primary')).toBeEnabled();
  await expect(page.locator('[data-test=not-about]')).toBeEmpty();

  // A time that cannot be read keeps the range of before from being asked for.
  const posts: string[] = [];
  page.on('request', (request) => { if (request.method() === 'POST' && request.url().endsWith('/clips')) posts.push(request.url()); });
  const first = form.locator('input').first();
  const before = await first.inputValue();
  await first.fill('24/11/2026 25:00');
  await form.locator('input[name=reason]').fill('Đối chiếu hai camera');
  await form.locator('button.primary').click();
  await expect(first).toHaveAttribute('aria-invalid', 'true');
  expect(posts).toEqual([]);
  // Back to what stands in the address: with its seconds.
  await page.reload();
  await expect(first).toHaveValue(before);
  await expect(form.locator('button.primary')).toBeEnabled();

  await form.locator('input[name=reason]').fill('Đối chiếu hai camera');
  await form.locator('button.primary').click();
  const rows = page.locator('[data-test=asked] [data-command]');
  await expect(rows).toHaveCount(2);
  expect(posts).toHaveLength(2);
  await expect(rows.locator('[data-test=play]')).toHaveCount(2, { timeout: 180_000 });

  // Another view and a reload lose nothing; the browser keeps no reason and no state.
  await page.locator('nav a[href="#/now"]').first().click();
  await expect(page.locator('[data-test=asked]')).toHaveCount(0);
  await page.locator('nav a[href="#/playback"]').first().click();
  await expect(rows.locator('[data-test=play]')).toHaveCount(2);
  await page.reload();
  await expect(rows.locator('[data-test=play]')).toHaveCount(2, { timeout: 20_000 });
  expect(await page.evaluate(() => sessionStorage.getItem('wardwatch.asked'))).not.toMatch(/Đối chiếu|sha256|done/);

  // What is downloaded has the hash that stands beside it.
  for (const row of await rows.all()) {
    const hash = /SHA-256 ([0-9a-f]{64})/.exec((await row.textContent())!)![1];
    const link = row.locator('[data-test=download]');
    expect(await link.getAttribute('download')).toContain(hash!.slice(0, 12));
    const file = await (await page.request.get((await link.getAttribute('href'))!)).body();
    expect(createHash('sha256').update(file).digest('hex')).toBe(hash);
  }

  await rows.locator('[data-test=play]').first().click();
  const sync = page.locator('[data-test=sync]');
  await expect(sync.locator('figure')).toHaveCount(2);
  const clips = new Map<string, { from_ms: number; to_ms: number; segments: any[] }>();
  for (const row of await rows.all()) {
    const { body } = await get(page, `commands/${await row.getAttribute('data-command')}`);
    const { from_ms, to_ms } = body.clip;
    const { segments } = (await get(page, `cameras/${body.node}/${body.camera}/recordings?from_ms=${from_ms}&to_ms=${to_ms}`)).body;
    clips.set(`${body.node}/${body.camera}`, { from_ms, to_ms, segments });
  }
  /** Each video stands where its camera was at the player's moment, within so many seconds; how many have a picture of it. */
  async function inStep(within: number): Promise<number> {
    const seen = await look(sync);
    let pictures = 0;
    for (const one of seen.reels) {
      const clip = clips.get(one.key)!;
      const due = place(settled(reel(clip, clip.segments), one.duration), seen.at);
      expect(one.shown, `${one.key} at ${seen.at}`).toBe(due === null ? 'none' : 'picture');
      if (due === null) continue;
      pictures += 1;
      expect(Math.abs(one.at - Math.min(due, one.duration)), `${one.key} is ${one.at}, due ${due}`).toBeLessThan(within);
    }
    return pictures;
  }

  // Together: the clock goes, and whoever has a picture keeps to it.
  const begun = (await look(sync)).at;
  await expect.poll(async () => (await look(sync)).at, { timeout: 30_000 }).toBeGreaterThan(begun + 1_500);
  for (let i = 0; i < 4; i += 1) {
    await page.waitForTimeout(400);
    await expect(async () => { await inStep(0.6); }).toPass({ timeout: 4_000, intervals: [100] });
  }
  await expectAccessible(page, 'clips in step');

  // Stopped and sought, all of them stand; of the one that begins later there is no picture yet, and it is said.
  const span = whole([...clips.values()]);
  await sync.locator('[data-test=sync-play]').click();
  await expect(sync).toHaveAttribute('data-playing', 'false');
  for (const ms of [span.from_ms, at, (span.from_ms + span.to_ms) / 2]) {
    await seek(sync, Math.round(ms));
    await expect(async () => { await inStep(0.15); }).toPass({ timeout: 15_000 });
    expect((await look(sync)).reels.every((r) => r.paused)).toBe(true);
  }
  const [a, b] = [...clips.values()];
  if (a!.from_ms !== b!.from_ms) {
    await seek(sync, span.from_ms);
    await expect(sync.locator('figure[data-shown=none]')).toHaveCount(1);
    await expect(sync.locator('figure[data-shown=none] p')).toContainText(/\d{2}:\d{2}:\d{2}/);
  }

  // One speed for all.
  await seek(sync, at - 3_000);
  await sync.locator('select').selectOption('2');
  await sync.locator('[data-test=sync-play]').click();
  await expect.poll(async () => (await look(sync)).reels.filter((r) => !r.paused && r.rate > 1.5).length, { timeout: 20_000 }).toBeGreaterThan(0);
  await page.setViewportSize({ width: 390, height: 844 });
  await expectNoSidewaysScroll(page, 'clips in step on a phone');
});

test('a clip asked for at an event is found there', async ({ page }) => {
  test.setTimeout(240_000);
  await open(page, 'now');
  let event: any;
  await expect(async () => {
    const { items } = (await get(page, 'events?limit=100')).body;
    event = items.find((e: any) => e.camera === PAIR[0] && e.ended_ms !== null);
    expect(event).toBeTruthy();
  }).toPass({ timeout: 90_000 });
  await open(page, `event/${event.node}/${event.id}`);
  await page.locator('article button', { hasText: 'đoạn phim' }).last().click();
  const dialog = page.locator('dialog[open]');
  await dialog.locator('textarea').fill('Xem lại sự kiện');
  await dialog.locator('button.primary').click();
  await expect(dialog.locator('[role=status]')).not.toBeEmpty();
  await dialog.locator('button:focus').click();
  const row = page.locator('article [data-test=asked] [data-command]');
  await expect(row).toHaveCount(1);
  await open(page, `event/${event.node}/${event.id}`);
  await expect(row.locator('[data-test=play]')).toBeVisible({ timeout: 120_000 });
  await row.locator('[data-test=play]').click();
  await expect.poll(async () => (await look(page.locator('[data-test=sync]'))).reels.some((r) => r.at > 0.3), { timeout: 20_000 }).toBe(true);
  // And among all that was asked, and at its camera, but at no other event.
  await open(page, `cameras/${event.node}/${event.camera}`);
  await expect(page.locator('[data-test=asked] [data-command]').first()).toBeVisible();
});

test('a day says when it shows not all of its events, and asks again for an index that failed', async ({ page }) => {
  await open(page, 'now');
  const { cameras } = await moment(page);
  const key = encodeURIComponent(cameras[0]!);
  const { items } = (await get(page, `events?limit=1&camera=${key}`)).body;
  await page.route('**/api/v1/events?*camera=*', (route) => route.fulfill({ json: { items, next: 'more' } }));
  let broken = true;
  await page.route('**/recordings?*', (route) => (broken ? route.fulfill({ status: 503, json: { type: 'urn:wardwatch:problem:unavailable' } }) : route.continue()));
  await open(page, `playback?camera=${key}`);
  await expect(page.locator('[data-test=events-cut]')).toBeVisible();
  const line = page.locator('[data-test=timelines] .line');
  await expect(line.locator('.trouble')).toBeVisible();
  broken = false;
  await line.locator('button', { hasText: 'Thử lại' }).click();
  await expect(line.locator('.trouble')).toHaveCount(0);
});

test.describe('an officer', () => {
  test.use({ storageState: SESSION });

  test('is told before that only time about an event can be asked for', async ({ page }) => {
    await open(page, 'cameras');
    const { items } = (await get(page, 'cameras')).body;
    const camera = items.find((c: any) => c.camera === PAIR[0]);
    const { now_ms } = (await get(page, 'site')).body;
    await open(page, `playback?camera=${encodeURIComponent(`${camera.node}/${camera.camera}`)}&at=${now_ms - 30 * 3_600_000}`);
    await expect(page.locator('[data-test=limit]')).toBeVisible();
    await expect(page.locator('[data-test=not-about]')).not.toBeEmpty();
    await expect(page.locator('[data-test=ask] button.primary')).toBeDisabled();
    await expectAccessible(page, 'a range that cannot be asked for');
  });
});
