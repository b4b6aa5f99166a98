import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Entry } from '../protocol';
import { ancestors, fileNameProblem, isWithin, join, parentOf, size } from './paths';
import { FileTree, rowsOf, sorted } from './tree.svelte';

function entry(path: string, type: Entry['type'] = 'file'): Entry {
  return { path, type, size: 1, mtime: 0 };
}

/** A server whose disk is the map: directory to its entries. */
function serve(disk: Record<string, Entry[]>): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', (url: string) => {
    const path = new URL(url, 'http://host').searchParams.get('path') ?? '';
    asked.push(path);
    const entries = disk[path];
    if (!entries) return Promise.resolve(new Response('{}', { status: 404 }));
    return Promise.resolve(Response.json({ entries, truncated: false }));
  });
  return asked;
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('paths', () => {
  test('split and join', () => {
    expect(parentOf('a/b/c')).toBe('a/b');
    expect(parentOf('a')).toBe('');
    expect(join('', 'a')).toBe('a');
    expect(ancestors('a/b/c')).toEqual(['a', 'a/b']);
    expect(isWithin('ab', 'a')).toBe(false);
    expect(isWithin('a/b', 'a')).toBe(true);
  });

  test.each(['', 'a//b', '../x', '.', 'a\n', 'x'.repeat(256)])('refuse the name %j', (name) => {
    expect(fileNameProblem(name)).not.toBe('');
  });

  test.each(['a.txt', 'dir/ü 😀.py', "it's", '.env'])('accept the name %j', (name) => {
    expect(fileNameProblem(name)).toBe('');
  });

  test('sizes are readable', () => {
    expect([size(12), size(1500), size(25_000_000)]).toEqual(['12 bytes', '1.5 kB', '25 MB']);
  });
});

describe('the file tree', () => {
  test('sorts directories first, then by name as people count', () => {
    const names = sorted([entry('b10'), entry('b9'), entry('z', 'directory')]).map((e) => e.path);
    expect(names).toEqual(['z', 'b9', 'b10']);
  });

  test('shows what is expanded', () => {
    const directories = new Map([
      ['', { entries: [entry('src', 'directory'), entry('a')], truncated: false }],
      ['src', { entries: [entry('src/b')], truncated: false }],
    ]);
    const rows = rowsOf(directories, new Set(['src']), new Set());
    expect(rows.map((row) => [row.entry.path, row.level])).toEqual([
      ['src', 1],
      ['src/b', 2],
      ['a', 1],
    ]);
  });

  test('lists a directory once something appears in it, and no other', async () => {
    vi.useFakeTimers();
    const disk: Record<string, Entry[]> = { '': [entry('src', 'directory')], src: [] };
    const asked = serve(disk);
    const tree = new FileTree('w');
    await tree.reload();
    await tree.expand('src');
    disk['src'] = [entry('src/new.py')];
    const changes = [1, 2, 3].map(() => ({ path: 'src/new.py', kind: 'added' as const }));
    tree.take({ type: 'files', workspace: 'w', changes, overflow: false });
    await vi.advanceTimersByTimeAsync(200);
    expect(tree.rows.map((row) => row.entry.path)).toEqual(['src', 'src/new.py']);
    expect(asked).toEqual(['', 'src', 'src']);
  });

  test('drops what was deleted with everything below it', async () => {
    serve({ '': [entry('src', 'directory')], src: [entry('src/a')] });
    const tree = new FileTree('w');
    await tree.reload();
    await tree.expand('src');
    tree.focused = 'src/a';
    const changes = [{ path: 'src', kind: 'deleted' as const }];
    tree.take({ type: 'files', workspace: 'w', changes, overflow: false });
    expect(tree.rows).toEqual([]);
    expect(tree.focused).toBeNull();
  });

  test('reveals a file in directories that were never opened', async () => {
    serve({
      '': [entry('a', 'directory')],
      a: [entry('a/b', 'directory')],
      'a/b': [entry('a/b/c')],
    });
    const tree = new FileTree('w');
    await tree.reload();
    await tree.reveal('a/b/c');
    expect(tree.rows.map((row) => row.entry.path)).toEqual(['a', 'a/b', 'a/b/c']);
  });

  test('tells why the files cannot be listed', async () => {
    vi.stubGlobal('fetch', () =>
      Promise.resolve(
        new Response('{"detail":"The workspace is stopped."}', {
          status: 409,
          headers: { 'Content-Type': 'application/problem+json' },
        }),
      ),
    );
    const tree = new FileTree('w');
    await tree.reload();
    expect(tree.error).toBe('The workspace is stopped.');
  });
});
