import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin, Rollup } from 'vite';
import { defineConfig } from 'vitest/config';

// A script of its own before the page's, which is small and asks for what the first view needs.
const early: Plugin = {
  name: 'early',
  transformIndexHtml: {
    order: 'post',
    handler(html, { bundle }) {
      const chunk = Object.values(bundle ?? {}).find((c) => c.type === 'chunk' && c.isEntry && c.name === 'early');
      const src = chunk ? `./${chunk.fileName}` : '/src/early.ts';
      return html.replace('<!-- early -->', `<script type="module" async src="${src}"></script>`);
    },
  },
};

/** What the page's own script imports before anything is asked for is one file: few browsers ask for more than six at once. */
const first: Rollup.GetManualChunk = (id, { getModuleIds, getModuleInfo }) => {
  const main = [...getModuleIds()].find((m) => m.endsWith('/src/main.ts'));
  const seen = new Set<string>();
  const wanted = main ? [main] : [];
  for (let next = wanted.pop(); next !== undefined; next = wanted.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    wanted.push(...(getModuleInfo(next)?.importedIds ?? []));
  }
  return seen.has(id) ? 'page' : undefined;
};

// Every URL is relative: the server may put the page below any path, and says so in <base>.
export default defineConfig({
  base: './',
  plugins: [svelte(), early],
  build: {
    target: 'es2022',
    // No data: URLs in the style sheets; files of their own are cached by their hash.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { input: { index: 'index.html', early: 'src/early.ts' }, output: { manualChunks: first } },
  },
  test: { include: ['tests/unit/**/*.test.ts'], environment: 'node' },
});
