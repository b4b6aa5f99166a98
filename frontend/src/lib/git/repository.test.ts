import { describe, expect, test } from 'vitest';
import { linesOf } from './repository.svelte';

describe('a diff', () => {
  test('is shown without its head, each line for what it is', () => {
    const diff = 'diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n';
    expect(linesOf(diff).map((line) => [line.kind, line.text])).toEqual([
      ['hunk', '@@ -1,2 +1,2 @@'],
      ['same', ' same'],
      ['remove', '-old'],
      ['add', '+new'],
    ]);
  });

  test('of nothing has no lines, and a binary file says so', () => {
    expect(linesOf('')).toEqual([]);
    expect(linesOf('diff --git a/x b/x\nBinary files a/x and b/x differ\n')).toHaveLength(1);
  });
});
