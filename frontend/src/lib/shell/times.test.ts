import { describe, expect, test } from 'vitest';
import { ageOf, agoOf, dayOf } from './times';

const NOW = new Date(2025, 4, 14, 12, 0, 0);

function ago(seconds: number): string {
  return new Date(NOW.getTime() - seconds * 1000).toISOString();
}

describe('an age', () => {
  test.each([
    [-5, 'now'],
    [59, 'now'],
    [60, '1 min'],
    [3599, '59 min'],
    [3600, '1 h'],
    [86_400, '1 d'],
    [364 * 86_400, '364 d'],
    [800 * 86_400, '2 y'],
  ])('of %i seconds is %s', (seconds, text) => {
    expect(ageOf(ago(seconds), NOW.getTime())).toBe(text);
  });

  test('in a sentence', () => {
    expect(agoOf(ago(5), NOW.getTime())).toBe('just now');
    expect(agoOf(ago(300), NOW.getTime())).toBe('5 min ago');
  });

  test('of no time is empty', () => {
    expect(ageOf('never')).toBe('');
  });
});

describe('a day', () => {
  test.each([
    [0, 'Today'],
    [11 * 3600, 'Today'],
    [13 * 3600, 'Yesterday'],
    [35 * 3600, 'Yesterday'],
  ])('%i seconds ago is %s', (seconds, text) => {
    expect(dayOf(ago(seconds), NOW)).toBe(text);
  });

  test('longer ago is its date, with the year when it is another', () => {
    expect(dayOf(ago(5 * 86_400), NOW)).toMatch(/9/);
    expect(dayOf(ago(5 * 86_400), NOW)).not.toMatch(/2025/);
    expect(dayOf(ago(400 * 86_400), NOW)).toMatch(/2024/);
  });
});
