import { at, expect, expectAccessible, get, linkAddress, SESSION, test } from './support';

test('the login page, then the one-time link logs in, once', async ({ page, browser }) => {
  await page.goto(at('now'));
  await expect(page.locator('input[name=password]')).toBeVisible();
  await expectAccessible(page, 'login');
  await page.locator('input[name=name]').fill('khong-co-nguoi-nay');
  await page.locator('input[name=password]').fill('khong-phai-mat-khau');
  await page.locator('button.primary').click();
  await expect(page.locator('[role=alert]')).not.toBeEmpty();

  await page.goto('about:blank');
  await page.goto(linkAddress());
  await expect(page.locator('#main')).toBeVisible();
  expect((await get(page, 'session')).status).toBe(200);
  await page.context().storageState({ path: SESSION });

  const other = await browser.newContext();
  const stranger = await other.newPage();
  await stranger.goto(linkAddress());
  await expect(stranger.locator('[role=alert]')).not.toBeEmpty();
  await expect(stranger.locator('#main')).toHaveCount(0);
  await other.close();
});
