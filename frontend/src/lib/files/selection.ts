/** Which entries of the tree are meant together. */
import { isWithin } from './paths';

/** The paths from one to another, as they are listed. */
export function between(paths: readonly string[], from: string | null, to: string): string[] {
  const end = paths.indexOf(to);
  const start = from === null ? end : paths.indexOf(from);
  if (start === -1 || end === -1) return [to];
  return paths.slice(Math.min(start, end), Math.max(start, end) + 1);
}

/** Without those that lie in another one of them: what happens to a folder happens to all in it. */
export function topmost(paths: readonly string[]): string[] {
  return paths.filter((path) => !paths.some((other) => other !== path && isWithin(path, other)));
}
