import { describe, expect, test } from 'vitest';
import { Backoff } from './backoff';

describe('the back-off', () => {
  test('doubles its ceiling up to the most, and begins anew after a success', () => {
    const backoff = new Backoff(300, 2000, () => 1);
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([300, 600, 1200, 2000, 2000]);
    backoff.reset();
    expect(backoff.next()).toBe(300);
  });

  test('spreads clients over the whole time', () => {
    const waits = Array.from({ length: 200 }, () => new Backoff(1000, 1000).next());
    expect(Math.min(...waits)).toBeLessThan(250);
    expect(Math.max(...waits)).toBeGreaterThan(750);
  });
});
