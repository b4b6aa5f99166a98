import { describe, expect, test } from 'vitest';
import type { TaskRun } from '../protocol';
import { bytes, measures, seconds, standing } from './measures';

const RUN: TaskRun = {
  id: 'r1',
  task: 'test',
  batch: 'r1',
  state: 'passed',
  person: 'Ada',
  background: false,
  created_at: '2025-01-01T00:00:00Z',
  lost: 0,
};

test.each([
  [0.04, '0.04 s'],
  [0.996, '1.0 s'],
  [9.94, '9.9 s'],
  [9.96, '10 s'],
  [59.4, '59 s'],
  [59.6, '1 min 0 s'],
  [185, '3 min 5 s'],
  [7800, '2 h 10 min'],
])('%f seconds', (value, text) => expect(seconds(value)).toBe(text));

test.each([
  [900, '1 KB'],
  [12_400_000, '12.4 MB'],
  [3_200_000_000, '3.2 GB'],
])('%i bytes', (value, text) => expect(bytes(value)).toBe(text));

describe('what a run took', () => {
  test('stands alone without a run before', () => {
    expect(measures({ ...RUN, seconds: 2, peak_memory: 5e6 })).toMatchObject([
      { name: 'Time', value: '2.0 s', trend: null, difference: '' },
      { name: 'Memory', value: '5.0 MB', trend: null },
    ]);
  });

  test('is compared with the run before', () => {
    const previous = { id: 'r0', state: 'passed' as const, seconds: 1, cpu_seconds: 3, peak_memory: 5e6 };
    expect(measures({ ...RUN, seconds: 2, cpu_seconds: 2, peak_memory: 5.1e6, previous })).toMatchObject([
      { trend: 'more', difference: '1.0 s' },
      { trend: 'less', difference: '1.0 s' },
      { trend: 'same', difference: '' },
    ]);
  });

  test('counts as the same below what is notable', () => {
    const previous = { id: 'r0', state: 'passed' as const, seconds: 100 };
    expect(measures({ ...RUN, seconds: 104, previous })[0]?.trend).toBe('same');
    expect(measures({ ...RUN, seconds: 106, previous })[0]?.trend).toBe('more');
  });
});

test.each<[Partial<TaskRun>, string]>([
  [{ state: 'failed', exit: { code: 3 } }, 'Failed with code 3'],
  [{ state: 'failed', exit: { signal: 9 } }, 'Failed by signal 9'],
  [{ state: 'failed' }, 'Failed'],
  [{ state: 'running' }, 'Running'],
  [{ state: 'running', background: true }, 'Starting'],
  [{ state: 'running', background: true, ready: true }, 'Up'],
  [{ state: 'running', background: true, ready: true, port: 80 }, 'Serving on port 80'],
  [{ state: 'cancelled' }, 'Not started'],
])('%o stands as %s', (run, text) => expect(standing({ ...RUN, ...run })).toBe(text));
