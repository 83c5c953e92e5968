import AxeBuilder from '@axe-core/playwright';
import { expect, test as base, type Page } from '@playwright/test';

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see playwright.config.ts`);
  return value;
}

export const SESSION = 'node_modules/.e2e-session.json';
export const COMMANDER = 'node_modules/.e2e-commander.json';
export const hasCommander = () => Boolean(process.env['WARDWATCH_COMMANDER_LINK']);
const home = () => given('WARDWATCH_URL').replace(/\/?(#.*)?$/, '/');
export const at = (hash: string) => `${home()}#/${hash}`;

/** The link as the server prints it, or only its token. */
export function linkAddress(name = 'WARDWATCH_LINK'): string {
  const link = given(name);
  return link.includes('#') ? link : at(`link/${link}`);
}

/** A page may neither break its own policy, nor throw, nor leave its origin. */
export const test = base.extend({
  page: async ({ page }, use) => {
    const wrong: string[] = [];
    watched(page, home(), wrong);
    await use(page);
    expect(wrong).toEqual([]);
  },
});

export function watched(page: Page, address: string, wrong: string[]): void {
  const { host } = new URL(address);
  page.on('pageerror', (error) => wrong.push(`thrown: ${error.message}`));
  page.on('console', (message) => {
    if (/content security policy|refused to/i.test(message.text())) wrong.push(message.text());
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (/^(http|ws)s?:$/.test(url.protocol) && url.host !== host) wrong.push(`left the origin: ${request.url()}`);
  });
}

export { expect };

/** GET of the API with the page's own session. */
export async function get(page: Page, path: string): Promise<{ status: number; body: any }> {
  const response = await page.request.get(`${home()}api/v1/${path}`);
  const text = await response.text();
  return { status: response.status(), body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text };
}

/** Opens a view as a visitor who types the address: a fresh page. */
export async function open(page: Page, hash: string): Promise<void> {
  await page.goto('about:blank');
  await page.goto(at(hash));
  await expect(page.locator('#main')).toBeVisible();
}

/** Any event like that; the demo's cameras make new ones all the time. */
export async function eventIn(page: Page, query: string, wanted: (e: any) => boolean = () => true): Promise<any> {
  let found: any;
  await expect(async () => {
    const { body } = await get(page, `events?limit=100${query}`);
    found = body.items.find(wanted);
    expect(found).toBeTruthy();
  }).toPass({ timeout: 75_000 });
  return found;
}

export async function expectAccessible(page: Page, what: string): Promise<void> {
  const news = page.locator('[data-test=news] button');
  for (let tries = 3; ; tries -= 1) {
    // What is told at the edge covers what lies below it until it is put away; it has a test of its own, over a dialog.
    if (await page.locator('dialog[open]').count() === 0) await news.evaluateAll((all) => { for (const button of all) (button as HTMLElement).click(); });
    const found = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze();
    // Something may have been told meanwhile.
    if (found.violations.length > 0 && tries > 1 && await news.count() > 0) continue;
    expect(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), what).toEqual([]);
    return;
  }
}

export async function expectNoSidewaysScroll(page: Page, what: string): Promise<void> {
  const over = await page.evaluate(() => {
    const body = document.querySelector('.body')!;
    return Math.max(document.documentElement.scrollWidth - innerWidth, body.scrollWidth - body.clientWidth);
  });
  expect(over, `${what} scrolls sideways`).toBeLessThanOrEqual(1);
}
