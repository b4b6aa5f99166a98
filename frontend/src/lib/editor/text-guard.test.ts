import { EditorState } from '@codemirror/state';
import { describe, expect, test } from 'vitest';
import { clean, textGuard } from './text-guard';

function edited(text: string, changes: { from: number; to?: number; insert?: string }): string {
  const state = EditorState.create({
    doc: text,
    extensions: [EditorState.lineSeparator.of('\n'), textGuard],
  });
  return state.update({ changes, userEvent: 'input.paste' }).state.sliceDoc();
}

describe('the text guard', () => {
  test.each([
    ['a\r\nb\rc', 'a\nb\nc'],
    ['😀', '😀'],
    ['\ud83d', '\ufffd'],
    ['\ude00x', '\ufffdx'],
    ['a\ud83d😀\ude00', 'a\ufffd😀\ufffd'],
  ])('cleans %j to %j', (text, expected) => {
    expect(clean(text)).toBe(expected);
  });

  test('leaves ordinary typing alone', () => {
    expect(edited('ab', { from: 1, insert: '😀é' })).toBe('a😀éb');
  });

  test('cleans what is pasted', () => {
    expect(edited('ab', { from: 1, insert: '1\r\n2\ud83d' })).toBe('a1\n2\ufffdb');
  });

  test('never cuts a pair in two', () => {
    expect(edited('x😀y', { from: 1, to: 2 })).toBe('xy');
    expect(edited('x😀y', { from: 2, insert: '-' })).toBe('x-y');
  });
});
