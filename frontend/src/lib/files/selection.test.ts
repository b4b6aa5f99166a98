import { describe, expect, it } from 'vitest';
import { between, topmost } from './selection';

describe('what is selected in the tree', () => {
  const rows = ['a', 'a/b', 'a/c', 'd'];

  it('reaches from one to the other, either way', () => {
    expect(between(rows, 'a/b', 'd')).toEqual(['a/b', 'a/c', 'd']);
    expect(between(rows, 'd', 'a/c')).toEqual(['a/c', 'd']);
    expect(between(rows, null, 'd')).toEqual(['d']);
    expect(between(rows, 'gone', 'd')).toEqual(['d']);
  });

  it('takes a folder for all in it', () => {
    expect(topmost(['a/b', 'a', 'd', 'ab'])).toEqual(['a', 'd', 'ab']);
  });
});
