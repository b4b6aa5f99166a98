import { expect, it } from 'vitest';
import type { ChangedFile } from '../protocol';
import { ofOthers, saidOf, visit } from './catch-up.svelte';

const author = (id: string) => ({ author: { id, name: id.toUpperCase(), color: '' }, last: '2026-01-01T00:00:00Z' });
const file = (path: string, ...ids: string[]): ChangedFile => ({ path, before: null, authors: ids.map(author) });

it('knows who has left from a page that is loaded anew', () => {
  const minute = 60_000;
  const first = visit({ left: 0, seen: 0 }, 1e12);
  expect(first).toEqual({ left: 0, seen: 1e12 });
  expect(visit(first, 1e12 + minute)).toEqual({ left: 0, seen: 1e12 + minute });
  expect(visit(first, 1e12 + 60 * minute)).toEqual({ left: 1e12, seen: 1e12 + 60 * minute });
});

it('tells what others did, and not what oneself did', () => {
  const files = ofOthers([file('a', 'me'), file('b', 'me', 'bo'), file('c', 'cy', 'disk')], 'me');
  expect(files.map(({ path, authors }) => [path, authors.length])).toEqual([
    ['b', 1],
    ['c', 2],
  ]);
  expect(saidOf(files)).toBe('BO and 2 more changed 2 files.');
  expect(saidOf([file('b', 'bo', 'disk')])).toBe('BO and Programs changed b.');
});
