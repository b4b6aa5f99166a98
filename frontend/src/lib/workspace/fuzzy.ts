/** Ranking paths by a few typed letters. */

export interface Match {
  path: string;
  score: number;
  /** Positions in `path` that were typed. */
  hits: number[];
}

const BOUNDARY = /[/\-_. ]/;

/**
 * How well the letters of `query` occur in `path`, in their order; null when they do not.
 *
 * Letters at the start of a word, in a row and in the file's own name count most; short paths win
 * over long ones.
 */
export function match(path: string, query: string): Match | null {
  const text = path.toLowerCase();
  const wanted = query.toLowerCase().replace(/\s+/g, '');
  const name = text.lastIndexOf('/') + 1;
  const inName = positions(text, wanted, name);
  const hits = inName ?? positions(text, wanted, 0);
  if (!hits) return null;
  let score = inName ? 60 : 0;
  hits.forEach((at, i) => {
    if (at === 0 || BOUNDARY.test(text[at - 1] ?? '')) score += 10;
    if (i > 0 && at === (hits[i - 1] ?? -2) + 1) score += 8;
  });
  if (inName && hits[0] === name) score += 15;
  return { path, hits, score: score - path.length / 8 };
}

/** Looks for the letters one after the other, as a whole first, then one by one. */
function positions(text: string, wanted: string, from: number): number[] | null {
  const whole = text.indexOf(wanted, from);
  if (whole !== -1) return [...wanted].map((_, i) => whole + i);
  const hits: number[] = [];
  let at = from;
  for (const letter of wanted) {
    at = text.indexOf(letter, at);
    if (at === -1) return null;
    hits.push(at);
    at += 1;
  }
  return hits;
}

export function search(paths: Iterable<string>, query: string, limit: number): Match[] {
  const matches: Match[] = [];
  for (const path of paths) {
    const found = match(path, query);
    if (found) matches.push(found);
  }
  return matches.sort((a, b) => b.score - a.score || (a.path < b.path ? -1 : 1)).slice(0, limit);
}
