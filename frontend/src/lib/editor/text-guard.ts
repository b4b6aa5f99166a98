/**
 * Keeps text that the shared document cannot hold out of the editor.
 *
 * The document knows only "\n" between lines, and half of a surrogate pair would become different
 * text on the server than here. So whatever a person types, pastes or drops is cleaned first, and
 * a change that would cut a pair in two takes the whole pair.
 */
import { EditorState, type Text, type Transaction, type TransactionSpec } from '@codemirror/state';
import { ySyncAnnotation } from 'y-codemirror.next';

const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** The text with "\n" between lines and U+FFFD in place of every lone surrogate. */
export function clean(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(LONE, '\ufffd');
}

function isHigh(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}

function isLow(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}

/** True when `position` lies between the two halves of a pair. */
export function cutsPair(doc: Text, position: number): boolean {
  if (position <= 0 || position >= doc.length) return false;
  const around = doc.sliceString(position - 1, position + 1);
  return isHigh(around.charCodeAt(0)) && isLow(around.charCodeAt(1));
}

interface Change {
  from: number;
  to: number;
  insert: string;
}

/** What has to be done instead of `transaction`; null when it is harmless. */
export function guarded(transaction: Transaction): TransactionSpec | null {
  if (!transaction.docChanged || transaction.annotation(ySyncAnnotation)) return null;
  const doc = transaction.startState.doc;
  const changes: Change[] = [];
  let dirty = false;
  transaction.changes.iterChanges((fromA, toA, _fromB, _toB, inserted) => {
    const typed = inserted.sliceString(0, inserted.length, '\n');
    const insert = clean(typed);
    const from = cutsPair(doc, fromA) ? fromA - 1 : fromA;
    const to = cutsPair(doc, toA) ? toA + 1 : toA;
    if (insert !== typed || from !== fromA || to !== toA) dirty = true;
    changes.push({ from, to, insert });
  });
  if (!dirty) return null;
  const userEvent = transaction.isUserEvent('input') ? 'input.paste' : undefined;
  const last = changes[changes.length - 1];
  const before = changes.slice(0, -1).reduce((sum, c) => sum + c.insert.length - (c.to - c.from), 0);
  return {
    changes,
    scrollIntoView: transaction.scrollIntoView,
    ...(last ? { selection: { anchor: last.from + before + last.insert.length } } : {}),
    ...(userEvent ? { userEvent } : {}),
  };
}

export const textGuard = EditorState.transactionFilter.of((transaction) => guarded(transaction) ?? transaction);
