/**
 * Who wrote each line, in a gutter beside it.
 *
 * What the server told belongs to the text as it was then: marks move with their lines, and a line
 * that changes loses its mark, because nobody has told yet whose it is now. The gutter is hidden
 * from screen readers, as line numbers are; `blameAt` says the same of the line with the cursor.
 */
import { type EditorState, type Extension, RangeSet, RangeSetBuilder, StateEffect, StateField, type Text } from '@codemirror/state';
import { EditorView, gutter, GutterMarker } from '@codemirror/view';
import type { Author, BlameRun } from '../protocol';
import { safeColor } from '../shell/colors';
import { ageOf } from '../shell/times';

export interface BlameAnswer {
  lines: readonly BlameRun[];
}

interface Shown {
  marks: RangeSet<Mark>;
  /** Lines have changed since they were told. */
  stale: boolean;
}

class Mark extends GutterMarker {
  constructor(
    readonly author: Author,
    readonly time: string,
    readonly first: boolean,
  ) {
    super();
  }

  override eq(other: Mark): boolean {
    return other.author.id === this.author.id && other.time === this.time && other.first === this.first;
  }

  override toDOM(): Node {
    const mark = document.createElement('div');
    mark.className = 'cm-blame-mark';
    mark.style.setProperty('--author', safeColor(this.author.color));
    mark.title = `${this.author.name}, ${new Date(this.time).toLocaleString()}`;
    if (this.first) {
      const name = mark.appendChild(document.createElement('span'));
      name.className = 'cm-blame-name';
      name.textContent = this.author.name;
      const age = mark.appendChild(document.createElement('span'));
      age.className = 'cm-blame-age';
      age.textContent = ageOf(this.time);
    }
    return mark;
  }
}

export const setBlame = StateEffect.define<BlameAnswer>();

function marksOf(doc: Text, runs: readonly BlameRun[]): RangeSet<Mark> {
  const marks = new RangeSetBuilder<Mark>();
  let next = 1;
  for (const { from, to, author, time } of runs) {
    // The answer comes from elsewhere: it may not fit.
    for (let line = Math.max(next, from); line <= Math.min(to, doc.lines); line += 1) {
      const start = doc.line(line).from;
      marks.add(start, start, new Mark(author, time, line === from));
      next = line + 1;
    }
  }
  return marks.finish();
}

export const shownBlame = StateField.define<Shown>({
  create: () => ({ marks: RangeSet.empty, stale: false }),
  update(shown, tr) {
    for (const effect of tr.effects) {
      if (effect.is(setBlame)) return { marks: marksOf(tr.newDoc, effect.value.lines), stale: false };
    }
    if (!tr.docChanged) return shown;
    let marks = shown.marks.map(tr.changes);
    tr.changes.iterChangedRanges((_fromA, _toA, fromB, toB) => {
      const from = tr.newDoc.lineAt(fromB).from;
      const to = tr.newDoc.lineAt(toB).to;
      marks = marks.update({ filter: () => false, filterFrom: from, filterTo: to });
    });
    return { marks, stale: true };
  },
});

/** The author and time of the line with the cursor (null: not known), and whether lines changed. */
export function blameAt(state: EditorState): { author: Author; time: string; stale: boolean } | { author: null; stale: boolean } {
  const shown = state.field(shownBlame, false);
  if (!shown) return { author: null, stale: false };
  const line = state.doc.lineAt(state.selection.main.head);
  const found: Mark[] = [];
  shown.marks.between(line.from, line.from, (_from, _to, mark) => void found.push(mark));
  const [mark] = found;
  return mark ? { author: mark.author, time: mark.time, stale: shown.stale } : { author: null, stale: shown.stale };
}

const look = EditorView.baseTheme({
  '.cm-blame-gutter': {
    width: '150px',
    marginRight: '4px',
    fontFamily: 'var(--font)',
    fontSize: '11.5px',
    color: 'var(--text-muted)',
    borderRight: '1px solid var(--line)',
  },
  '.cm-blame-gutter .cm-gutterElement': { padding: '0' },
  '.cm-blame-mark': {
    display: 'flex',
    gap: '8px',
    height: '100%',
    padding: '0 8px',
    borderLeft: '3px solid var(--author)',
    lineHeight: 'inherit',
  },
  '.cm-blame-name': { flex: '1', minWidth: '0', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' },
  '.cm-blame-age': { color: 'var(--text-faint)', whiteSpace: 'nowrap' },
  '@media (max-width: 719px)': {
    '.cm-blame-gutter': { width: '84px' },
    '.cm-blame-age': { display: 'none' },
  },
});

export const blame: Extension = [
  shownBlame,
  gutter({ class: 'cm-blame-gutter', renderEmptyElements: true, markers: (view) => view.state.field(shownBlame).marks }),
  look,
];
