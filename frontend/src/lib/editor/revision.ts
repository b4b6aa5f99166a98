/**
 * The edits that lead from one text to another, for putting a kept text into a live document.
 *
 * They are few and small, so that cursors, undo and what others type meanwhile stay where they are;
 * and none begins or ends between the two halves of a surrogate pair, which the shared document
 * could not hold.
 */
import { diff } from '@codemirror/merge';

export interface Edit {
  from: number;
  to: number;
  insert: string;
}

/** Beyond these the difference is found roughly: in larger pieces, but always right. */
const BOUNDS = { scanLimit: 2000, timeout: 200 };

/** Edits in ascending order; positions are those of `before`. */
export function editsBetween(before: string, after: string): Edit[] {
  const edits: Edit[] = [];
  for (const change of diff(before, after, BOUNDS)) {
    let { fromA, toA, fromB, toB } = change;
    // What lies around a change is the same on both sides, so it can be taken in on both.
    if (cutsPair(before, fromA) || cutsPair(after, fromB)) {
      fromA -= 1;
      fromB -= 1;
    }
    if (cutsPair(before, toA) || cutsPair(after, toB)) {
      toA += 1;
      toB += 1;
    }
    const last = edits.at(-1);
    if (last && fromA < last.to) {
      // Both took the same pair.
      const shared = last.to - fromA;
      last.insert = last.insert.slice(0, last.insert.length - shared) + after.slice(fromB, toB);
      last.to = toA;
    } else edits.push({ from: fromA, to: toA, insert: after.slice(fromB, toB) });
  }
  return edits;
}

function cutsPair(text: string, position: number): boolean {
  return /^[\ud800-\udbff][\udc00-\udfff]$/.test(text.slice(position - 1, position + 1));
}
