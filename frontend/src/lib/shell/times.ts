/** Times as people say them, in the language of their browser. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago, in as few letters as fit beside a line: `now`, `5 min`, `3 h`, `12 d`, `2 y`. */
export function ageOf(time: string, now = Date.now()): string {
  const age = now - Date.parse(time);
  if (!Number.isFinite(age)) return '';
  if (age < MINUTE) return 'now';
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min`;
  if (age < DAY) return `${Math.floor(age / HOUR)} h`;
  if (age < 365 * DAY) return `${Math.floor(age / DAY)} d`;
  return `${Math.floor(age / (365 * DAY))} y`;
}

/** In a sentence: `just now`, `5 min ago`. */
export function agoOf(time: string, now = Date.now()): string {
  const age = ageOf(time, now);
  return age === 'now' ? 'just now' : `${age} ago`;
}

/** `14:03`, or as the browser's language has it. */
export function clockOf(time: string): string {
  return new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

/** `Today`, `Yesterday`, or the date. */
export function dayOf(time: string, now = new Date()): string {
  const day = new Date(time);
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  if (day >= midnight) return 'Today';
  const before = new Date(midnight);
  before.setDate(before.getDate() - 1);
  if (day >= before) return 'Yesterday';
  const year = day.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' as const };
  return day.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', ...year });
}
