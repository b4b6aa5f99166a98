import { expect, it } from 'vitest';
import { graphOf } from './graph';

const commit = (id: string, ...parents: string[]) => ({ id, parents });

it('keeps one line of descent on one lane', () => {
  const rows = graphOf([commit('c', 'b'), commit('b', 'a'), commit('a')]);
  expect(rows.map(({ lane, width }) => [lane, width])).toEqual([
    [0, 1],
    [0, 1],
    [0, 1],
  ]);
  expect(rows[2]?.out).toEqual([]);
});

it('gives a merged branch a lane until the commit that it began at', () => {
  const [merge, side, main, base] = graphOf([commit('m', 'main', 'side'), commit('side', 'base'), commit('main', 'base'), commit('base')]);
  expect(merge?.out).toEqual([
    { from: 0, to: 0, lane: 0 },
    { from: 0, to: 1, lane: 1 },
  ]);
  expect([side?.lane, side?.through]).toEqual([1, [0]]);
  expect([main?.lane, main?.through]).toEqual([0, [1]]);
  expect(base?.into).toEqual([
    { from: 0, to: 0, lane: 0 },
    { from: 1, to: 0, lane: 1 },
  ]);
});

it('uses a lane that became free again, and knows branches that were never merged', () => {
  const rows = graphOf([commit('x', 'a'), commit('y', 'a'), commit('a'), commit('z')]);
  expect(rows.map(({ lane }) => lane)).toEqual([0, 1, 0, 0]);
  expect(rows[3]?.into).toEqual([]);
});
