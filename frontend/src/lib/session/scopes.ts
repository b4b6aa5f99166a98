import type { TokenScope } from '../protocol';

/** What an API token may be allowed, in words. */
export const SCOPES: [TokenScope, string][] = [
  ['read', 'See workspaces, files and terminals'],
  ['write', 'Change files'],
  ['exec', 'Use terminals, run tasks, start and stop workspaces'],
  ['admin', 'All that you may do, deleting and sharing included'],
];

/** How long one may be valid, in days. */
export const TIMES: [string, number | null][] = [
  ['30 days', 30],
  ['90 days', 90],
  ['a year', 365],
  ['until revoked', null],
];
