import { afterEach, expect, test, vi } from 'vitest';
import { list } from './api';

afterEach(() => vi.unstubAllGlobals());

test('a list is read page after page', async () => {
  const asked: string[] = [];
  const pages: Record<string, unknown> = {
    '/api/v1/things?of=a%26b': { things: [1, 2], next: 'c/1=' },
    '/api/v1/things?of=a%26b&cursor=c%2F1%3D': { things: [3], next: null },
    '/api/v1/others': { others: [], next: null },
  };
  vi.stubGlobal('fetch', (url: string) => {
    asked.push(url);
    return Promise.resolve(new Response(JSON.stringify(pages[url])));
  });
  expect(await list<number>('/api/v1/things?of=a%26b', 'things')).toEqual([1, 2, 3]);
  expect(asked).toHaveLength(2);
  expect(await list<number>('/api/v1/others', 'others')).toEqual([]);
});
