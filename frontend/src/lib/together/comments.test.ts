import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { placeOf, rangeOf } from './comments.svelte';

function textOf(content: string): Y.Text {
  const text = new Y.Doc().getText('content');
  text.insert(0, content);
  return text;
}

describe('a comment on text', () => {
  it('stays on its words while people edit around and inside of them', () => {
    const text = textOf('one\ntwo three\nfour\n');
    const place = placeOf('a', text, 4, 7);
    expect(place).toMatchObject({ line: 2, quote: 'two' });
    text.insert(0, 'zero\n');
    text.insert(12, '!');
    expect(rangeOf(place, text)).toEqual({ from: 9, to: 12 });
    text.insert(10, 'xx');
    expect(rangeOf(place, text)).toEqual({ from: 9, to: 14 });
    text.delete(0, text.length);
    expect(rangeOf(place, text)).toEqual({ from: 0, to: 0 });
  });

  it('is found by its words in a text that was made anew, or nowhere', () => {
    const place = placeOf('a', textOf('one two'), 4, 7);
    expect(rangeOf(place, textOf('and two'))).toEqual({ from: 4, to: 7 });
    expect(rangeOf(place, textOf('and three'))).toBeNull();
    expect(rangeOf({ ...place, start: '%%%', quote: '' }, textOf('x'))).toBeNull();
  });
});
