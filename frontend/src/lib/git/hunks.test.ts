import { expect, it } from 'vitest';
import { parseDiff } from './hunks';

const DIFF = `diff --git a/a b/a
index 1..2 100644
--- a/a
+++ b/a
@@ -1,3 +1,3 @@
 one
-two
+2
 three
@@ -20 +20,2 @@ def f():
 last
+@@ -1 +1 @@ typed by somebody
\\ No newline at end of file
`;

it('reads hunks with the numbers of their lines, and keeps them as Git has them', () => {
  const { hunks, binary } = parseDiff(DIFF);
  expect(binary).toBe(false);
  expect(hunks.map(({ title, line }) => [title, line])).toEqual([
    ['', 1],
    ['def f():', 20],
  ]);
  expect(hunks[0]?.source).toBe('@@ -1,3 +1,3 @@\n one\n-two\n+2\n three');
  expect(hunks[0]?.lines.map(({ kind, before, after }) => [kind, before, after])).toEqual([
    ['same', 1, 1],
    ['remove', 2, null],
    ['add', null, 2],
    ['same', 3, 3],
  ]);
  expect(hunks[1]?.lines.map(({ kind, text }) => [kind, text])).toEqual([
    ['same', 'last'],
    ['add', '@@ -1 +1 @@ typed by somebody'],
    ['note', 'No newline at end of file'],
  ]);
  expect(`${hunks.map(({ source }) => source).join('\n')}\n`).toBe(DIFF.slice(DIFF.indexOf('@@')));
});

it('tells what is no text', () => {
  expect(parseDiff('diff --git a/x b/x\nBinary files a/x and b/x differ\n')).toEqual({ binary: true, hunks: [] });
  expect(parseDiff('')).toEqual({ binary: false, hunks: [] });
});
