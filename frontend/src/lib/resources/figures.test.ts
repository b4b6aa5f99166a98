import { expect, it } from 'vitest';
import type { Activity } from '../protocol';
import { bytesOf, durationOf, lifeOf, percentOf } from './figures';

it('shows figures with as many digits as people read', () => {
  expect([0, 999, 1000, 1024 ** 2 * 1.5, 1024 ** 3 * 40].map(bytesOf)).toEqual(['0 B', '999 B', '1.0 KiB', '1.5 MiB', '40 GiB']);
  expect([0, 0.004, 0.5, 1.7].map(percentOf)).toEqual(['0 %', '0.4 %', '50 %', '170 %']);
  expect([-3, 59, 61, 3 * 3600 + 300, 86400 * 2 + 3700].map(durationOf)).toEqual(['0 s', '59 s', '1 min', '3 h 5 min', '2 d 1 h']);
});

it('says what keeps a workspace alive and when it stops', () => {
  const now = Date.parse('2026-01-01T12:00:00Z');
  const at = (minutes: number): string => new Date(now + minutes * 60_000).toISOString();
  const activity: Activity = { idle_minutes: 30, last: {}, holds: [], stops_at: null, warning: false };
  expect(lifeOf({ ...activity, idle_minutes: 0 }, now)).toMatch(/until somebody stops it/);
  const holds = [
    { kind: 'task', what: 'build' },
    { kind: 'terminal', what: 'make' },
  ];
  expect(lifeOf({ ...activity, holds }, now)).toBe('It runs as long as the task build and 1 more is at work.');
  const last = { edit: at(-20), preview: at(-5) };
  expect(lifeOf({ ...activity, last, stops_at: at(25) }, now)).toBe('It stops in 25 min if nobody uses it. The last use was a preview, 5 min ago.');
});
