import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const files = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((f) => (f.isDirectory() ? files(`${dir}/${f.name}`) : [`${dir}/${f.name}`]));

test('the page can live below any path and under a strict policy', () => {
  const html = readFileSync('index.html', 'utf8');
  expect(html).toContain('<base href="/">');
  expect(html).not.toMatch(/\sstyle=|<style|\son\w+=/);
  for (const [, attributes, body] of html.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)) {
    expect(attributes).toContain('src=');
    expect(body!.trim()).toBe('');
  }
});

test('no template has a style attribute, no source an address of another host', () => {
  for (const file of files('src')) {
    const text = readFileSync(file, 'utf8');
    if (file.endsWith('.svelte')) expect(text, file).not.toMatch(/\sstyle=["{]|\{@html/);
    for (const [found] of text.matchAll(/https?:\/\/[^\s'"`)]+/g)) expect(found, file).toMatch(/^http:\/\/www\.w3\.org\//);
  }
});
