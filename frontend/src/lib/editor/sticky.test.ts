import { Text } from '@codemirror/state';
import { describe, expect, it } from 'vitest';
import { headings } from './sticky';

const doc = Text.of([
  'class Basket:',
  '    """What somebody buys."""',
  '',
  '    def total(self):',
  '        for item in self.items:',
  '            price = item.price',
  '',
  '        return price',
  '',
  'other = 1',
]);

describe('sticky scroll', () => {
  it('names what a line is in, the outermost first', () => {
    expect(headings(doc, 6, 4)).toEqual([1, 4, 5]);
    expect(headings(doc, 8, 4)).toEqual([1, 4]);
  });

  it('takes an empty line for part of what comes after it', () => {
    expect(headings(doc, 7, 4)).toEqual([1, 4]);
    expect(headings(doc, 9, 4)).toEqual([]);
  });

  it('a line of brackets opens nothing', () => {
    expect(headings(Text.of(['call(', '  a,', ');', '  b']), 4, 4)).toEqual([1]);
    expect(headings(Text.of(['if (x) {', '\ty', '} else {', '\tz', '}']), 4, 4)).toEqual([3]);
  });
});
