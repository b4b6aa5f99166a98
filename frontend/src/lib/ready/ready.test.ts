import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Pool, Prebuild } from '../protocol';
import { Ready, stateOf } from './ready.svelte';

const pool = (more: Partial<Pool>): Pool => ({ image: 'python', team: '', size: 1, ready: 1, error: '', prebuild: '', ...more });
const prebuild = (more: Partial<Prebuild>): Prebuild => ({
  id: 'b1',
  team: '',
  image: 'python',
  git: { url: 'https://example.org/x', ref: '' },
  every_hours: 0,
  state: 'ready',
  error: '',
  commit: 'abc',
  seconds: 1,
  built_at: null,
  ready: 0,
  hooked: false,
  ...more,
});

function answering(answers: Record<string, unknown>): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (url: string, options?: { method?: string; body?: string }) => {
    asked.push(`${options?.method ?? 'GET'} ${url} ${options?.body ?? ''}`.trim());
    const key = Object.keys(answers).find((each) => url.startsWith(each));
    return new Response(JSON.stringify(key ? answers[key] : {}));
  });
  return asked;
}

describe('what is kept ready', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it('tells pools apart from what prebuilds fill, and one image from others', async () => {
    answering({
      '/api/v1/pools': { limit: 4, pools: [pool({}), pool({ image: 'img_1', prebuild: 'b1', size: 2 }), pool({ image: 'base', size: 0 })] },
      '/api/v1/prebuilds': { prebuilds: [prebuild({ image: 'img_1@3' }), prebuild({ id: 'b2', image: 'img_10' })] },
    });
    const all = new Ready('t1');
    await all.load();
    expect(all.plain.map((each) => each.image)).toEqual(['python']);
    expect([all.total, all.limit, all.filled(all.prebuilds[0]!)]).toEqual([3, 4, 1]);
    const one = new Ready('t1', 'img_1');
    await one.load();
    expect([one.plain.length, one.made.map((each) => each.id)]).toEqual([0, ['b1']]);
    all.close();
    one.close();
  });

  it('looks again for as long as something is on its way, and not once it is closed', async () => {
    vi.useFakeTimers();
    const asked = answering({ '/api/v1/pools': { limit: 0, pools: [] }, '/api/v1/prebuilds': { prebuilds: [prebuild({ state: 'building' })] } });
    const ready = new Ready('');
    await ready.load();
    await vi.advanceTimersByTimeAsync(2000);
    expect(asked).toHaveLength(4);
    ready.close();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked).toHaveLength(4);
  });

  it('says of a failed one whether there is an older one', () => {
    expect(stateOf(prebuild({ state: 'failed' }))).toBe('Failed; the one before is used');
    expect(stateOf(prebuild({ state: 'failed', commit: '' }))).toBe('Failed');
  });
});
