/** Where the commits of a log lie in its graph: a lane for each line of descent. */

export interface GraphCommit {
  id: string;
  parents: readonly string[];
}

/** A line of a row, from a lane at its top or from the commit, to the commit or a lane below. */
export interface Edge {
  from: number;
  to: number;
  /** Of the lane whose colour it has. */
  lane: number;
}

export interface GraphRow {
  /** The lane that the commit lies on. */
  lane: number;
  /** Lanes that only pass. */
  through: number[];
  /** Lanes that end in this commit, and those that begin at it. */
  into: Edge[];
  out: Edge[];
  /** How many lanes the row is wide. */
  width: number;
}

/**
 * Rows for commits in topological order, children first. A commit lies on the lane of its first
 * child; its first parent goes on there, the others get lanes of their own.
 */
export function graphOf(commits: readonly GraphCommit[]): GraphRow[] {
  /** The commit that each lane leads to; null: free. */
  const lanes: (string | null)[] = [];
  const free = (): number => {
    const at = lanes.indexOf(null);
    return at === -1 ? lanes.length : at;
  };
  return commits.map(({ id, parents }) => {
    const waiting = lanes.flatMap((next, lane) => (next === id ? [lane] : []));
    const lane = waiting[0] ?? free();
    const into = waiting.map((from) => ({ from, to: lane, lane: from }));
    for (const each of waiting) lanes[each] = null;
    const through = lanes.flatMap((next, at) => (next === null || at === lane ? [] : [at]));
    const before = lanes.length;
    const out: Edge[] = [];
    parents.forEach((parent, i) => {
      const known = lanes.indexOf(parent);
      const to = i === 0 ? lane : known !== -1 ? known : free();
      // Two lanes may lead to one commit: they meet there.
      lanes[to] = parent;
      out.push({ from: lane, to, lane: i === 0 ? lane : to });
    });
    if (parents.length === 0 && lane >= lanes.length) lanes[lane] = null;
    const width = Math.max(before, lanes.length, lane + 1);
    while (lanes.at(-1) === null) lanes.pop();
    return { lane, through, into, out, width };
  });
}
