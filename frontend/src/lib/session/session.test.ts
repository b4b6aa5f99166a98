import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { fakeStorage } from '../collab/fake-room';

const ADA = { id: 'ada', name: 'Ada', color: '#123456' };

beforeEach(() => {
  vi.resetModules();
  vi.useFakeTimers();
  vi.stubGlobal('window', { location: { pathname: '/w/one' }, localStorage: fakeStorage() });
  vi.stubGlobal('localStorage', window.localStorage);
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function answering(status: number): void {
  vi.stubGlobal('fetch', () => (status === 0 ? Promise.reject(new TypeError('Failed to fetch')) : Promise.resolve(new Response(JSON.stringify({ user: ADA }), { status }))));
}

test.each([0, 429, 500, 502, 503, 504])('who is in stays in while the server answers %d, and it is asked again', async (status) => {
  const { session } = await import('./session.svelte');
  answering(200);
  await session.load();
  answering(status);
  const again = session.load();
  await vi.advanceTimersByTimeAsync(2000);
  await again;
  expect([session.status, session.user?.name]).toEqual(['in', 'Ada']);
  answering(401);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(session.status).toBe('out');
});

test('who signs in while it is asked who they are is in, whatever the answer to that', async () => {
  const { session } = await import('./session.svelte');
  const waiting: ((answer: Response) => void)[] = [];
  vi.stubGlobal('fetch', (_: string, { method }: RequestInit) =>
    method === 'GET' ? new Promise<Response>((resolve) => waiting.push(resolve)) : Promise.resolve(new Response(JSON.stringify({ user: ADA }))),
  );
  const asked = session.load();
  await session.signIn('token', 'Ada');
  waiting[0]?.(new Response('{}', { status: 401 }));
  await asked;
  expect([session.status, session.user?.name]).toEqual(['in', 'Ada']);
});
