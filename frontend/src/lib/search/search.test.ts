import { afterEach, describe, expect, it, vi } from 'vitest';
import { type FoundFile, patterns, piecesOf, rowsOf, Search } from './search.svelte';

const hit = (line: number, start: number, end: number): FoundFile['lines'][number]['matches'][number] => ({
  line,
  start,
  end,
  bytes: [start, end],
  text: 'x',
});
const A: FoundFile = { path: 'a', lines: [{ text: 'one xx two', offset: 0, matches: [hit(1, 4, 6)] }] };
const B: FoundFile = { path: 'b', lines: [{ text: 'x', offset: 0, matches: [hit(3, 0, 1)] }, { text: 'x', offset: 0, matches: [hit(9, 0, 1)] }] };

function answer(...parts: string[]): void {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
  vi.stubGlobal('fetch', vi.fn(() => Promise.resolve(new Response(body))));
}

afterEach(() => vi.unstubAllGlobals());

describe('search in files', () => {
  it('reads what comes, however it is cut', async () => {
    const lines = [{ type: 'file', ...B }, { type: 'file', ...A }, { type: 'done', files: 2, matches: 3, truncated: false, reason: '' }];
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    answer(text.slice(0, 37), text.slice(37, 41), text.slice(41));
    const search = new Search('w');
    search.question = { ...search.question, query: 'x' };
    await search.run();
    expect(search.files.map((file) => file.path)).toEqual(['a', 'b']);
    expect([search.state, search.count, search.done?.matches]).toEqual(['done', 3, 3]);
  });

  it('marks what matched in the part of a line that is shown', () => {
    expect(piecesOf({ text: 'aXXb', offset: 10, matches: [hit(1, 11, 13), hit(1, 90, 95)] })).toEqual([
      { text: 'a', hit: false },
      { text: 'XX', hit: true },
      { text: 'b', hit: false },
    ]);
  });

  it('lists files and their lines, and leaves out what is dismissed', () => {
    const search = new Search('w');
    search.files = [A, B];
    expect(rowsOf(search.files, new Set(['b'])).map((row) => row.kind)).toEqual(['file', 'line', 'file']);
    search.dismiss({ kind: 'line', file: B, line: B.lines[0] as FoundFile['lines'][number] });
    expect(search.count).toBe(2);
    search.dismiss({ kind: 'file', file: A, count: 1, open: true });
    expect(search.files.map((file) => file.path)).toEqual(['b']);
  });

  it('replaces exactly what is listed', async () => {
    answer(JSON.stringify({ id: 'e', label: '', files: ['b'], edits: 1 }));
    const search = new Search('w');
    search.files = [{ ...B, lines: B.lines.slice(1) }];
    search.question = { ...search.question, query: 'x', include: 'src/, *.py ,' };
    search.replacement = 'y';
    await search.replace();
    const [, init] = vi.mocked(fetch).mock.calls[0] ?? [];
    expect(JSON.parse(String(init?.body))).toMatchObject({ paths: ['b'], only: { b: [[9, 0]] }, replacement: 'y', include: ['src/', '*.py'] });
  });

  it('patterns have commas between them', () => {
    expect(patterns(' a, ,b ')).toEqual(['a', 'b']);
  });
});
