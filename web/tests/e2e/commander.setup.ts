import { COMMANDER, expect, get, hasCommander, linkAddress, test } from './support';

test('a commander logs in', async ({ page }) => {
  test.skip(!hasCommander(), 'WARDWATCH_COMMANDER_LINK is not set');
  await page.goto(linkAddress('WARDWATCH_COMMANDER_LINK'));
  await expect(page.locator('#main')).toBeVisible();
  expect((await get(page, 'session')).body.user.role).toBe('commander');
  await page.context().storageState({ path: COMMANDER });
});
