/** Figures as people read them. */
import type { Activity } from '../protocol';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.4 GiB`: three digits at most. */
export function bytesOf(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function percentOf(share: number): string {
  return `${share < 0.1 && share > 0 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
}

/** `3 h 5 min`, `40 s`. */
export function durationOf(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const KINDS: Record<string, string> = {
  edit: 'typing in files',
  files: 'saved or moved files',
  typing: 'typing in a terminal',
  command: 'a started program',
  preview: 'a preview',
  forward: 'a forwarded port',
  kept: '“keep running”',
};

/** Why it runs, and until when, in a sentence. */
export function lifeOf(activity: Activity, now = Date.now()): string {
  if (activity.idle_minutes === 0) return 'It runs until somebody stops it.';
  const [hold] = activity.holds;
  if (hold) {
    const more = activity.holds.length > 1 ? ` and ${activity.holds.length - 1} more` : '';
    return `It runs as long as ${hold.kind === 'task' ? `the task ${hold.what}` : hold.what}${more} is at work.`;
  }
  if (!activity.stops_at) return 'Nothing stops it now.';
  const left = (Date.parse(activity.stops_at) - now) / 1000;
  const latest = Object.entries(activity.last).sort(([, a], [, b]) => Date.parse(b) - Date.parse(a))[0];
  const since = latest ? ` The last use was ${KINDS[latest[0]] ?? latest[0]}, ${durationOf((now - Date.parse(latest[1])) / 1000)} ago.` : '';
  return `It stops in ${durationOf(left)} if nobody uses it.${since}`;
}
