/** Ranking paths by a few typed letters. */

export interface Match {
  path: string;
  score: number;
  /** Positions in `path` that were typed. */
  hits: number[];
}

/** The bounds of words: `/`, `-`, `_`, `.` and the space, as codes of characters. */
const BOUNDARIES = new Set([47, 45, 95, 46, 32]);

/**
 * How well the letters of `query` occur in `path`, in their order; null when they do not.
 *
 * Letters at the start of a word, in a row and in the file's own name count most; short paths win
 * over long ones.
 */
export function match(path: string, query: string): Match | null {
  return rank(path, path.toLowerCase(), lettersOf(query));
}

function lettersOf(query: string): string {
  return query.toLowerCase().replace(/\s+/g, '');
}

function rank(path: string, text: string, wanted: string): Match | null {
  const name = text.lastIndexOf('/') + 1;
  const inName = positions(text, wanted, name);
  const hits = inName ?? positions(text, wanted, 0);
  if (!hits) return null;
  let score = inName ? 60 : 0;
  for (let i = 0; i < hits.length; i += 1) {
    const at = hits[i] as number;
    if (at === 0 || BOUNDARIES.has(text.charCodeAt(at - 1))) score += 10;
    if (i > 0 && at === (hits[i - 1] as number) + 1) score += 8;
  }
  if (inName && hits[0] === name) score += 15;
  return { path, hits, score: score - path.length / 8 };
}

/** Looks for the letters one after the other, as a whole first, then one by one. */
function positions(text: string, wanted: string, from: number): number[] | null {
  const whole = text.indexOf(wanted, from);
  if (whole !== -1) return Array.from(wanted, (_, i) => whole + i);
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

function before(a: Match, b: Match): boolean {
  return a.score > b.score || (a.score === b.score && a.path < b.path);
}

/** The best few, without sorting all: most of what matches is never shown. */
class Best {
  readonly list: Match[] = [];
  constructor(private readonly limit: number) {}

  add(found: Match): void {
    const { list, limit } = this;
    if (list.length >= limit && !before(found, list[list.length - 1] as Match)) return;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(list[middle] as Match, found)) low = middle + 1;
      else high = middle;
    }
    list.splice(low, 0, found);
    if (list.length > limit) list.pop();
  }
}

export function search(paths: Iterable<string>, query: string, limit: number): Match[] {
  const best = new Best(limit);
  const wanted = lettersOf(query);
  for (const path of paths) {
    const found = rank(path, path.toLowerCase(), wanted);
    if (found) best.add(found);
  }
  return best.list;
}

/** Many paths that are searched again with each letter: only what matched the letters before. */
export class Searcher {
  readonly #paths: readonly string[];
  readonly #lower: readonly string[];
  /** What matched a query that the next one may begin with. */
  #within: { wanted: string; indices: number[] } | null = null;

  constructor(paths: readonly string[]) {
    this.#paths = paths;
    this.#lower = paths.map((path) => path.toLowerCase());
  }

  search(query: string, limit: number): Match[] {
    const wanted = lettersOf(query);
    const within = this.#within && wanted.startsWith(this.#within.wanted) ? this.#within.indices : null;
    const best = new Best(limit);
    const indices: number[] = [];
    const count = within?.length ?? this.#paths.length;
    for (let n = 0; n < count; n += 1) {
      const i = within ? (within[n] as number) : n;
      const found = rank(this.#paths[i] as string, this.#lower[i] as string, wanted);
      if (!found) continue;
      indices.push(i);
      best.add(found);
    }
    this.#within = { wanted, indices };
    return best.list;
  }
}
