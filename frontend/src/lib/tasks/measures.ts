/** What a run took, in words, and beside the run before it. */
import type { TaskExit, TaskMeasures, TaskRun } from '../protocol';

/** `0.04 s`, `1.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function seconds(value: number): string {
  if (value < 0.995) return `${value.toFixed(2)} s`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 59.5) return `${Math.round(value)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `850 KB`, `12.4 MB`, `3.2 GB`. */
export function bytes(value: number): string {
  if (value < 1e6) return `${Math.round(value / 1e3)} KB`;
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}

export interface Measure {
  name: string;
  value: string;
  /** Whether it is more or less than before, or about the same; null when there is no before. */
  trend: 'more' | 'less' | 'same' | null;
  /** By how much, e.g. `0.4 s`; empty when about the same. */
  difference: string;
  title: string;
}

/** Less of a difference than this part says nothing about a program. */
const NOTABLE = 0.05;

const MEASURES: { key: keyof TaskMeasures; name: string; title: string; text: (value: number) => string; least: number }[] = [
  { key: 'seconds', name: 'Time', title: 'From its start to its end', text: seconds, least: 0.1 },
  { key: 'cpu_seconds', name: 'CPU', title: 'Computing time of the command and of the programs it waited for', text: seconds, least: 0.1 },
  { key: 'peak_memory', name: 'Memory', title: 'The most memory that all its programs had at one time', text: bytes, least: 1e6 },
];

/** What a run took, each beside the run before. */
export function measures(run: TaskRun): Measure[] {
  const found: Measure[] = [];
  for (const { key, name, title, text, least } of MEASURES) {
    const value = run[key];
    if (value === undefined || value === null) continue;
    const before = run.previous?.[key];
    const known = before !== undefined && before !== null;
    const difference = known ? value - before : 0;
    const notable = known && Math.abs(difference) > Math.max(least, NOTABLE * before);
    found.push({
      name,
      value: text(value),
      trend: !known ? null : !notable ? 'same' : difference > 0 ? 'more' : 'less',
      difference: notable ? text(Math.abs(difference)) : '',
      title,
    });
  }
  return found;
}

function exitText(exit: TaskExit | undefined | null): string {
  if (exit?.signal) return ` by signal ${exit.signal}`;
  return exit?.code ? ` with code ${exit.code}` : '';
}

/** How a run stands, in words. */
export function standing(run: TaskRun): string {
  switch (run.state) {
    case 'waiting':
      return 'Waiting';
    case 'running':
      if (!run.background) return 'Running';
      return run.ready ? (run.port ? `Serving on port ${run.port}` : 'Up') : 'Starting';
    case 'passed':
      return 'Passed';
    case 'failed':
      return run.exit ? `Failed${exitText(run.exit)}` : 'Failed';
    case 'stopped':
      return 'Stopped';
    case 'skipped':
      return 'Skipped';
    case 'cancelled':
      return 'Not started';
    case 'interrupted':
      return 'Interrupted';
  }
}

export function isActive(run: TaskRun | null | undefined): boolean {
  return run?.state === 'waiting' || run?.state === 'running';
}
