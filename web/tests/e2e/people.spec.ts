// What a commander does with accounts and with a shift's papers.
import { COMMANDER, expect, expectAccessible, get, hasCommander, open, test } from './support';

test.skip(!hasCommander(), 'WARDWATCH_COMMANDER_LINK is not set');
test.use({ storageState: hasCommander() ? COMMANDER : undefined });

test('cameras are given to somebody who has an account, and a role that was refused is not shown', async ({ page }) => {
  const name = `giao-${Date.now()}`;
  await open(page, 'users');
  await page.locator('.head button.primary').click();
  await page.locator('dialog input[name=display]').fill(`Người ${name}`);
  await page.locator('dialog input[name=name]').fill(name);
  await page.locator('dialog button.primary').click();
  await expect(page.locator('#one-time')).toBeVisible();
  await page.locator('dialog[open] button', { hasText: 'Đóng' }).last().click();
  const row = page.locator('[data-test=users] tr', { hasText: `Người ${name}` });
  const kept = async () => (await get(page, 'users')).body.items.find((u: any) => u.name === name);

  await row.locator('[data-test=assign]').click();
  const form = page.locator('[data-test=assign-form]');
  await form.locator('input[type=checkbox]').first().check();
  await form.locator('[role=group] input').first().check();
  await expectAccessible(page, 'cameras for somebody');
  await form.locator('button.primary').click();
  await expect(form).toHaveCount(0);
  await expect(row.locator('[data-test=assign]')).toContainText('1 camera');
  expect((await kept()).cameras).toHaveLength(1);

  // And all of them again.
  await row.locator('[data-test=assign]').click();
  await expect(form.locator('[role=group] input:checked')).toHaveCount(1);
  await form.locator('input[type=checkbox]').first().uncheck();
  await form.locator('button.primary').click();
  await expect(form).toHaveCount(0);
  expect((await kept()).cameras).toBeNull();

  await page.route('**/api/v1/users/*', (route) => (route.request().method() === 'PATCH' ? route.fulfill({ status: 503, json: { type: 'urn:wardwatch:problem:unavailable' } }) : route.continue()));
  await row.locator('select').selectOption('commander');
  await expect(page.locator('#main [role=alert]').first()).not.toBeEmpty();
  await expect(row.locator('select')).toHaveValue('duty_officer');
  expect((await kept()).role).toBe('duty_officer');
});

test('a slow answer of before does not take the place of a newer one', async ({ page }) => {
  let slow = true;
  await page.route('**/api/v1/log?*', async (route) => {
    const action = new URL(route.request().url()).searchParams.get('action');
    if (action === 'search' && slow) {
      slow = false;
      await new Promise((done) => setTimeout(done, 2_000));
    }
    await route.continue().catch(() => {});
  });
  await open(page, 'log');
  const action = page.locator('.filters').getByLabel('Hành động');
  await action.selectOption('search');
  await action.selectOption('session.open');
  await page.waitForTimeout(3_500);
  const shown = await page.locator('[data-test=log] tbody tr td:nth-child(3)').allTextContents();
  expect(new Set(shown)).toEqual(new Set(['Đăng nhập']));
});

test('the shift is handed over on paper: what is open, who has it, what is out of order and what is silenced', async ({ page }) => {
  test.setTimeout(120_000);
  await open(page, 'now');
  const { items: cameras } = (await get(page, 'cameras')).body;
  const camera = cameras.find((c: any) => c.camera === 'nha-ba-hoa') ?? cameras[0];
  const { now_ms } = (await get(page, 'site')).body;
  const why = `Sửa mái che ${now_ms}`;
  const made = await page.evaluate(async (body) => {
    const response = await fetch(new URL('api/v1/snoozes', document.baseURI), { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    return response.status;
  }, { node: camera.node, camera: camera.camera, until_ms: now_ms + 600_000, reason: why });
  expect(made).toBe(201);

  await open(page, 'report');
  await expect(page.locator('[data-test=report]')).toBeVisible();
  // The shift goes on: what is out of order now is said, as of now.
  await expect(page.locator('[data-test=outages]')).toHaveCount(1);
  await page.locator('[data-paper=handover]').click();
  const paper = page.locator('[data-test=handover]');
  await expect(paper).toContainText(why);
  await expect(paper).toContainText(camera.name);
  const { items: alone } = (await get(page, 'events?severity=alert&state=new&limit=1')).body;
  if (alone.length > 0) await expect(paper.locator('[data-test=handover-open] a').first()).toBeVisible();
  await expect(paper.locator('[data-test=handover-shut]')).toBeVisible();
  await expectAccessible(page, 'the hand-over');
  await page.emulateMedia({ media: 'print' });
  await expect(page.locator('nav').first()).toBeHidden();
  await expect(paper.locator('.sign')).toBeVisible();
  await page.emulateMedia({ media: 'screen' });

  // Of a shift that is over nothing is claimed that is so only now.
  await open(page, `report?from_ms=${now_ms - 40 * 3_600_000}&to_ms=${now_ms - 28 * 3_600_000}`);
  await expect(page.locator('[data-test=report]')).toBeVisible();
  await expect(page.locator('[data-test=outages]')).toHaveCount(0);
});
