import { expect, it } from 'vitest';
import type { GitBranch } from '../protocol';
import { choicesOf, isBranchName, localName, warningOf } from './branches';

const branch = (name: string, more: Partial<GitBranch> = {}): GitBranch => ({
  name,
  remote: name.startsWith('origin/'),
  current: false,
  commit: '',
  upstream: '',
  ahead: 0,
  behind: 0,
  time: 0,
  author: '',
  subject: '',
  ...more,
});
const ALL = [branch('main', { current: true }), branch('origin/main'), branch('origin/feature/x'), branch('fix')];
const named = (query: string): string[] => choicesOf(ALL, query).map((choice) => choice.branch?.name ?? `+${choice.create}`);

it('offers what one is not on and does not have, and to make what there is not', () => {
  expect(named('')).toEqual(['fix', 'origin/feature/x']);
  expect(named('fx')).toEqual(['fix', 'origin/feature/x', '+fx']);
  expect(named('fix')).toEqual(['fix']);
  expect(named('my idea')).toEqual(['+my-idea']);
  expect(named('main')).toEqual([]);
  expect(localName(branch('origin/feature/x'))).toBe('feature/x');
});

it('knows what Git refuses as a name', () => {
  for (const wrong of ['', '-x', 'a..b', 'a//b', 'x.lock', 'a b', 'x~1', 'x/', 'x.']) expect(isBranchName(wrong)).toBe(false);
  for (const right of ['x', 'feature/ä', 'v1.2']) expect(isBranchName(right)).toBe(true);
});

it('says who goes along and what they have open', () => {
  expect(warningOf([{ name: 'Bo', path: 'a.py' }])).toMatch(/^Bo is here.*Open now: a.py\.$/);
  expect(warningOf(['A', 'B', 'C', 'D'].map((name) => ({ name, path: null })))).toMatch(/^A, B, C and 1 more are here/);
});
