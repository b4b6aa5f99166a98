import { describe, expect, test } from 'vitest';
import { initials, readableOn, safeColor } from './colors';

describe('colours of people', () => {
  test('carry text that can be read', () => {
    expect(readableOn('#ffd166')).toBe('#10131a');
    expect(readableOn('#4054d6')).toBe('#ffffff');
  });

  test.each(['red; background: url(x)', 'url(x)', null, 7, '#12'])('replace %j, which is none', (color) => {
    expect(safeColor(color)).toBe('#7a8190');
  });

  test.each(['#1a2b3c', 'hsl(120, 50%, 40%)', 'rgb(1 2 3 / 40%)'])('keep %s', (color) => {
    expect(safeColor(color)).toBe(color);
  });

  test('come with initials', () => {
    expect(['Ada Lovelace', 'bo', '', '😀 x'].map(initials)).toEqual(['AL', 'B', '?', '😀X']);
  });
});
