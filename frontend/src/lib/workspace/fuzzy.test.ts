import { describe, expect, test } from 'vitest';
import { match, search } from './fuzzy';

const PATHS = ['src/app/main.py', 'src/maintenance.py', 'docs/a/m/a/i/n.md', 'README.md', 'tests/test_main.py'];

describe('quick open', () => {
  test('prefers the name of the file, then its start', () => {
    expect(search(PATHS, 'main', 9).map((found) => found.path)).toEqual([
      'src/app/main.py',
      'src/maintenance.py',
      'tests/test_main.py',
      'docs/a/m/a/i/n.md',
    ]);
  });

  test('needs the letters in their order', () => {
    expect(match('README.md', 'dmz')).toBeNull();
    expect(match('README.md', 'rdm')?.hits).toEqual([0, 3, 4]);
  });

  test('shows everything for nothing typed, shortest first', () => {
    expect(search(PATHS, '', 2).map((found) => found.path)).toEqual(['README.md', 'src/app/main.py']);
  });

  test('ranks fifty thousand paths quickly', () => {
    const many = Array.from({ length: 50_000 }, (_, i) => `packages/module-${i % 97}/src/part-${i}.ts`);
    expect(search(many, 'mod9part', 50)).toHaveLength(50);
  });
});
