import { describe, expect, it } from 'vitest';
import { resized, validGroups } from './groups';

describe('panes of the editor', () => {
  it('brings back what was kept, each file once', () => {
    const kept = {
      groups: [
        { paths: ['a', 'b'], active: 'b', size: 2 },
        { paths: ['b', 'c', 7], active: 'b', size: -1 },
        { paths: [] },
      ],
      current: 1,
    };
    expect(validGroups(kept)).toEqual({
      groups: [
        { paths: ['a', 'b'], active: 'b', size: 2 },
        { paths: ['c'], active: 'c', size: 1 },
      ],
      current: 1,
    });
    expect(validGroups('nonsense')).toEqual({ groups: [], current: 0 });
    expect(validGroups(null)).toEqual({ groups: [], current: 0 });
  });

  it('moves a border and leaves the others where they are', () => {
    expect(resized([1, 1, 2], 0, 0.05)).toEqual([1.2, 0.8, 2]);
    const squeezed = resized([1, 1], 0, 0.9);
    expect(squeezed[1]).toBeCloseTo(0.24);
    expect(squeezed[0]).toBeCloseTo(1.76);
  });
});
