/** How tabs lie in panes, as it is kept for the next visit. */

export interface KeptGroup {
  paths: string[];
  active: string | null;
  /** Its share of the width, against those of the others. */
  size: number;
}

export interface Kept {
  groups: KeptGroup[];
  current: number;
}

export const GROUPS = 4;

/** What was kept, as far as it can be used: no path twice, no group without a file. */
export function validGroups(kept: unknown): Kept {
  const { groups, current } = (kept ?? {}) as { groups?: unknown; current?: unknown };
  const seen = new Set<string>();
  const found: KeptGroup[] = [];
  for (const each of Array.isArray(groups) ? groups.slice(0, GROUPS) : []) {
    const { paths, active, size } = (each ?? {}) as Partial<Record<keyof KeptGroup, unknown>>;
    const own = (Array.isArray(paths) ? paths : []).filter(
      (path): path is string => typeof path === 'string' && path !== '' && !seen.has(path) && Boolean(seen.add(path)),
    );
    if (own.length === 0) continue;
    found.push({
      paths: own,
      active: typeof active === 'string' && own.includes(active) ? active : (own[0] ?? null),
      size: typeof size === 'number' && size >= 0.1 && size <= 10 ? size : 1,
    });
  }
  const at = typeof current === 'number' && current >= 0 && current < found.length ? Math.floor(current) : 0;
  return { groups: found, current: at };
}

/** The sizes after the border after the one at `index` moved by `by` of the whole. */
export function resized(sizes: readonly number[], index: number, by: number): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const [left, right] = [sizes[index], sizes[index + 1]];
  if (left === undefined || right === undefined) return [...sizes];
  const least = total * 0.12;
  const most = left + right - least;
  const next = Math.max(least, Math.min(most, left + by * total));
  return sizes.map((size, i) => (i === index ? next : i === index + 1 ? left + right - next : size));
}
