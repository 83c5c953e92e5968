// End-to-end tests against the real server: WARDWATCH_URL is the page's address,
// WARDWATCH_LINK a one-time login link (`<page>/#/link/<token>`), CHROMIUM a browser. WARDWATCH_COMMANDER_LINK is one of
// a commander: without it, what only a commander may do is skipped. WARDWATCH_PROGRAM is the program and WARDWATCH_DEMO the
// directory of a running demo: with its cameras a site is run that may be killed.
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: 'tests/e2e',
  outputDir: 'node_modules/.e2e',
  workers: 1,
  timeout: 90_000,
  expect: { timeout: 10_000 },
  reporter: 'list',
  use: {
    viewport: { width: 1440, height: 900 },
    locale: 'vi-VN',
    timezoneId: 'Europe/Paris',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    },
  },
  projects: [
    { name: 'login', testMatch: '*.setup.ts' },
    { name: 'page', testMatch: '*.spec.ts', testIgnore: 'site.spec.ts', dependencies: ['login'], use: { storageState: 'node_modules/.e2e-session.json' } },
    // A site of its own, killed and started again.
    { name: 'site', testMatch: 'site.spec.ts' },
    // Ends the session, so it comes last.
    { name: 'logout', testMatch: 'logout.last.ts', dependencies: ['page'], use: { storageState: 'node_modules/.e2e-session.json' } },
  ],
});
