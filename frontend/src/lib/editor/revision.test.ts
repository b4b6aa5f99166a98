import { describe, expect, test } from 'vitest';
import { type Edit, editsBetween } from './revision';

function applied(text: string, edits: Edit[]): string {
  return [...edits].reverse().reduce((now, { from, to, insert }) => now.slice(0, from) + insert + now.slice(to), text);
}

/** No edit may leave half of a pair, before or after. */
function whole(text: string, edits: Edit[]): boolean {
  const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
  return edits.every(({ from, to, insert }) => !lone.test(text.slice(from, to)) && !lone.test(insert));
}

/** Numbers that look random and are the same in every run. */
function* numbers(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    yield state >> 8;
  }
}

describe('edits between two texts', () => {
  test('are none for the same text', () => {
    expect(editsBetween('a\nb', 'a\nb')).toEqual([]);
  });

  test('touch only what differs', () => {
    const edits = editsBetween('one\ntwo\nthree\nfour\n', 'one\nTWO\nthree\nfour!\n');
    expect(edits).toEqual([
      { from: 4, to: 7, insert: 'TWO' },
      { from: 18, to: 18, insert: '!' },
    ]);
  });

  test.each([
    ['😀', '😁'],
    ['a😀b', 'a😁b'],
    ['😀😀', '😀'],
    ['x😀😁y', 'x😁😀y'],
    ['𝒜', '𐒜'],
  ])('from %j to %j cut no pair in two', (before, after) => {
    const edits = editsBetween(before, after);
    expect(applied(before, edits)).toBe(after);
    expect(whole(before, edits)).toBe(true);
  });

  test('lead to the other text, whatever the two are', () => {
    const letters = ['a', 'b', '\n', '😀', '😁', '𝒜', '🙀', 'é'];
    const random = numbers(7);
    const text = (): string =>
      Array.from({ length: random.next().value % 30 }, () => letters[random.next().value % letters.length]).join('');
    for (let n = 0; n < 3000; n += 1) {
      const [before, after] = [text(), text()];
      const edits = editsBetween(before, after);
      expect(applied(before, edits)).toBe(after);
      expect(whole(before, edits)).toBe(true);
    }
  });
});
