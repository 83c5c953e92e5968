import { at, expect, get, open, test } from './support';

test('logging out ends the session at the server too', async ({ page }) => {
  await open(page, 'now');
  await page.locator('[data-test=menu]').click();
  await page.locator('[data-test=logout]').click();
  await expect(page.locator('input[name=password]')).toBeVisible();
  expect((await get(page, 'session')).status).toBe(401);
  await page.goto('about:blank');
  await page.goto(at('now'));
  await expect(page.locator('input[name=password]')).toBeVisible();
});
