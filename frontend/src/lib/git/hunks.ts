/** A diff of one file as Git shows it, in hunks that can be staged or reverted by themselves. */

export interface DiffLine {
  kind: 'add' | 'remove' | 'same' | 'note';
  text: string;
  /** Its number in the former text and in the present one; null where it is not in it. */
  before: number | null;
  after: number | null;
}

export interface Hunk {
  /** As Git has it, from its `@@` on: this names it to the server. */
  source: string;
  /** What stands behind its `@@`: often the function that it is in. */
  title: string;
  /** Its first line in the present text. */
  line: number;
  lines: DiffLine[];
}

export interface FileDiff {
  binary: boolean;
  hunks: Hunk[];
}

const HEADER = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)$/;

export function parseDiff(diff: string): FileDiff {
  const lines = diff.replace(/\n$/, '').split('\n');
  const hunks: Hunk[] = [];
  let source: string[] = [];
  let before = 0;
  let after = 0;
  const close = (): void => {
    const last = hunks.at(-1);
    if (last) last.source = source.join('\n');
  };
  for (const text of lines) {
    const header = HEADER.exec(text);
    if (header) {
      close();
      source = [];
      [before, after] = [Number(header[1]), Number(header[2])];
      hunks.push({ source: '', title: header[3] ?? '', line: after, lines: [] });
    }
    const hunk = hunks.at(-1);
    if (!hunk) continue;
    source.push(text);
    if (header) continue;
    const sign = text[0];
    const rest = text.slice(1);
    if (sign === '+') hunk.lines.push({ kind: 'add', text: rest, before: null, after: after++ });
    else if (sign === '-') hunk.lines.push({ kind: 'remove', text: rest, before: before++, after: null });
    else if (sign === '\\') hunk.lines.push({ kind: 'note', text: rest.trim(), before: null, after: null });
    else hunk.lines.push({ kind: 'same', text: rest, before: before++, after: after++ });
  }
  close();
  return { binary: lines.some((line) => line.startsWith('Binary files')), hunks };
}
