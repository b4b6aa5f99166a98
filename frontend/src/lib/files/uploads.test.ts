import { describe, expect, it, vi } from 'vitest';
import { ApiError } from '../session/api';
import { Uploads } from './uploads.svelte';

const file = (size: number): Blob => new Blob([new Uint8Array(size)]);

describe('uploads', () => {
  it('sends a few at a time, into the folder, and replaces nothing by itself', async () => {
    const started: string[] = [];
    const waiting: (() => void)[] = [];
    const send = vi.fn((url: string, _body: Blob, _told: unknown, options?: { headers?: Record<string, string> }) => {
      started.push(`${url} ${options?.headers?.['If-None-Match'] ?? ''}`);
      return new Promise<unknown>((resolve) => waiting.push(() => resolve(null)));
    });
    const uploads = new Uploads('w', send);
    uploads.add('docs', ['a', 'b', 'c/d e', 'f'].map((path) => ({ path, file: file(1) })));
    expect(started).toEqual(['a', 'b', 'c/d%20e'].map((path) => `/api/v1/workspaces/w/files/docs/${path} *`));
    waiting.shift()?.();
    await vi.waitFor(() => expect(started).toHaveLength(4));
    while (waiting.length > 0) waiting.shift()?.();
    await vi.waitFor(() => expect(uploads.done).toBe(4));
    expect(uploads.running).toBe(false);
  });

  it('tells what is there already, and replaces it when that is said', async () => {
    let there = true;
    const send = vi.fn(() => (there ? Promise.reject(new ApiError(412, 'changed')) : Promise.resolve(null)));
    const uploads = new Uploads('w', send);
    uploads.add('', [{ path: 'a', file: file(3) }]);
    await vi.waitFor(() => expect(uploads.existing).toHaveLength(1));
    there = false;
    uploads.replace();
    await vi.waitFor(() => expect(uploads.done).toBe(1));
    expect([uploads.sent, uploads.total]).toEqual([3, 3]);
  });

  it('keeps what failed for another try', async () => {
    const send = vi.fn().mockRejectedValueOnce(new ApiError(0, 'broke')).mockResolvedValue(null);
    const uploads = new Uploads('w', send);
    uploads.add('', [{ path: 'a', file: file(1) }]);
    await vi.waitFor(() => expect(uploads.failed.map((each) => each.error)).toEqual(['broke']));
    uploads.again();
    await vi.waitFor(() => expect(uploads.done).toBe(1));
  });
});
