import { afterEach, expect, test, vi } from 'vitest';
import { ApiError, list, request, send } from './api';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

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

/** A server whose connection breaks so many times; the requests that came. */
function breaking(times: number): RequestInit[] {
  const came: RequestInit[] = [];
  vi.useFakeTimers();
  vi.stubGlobal('fetch', (_url: string, init: RequestInit) => {
    came.push(init);
    if (came.length <= times) return Promise.reject(new TypeError('Failed to fetch'));
    return Promise.resolve(new Response('{"done": true}'));
  });
  return came;
}

/** What a request came to; time passes by itself. */
async function outcome<T>(answer: Promise<T>): Promise<T | string> {
  const settled = answer.catch((error: unknown) => (error as ApiError).message);
  await vi.runAllTimersAsync();
  return settled;
}

test('a request whose connection broke is sent again, to take effect once', async () => {
  const came = breaking(2);
  expect(await outcome(request('POST', '/api/v1/things', { name: 'one' }))).toEqual({ done: true });
  const keys = came.map((init) => new Headers(init.headers).get('Idempotency-Key'));
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
  expect(new Set(keys).size).toBe(1);
  expect(keys).toHaveLength(3);
});

test('a server that stays away is told of', async () => {
  const came = breaking(Infinity);
  expect(await outcome(request('GET', '/api/v1/things'))).toContain('cannot be reached');
  expect(came).toHaveLength(3);
});

test.each([
  ['POST', {}],
  ['DELETE', {}],
  ['PUT', { 'If-None-Match': '*' }],
])('%s %j, which a second time would do or say something else, is not sent again', async (method, headers) => {
  const came = breaking(1);
  expect(await outcome(send('/api/v1/files', { method, headers }))).toContain('cannot be reached');
  expect(came).toHaveLength(1);
});

test('what is still being done when it is sent again is waited for', async () => {
  const answers = [
    () => Promise.reject(new TypeError('Failed to fetch')),
    () => Promise.resolve(new Response('{}', { status: 409, headers: { 'Retry-After': '1' } })),
    () => Promise.resolve(new Response('{"done": true}')),
  ];
  vi.useFakeTimers();
  vi.stubGlobal('fetch', () => answers.shift()?.());
  expect(await outcome(request('POST', '/api/v1/things', {}))).toEqual({ done: true });
});

test('what was given up is not sent again', async () => {
  const came: string[] = [];
  vi.stubGlobal('fetch', (url: string) => {
    came.push(url);
    return Promise.reject(new DOMException('', 'AbortError'));
  });
  await expect(send('/api/v1/things')).rejects.toThrow(DOMException);
  expect(came).toHaveLength(1);
});
