/**
 * Positions of LSP in a CodeMirror document; both count UTF-16 units.
 *
 * What a server says may be about a text that has changed meanwhile: a position that is not there
 * any more is the nearest one.
 */
import type { Text } from '@codemirror/state';
import type { Position, Range } from 'vscode-languageserver-protocol';

export function offsetOf(doc: Text, { line, character }: Position): number {
  if (line < 0) return 0;
  if (line >= doc.lines) return doc.length;
  const at = doc.line(line + 1);
  return Math.min(at.from + Math.max(0, character), at.to);
}

export function positionOf(doc: Text, offset: number): Position {
  const line = doc.lineAt(offset);
  return { line: line.number - 1, character: offset - line.from };
}

export function rangeOf(doc: Text, from: number, to: number): Range {
  return { start: positionOf(doc, from), end: positionOf(doc, to) };
}
