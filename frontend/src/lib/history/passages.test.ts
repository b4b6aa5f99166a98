import { describe, expect, test } from 'vitest';
import type { VersionChange } from '../protocol';
import { passagesOf } from './passages';

const ADA = { id: 'a', name: 'Ada', color: '#112233' };
const BO = { id: 'b', name: 'Bo', color: '#332211' };

function change(author: typeof ADA, start: number, deleted: string, inserted: string): VersionChange {
  return { author, time: '2025-05-01T12:00:00Z', start, deleted, inserted };
}

/** Author, line, deleted and inserted of each passage. */
function told(text: string, ...changes: VersionChange[]): [string, number, string, string][] {
  return passagesOf(text, changes).map(({ author, line, deleted, inserted }) => [author.name, line, deleted, inserted]);
}

describe('the passages of a version', () => {
  test('join what one author typed letter by letter', () => {
    expect(told('one\ntwo!', change(ADA, 4, '', 't'), change(ADA, 5, '', 'w'), change(ADA, 6, '', 'o!'))).toEqual([
      ['Ada', 2, '', 'two!'],
    ]);
  });

  test('forget what was typed and taken back', () => {
    expect(told('', change(ADA, 0, '', 'x'), change(ADA, 0, 'x', ''))).toEqual([]);
    expect(told('ab', change(ADA, 0, '', 'abc'), change(ADA, 2, 'c', ''))).toEqual([['Ada', 1, '', 'ab']]);
  });

  test('join deletions to the left and to the right', () => {
    expect(told('ad', change(ADA, 2, 'c', ''), change(ADA, 1, 'b', ''))).toEqual([['Ada', 1, 'bc', '']]);
    expect(told('ad', change(ADA, 1, 'b', ''), change(ADA, 1, 'c', ''))).toEqual([['Ada', 1, 'bc', '']]);
  });

  test('take in what lay around, when more than the own text is replaced', () => {
    expect(told('[new]', change(ADA, 1, '', 'x'), change(ADA, 0, '(x)', '[new]'))).toEqual([['Ada', 1, '()', '[new]']]);
  });

  test('tell a line begun at the end of the one before as a line of its own', () => {
    expect(told('one\ntwo\n', change(ADA, 3, '', '\n'), change(ADA, 4, '', 'two'))).toEqual([['Ada', 2, '', 'two']]);
    expect(told('one\n', change(ADA, 3, '\ntwo', ''))).toEqual([['Ada', 2, 'two', '']]);
    expect(told('one\n', change(ADA, 3, '', '\n'))).toEqual([['Ada', 1, '', '\n']]);
  });

  test('keep two authors apart who type by turns, each in a line', () => {
    expect(
      told('ab\ncd', change(ADA, 0, '', 'a'), change(BO, 2, '', 'c'), change(ADA, 1, '', 'b'), change(BO, 4, '', 'd')),
    ).toEqual([
      ['Ada', 1, '', 'ab'],
      ['Bo', 2, '', 'cd'],
    ]);
  });

  test('are broken by an edit of somebody else in their middle', () => {
    expect(told('aXbc', change(ADA, 0, '', 'ab'), change(BO, 1, '', 'X'), change(ADA, 3, '', 'c'))).toEqual([
      ['Ada', 1, '', 'ab'],
      ['Bo', 1, '', 'X'],
      ['Ada', 1, '', 'c'],
    ]);
  });

  test('count letters outside the basic plane as one', () => {
    expect(told('😀\n😀x', change(ADA, 3, '', 'x'))).toEqual([['Ada', 2, '', 'x']]);
  });

  test('move along with what changes above them', () => {
    expect(told('new\nnew\none!', change(ADA, 3, '', '!'), change(BO, 0, '', 'new\nnew\n'))).toEqual([
      ['Ada', 3, '', '!'],
      ['Bo', 1, '', 'new\nnew\n'],
    ]);
  });
});
