/**
 * The changes of a version as a person would tell them: not key by key, but passage by passage.
 *
 * Changes come one after another, each with its place in the text as it then was. Those of one
 * author that touch become one passage, and a passage moves along with what changes before it, so
 * that in the end each has its place in the version's text.
 */
import type { Author, VersionChange } from '../protocol';

/** `deleted` was replaced by `inserted`; `line`, counted from 1, is where that is in the text. */
export interface Passage {
  author: Author;
  time: string;
  line: number;
  deleted: string;
  inserted: string;
}

interface Open {
  author: Author;
  time: string;
  start: number;
  deleted: string[];
  inserted: string[];
  /** Somebody else has changed its middle: it is no longer in one piece. */
  broken: boolean;
}

/** `text` is what there is after all the changes. */
export function passagesOf(text: string, changes: readonly VersionChange[]): Passage[] {
  const found: Open[] = [];
  for (const change of changes) {
    const { author, time, start } = change;
    const deleted = [...change.deleted];
    const inserted = [...change.inserted];
    const end = start + deleted.length;
    const touched = found.findLast((passage) => passage.author.id === author.id && !passage.broken && touches(passage, start, end));
    for (const passage of found) if (passage !== touched) shift(passage, start, end, inserted.length);
    if (touched) extend(touched, start, deleted, inserted, time);
    else found.push({ author, time, start, deleted, inserted, broken: false });
  }
  const breaks: number[] = [];
  let at = 0;
  for (const letter of text) {
    if (letter === '\n') breaks.push(at);
    at += 1;
  }
  return found
    .map(({ author, time, start, deleted, inserted }) =>
      atItsLine({ author, time, line: 1 + below(breaks, start), deleted: deleted.join(''), inserted: inserted.join('') }),
    )
    .filter((passage) => passage.deleted !== passage.inserted);
}

/** A line begun at the end of the one before is told as a line of its own. */
function atItsLine(passage: Passage): Passage {
  const { line, deleted, inserted } = passage;
  const [only, other] = deleted === '' ? [inserted, deleted] : [deleted, inserted];
  if (other !== '' || !/^\n[^]*[^\n]$/.test(only)) return passage;
  const text = only.slice(1);
  return deleted === '' ? { ...passage, line: line + 1, inserted: text } : { ...passage, line: line + 1, deleted: text };
}

/** How many of the ascending numbers are less than `limit`. */
function below(ascending: readonly number[], limit: number): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function touches(passage: Open, start: number, end: number): boolean {
  return end >= passage.start && start <= passage.start + passage.inserted.length;
}

/** Takes a change by the same author into the passage that it touches. */
function extend(passage: Open, start: number, deleted: string[], inserted: string[], time: string): void {
  const from = start - passage.start;
  const to = from + deleted.length;
  const before = deleted.slice(0, Math.max(0, -from));
  const after = to > passage.inserted.length ? deleted.slice(deleted.length - (to - passage.inserted.length)) : [];
  passage.deleted = [...before, ...passage.deleted, ...after];
  passage.inserted = [...passage.inserted.slice(0, Math.max(0, from)), ...inserted, ...passage.inserted.slice(Math.max(0, to))];
  passage.start = Math.min(passage.start, start);
  passage.time = time;
}

/** Something changed elsewhere, or in the middle of the passage. */
function shift(passage: Open, start: number, end: number, inserted: number): void {
  const last = passage.start + passage.inserted.length;
  if (start < last && end > passage.start) passage.broken = true;
  if (end <= passage.start) passage.start += inserted - (end - start);
  else if (start < passage.start) passage.start = start + inserted;
}
