import { beforeEach, expect, test, vi } from 'vitest';

const asked: string[] = [];
let status = 200;

beforeEach(() => {
  vi.unstubAllGlobals();
  asked.length = 0;
  status = 200;
  vi.stubGlobal('document', { baseURI: 'http://ward.test/below/', documentElement: { dataset: {} } });
  vi.stubGlobal('localStorage', { getItem: (name: string) => (name === 'wardwatch.events' ? 'on' : null), setItem: () => {} });
  vi.stubGlobal('fetch', (address: string) => {
    asked.push(address.replace('http://ward.test/below/api/v1/', ''));
    const answer = status === 200 ? { items: [], next: null } : { type: 'urn:wardwatch:problem:unauthorized' };
    return Promise.resolve(new Response(JSON.stringify(answer), { status }));
  });
});

async function opened(hash: string) {
  vi.resetModules();
  globalThis.wardwatchEarly = undefined;
  asked.length = 0;
  vi.stubGlobal('location', { hash });
  await import('../../src/early');
  return [...asked];
}

test('what the first view asks for is what was asked for before it was there', async () => {
  expect(await opened('')).toHaveLength(4);
  const { api } = await import('../../src/lib/api');
  const { feed } = await import('../../src/lib/feed.svelte');
  await Promise.all([api.site(), api.me(), feed.load()]);
  expect(asked).toHaveLength(4);
  expect(feed.failed).toBe('');
  // Once: who asks again is told anew.
  await feed.load();
  expect(asked).toHaveLength(6);
});

test('events are asked for where they are shown at once, and by those who saw some here before', async () => {
  expect(await opened('#/now')).toHaveLength(4);
  expect(await opened('#/wall')).toEqual(['site', 'session']);
  expect(await opened('#/now?severity=alert')).toEqual(['site', 'session']);
  vi.stubGlobal('localStorage', { getItem: () => null });
  expect(await opened('#/now')).toEqual(['site', 'session']);
});

test('whoever logs in is not answered what was refused before', async () => {
  status = 401;
  await opened('');
  const { api } = await import('../../src/lib/api');
  await expect(api.me()).rejects.toThrow();
  status = 200;
  await api.events({ limit: 50 });
  expect(asked).toHaveLength(5);
});

test('a page that was faster than the script asks for itself, once', async () => {
  await opened('#/wall');
  globalThis.wardwatchEarly = undefined;
  asked.length = 0;
  const { api } = await import('../../src/lib/api');
  await Promise.all([api.site(), api.me()]);
  vi.resetModules();
  await import('../../src/early');
  expect(asked).toEqual(['site', 'session']);
});
