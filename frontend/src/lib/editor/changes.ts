/**
 * What of a text differs from how it was committed: marks beside the lines, and, when somebody
 * compares, the former lines among the present ones. Loaded once there is something to compare with.
 */
import { Chunk, unifiedMergeView } from '@codemirror/merge';
import { type ChangeSet, type Extension, Facet, RangeSet, RangeSetBuilder, StateEffect, StateField, Text } from '@codemirror/state';
import { EditorView, gutter, GutterMarker, ViewPlugin, type ViewUpdate } from '@codemirror/view';

/** A stretch of text with too many differences is marked as one. */
const DIFF = { scanLimit: 300, timeout: 40 };
/** Between two comparisons while somebody types, in ms; meanwhile marks move with their lines. */
const PAUSE = 250;

type Kind = 'added' | 'changed' | 'removed';

class Mark extends GutterMarker {
  constructor(readonly kind: Kind) {
    super();
    this.elementClass = `cm-change-${kind}`;
  }
  override eq(other: Mark): boolean {
    return other.kind === this.kind;
  }
}
const MARKS = { added: new Mark('added'), changed: new Mark('changed'), removed: new Mark('removed') };

const original = Facet.define<Text, Text>({ combine: (values) => values[0] ?? Text.empty });

interface Changes {
  chunks: readonly Chunk[];
  marks: RangeSet<Mark>;
  /** What has changed since they were compared. */
  since: ChangeSet | null;
}

const compareNow = StateEffect.define<null>();

function marksOf(doc: Text, chunks: readonly Chunk[]): RangeSet<Mark> {
  const marks = new RangeSetBuilder<Mark>();
  let last = -1;
  for (const chunk of chunks) {
    const kind: Kind = chunk.fromA === chunk.toA ? 'added' : chunk.fromB === chunk.toB ? 'removed' : 'changed';
    const first = doc.lineAt(Math.min(chunk.fromB, doc.length)).number;
    const end = kind === 'removed' ? first : doc.lineAt(Math.min(chunk.endB, doc.length)).number;
    for (let line = first; line <= end; line += 1) {
      const { from } = doc.line(line);
      if (from > last) marks.add(from, from, MARKS[kind]);
      last = Math.max(last, from);
    }
  }
  return marks.finish();
}

const changes = StateField.define<Changes>({
  create(state) {
    const chunks = Chunk.build(state.facet(original), state.doc, DIFF);
    return { chunks, marks: marksOf(state.doc, chunks), since: null };
  },
  update(found, tr) {
    if (tr.startState.facet(original) !== tr.state.facet(original)) return this.create(tr.state);
    const since = !tr.docChanged ? found.since : found.since ? found.since.compose(tr.changes) : tr.changes;
    if (since && tr.effects.some((effect) => effect.is(compareNow))) {
      const chunks = Chunk.updateB(found.chunks, tr.state.facet(original), tr.newDoc, since, DIFF);
      return { chunks, marks: marksOf(tr.newDoc, chunks), since: null };
    }
    return tr.docChanged ? { chunks: found.chunks, marks: found.marks.map(tr.changes), since } : found;
  },
});

/** Compares at most every so often: the work grows with the stretch that differs. */
const comparing = ViewPlugin.fromClass(
  class {
    #timer: ReturnType<typeof setTimeout> | undefined;
    update({ view, docChanged }: ViewUpdate): void {
      if (!docChanged || this.#timer !== undefined) return;
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        view.dispatch({ effects: compareNow.of(null) });
      }, PAUSE);
    }
    destroy(): void {
      clearTimeout(this.#timer);
    }
  },
);

/** Goes to the next place that differs, or the one before; around the ends. */
export function goToChange(view: EditorView, by: 1 | -1): boolean {
  view.dispatch({ effects: compareNow.of(null) });
  const chunks = view.state.field(changes, false)?.chunks ?? [];
  const { head } = view.state.selection.main;
  const doc = view.state.doc;
  const starts = chunks.map((chunk) => Math.min(chunk.fromB, doc.length));
  const line = doc.lineAt(head).from;
  const next = by === 1 ? (starts.find((start) => start > line) ?? starts[0]) : (starts.findLast((start) => start < line) ?? starts.at(-1));
  if (next === undefined) return false;
  view.dispatch({ selection: { anchor: next }, effects: EditorView.scrollIntoView(next, { y: 'center' }), userEvent: 'select' });
  view.focus();
  return true;
}

const look = EditorView.baseTheme({
  '.cm-change-gutter': { width: '5px', cursor: 'pointer' },
  '.cm-change-gutter .cm-gutterElement': { padding: '0' },
  '.cm-change-added': { borderLeft: '3px solid var(--good)' },
  '.cm-change-changed': { borderLeft: '3px solid var(--accent)' },
  '.cm-change-removed': {
    backgroundImage: 'linear-gradient(var(--bad), var(--bad))',
    backgroundSize: '5px 3px',
    backgroundRepeat: 'no-repeat',
  },
  '.cm-changedLine, .cm-insertedLine': { backgroundColor: 'var(--good-soft) !important' },
  '.cm-changedText': { background: 'color-mix(in srgb, var(--good) 26%, transparent) !important' },
  '.cm-deletedChunk': { backgroundColor: 'var(--bad-soft) !important', position: 'relative' },
  '.cm-deletedChunk .cm-deletedText': { background: 'color-mix(in srgb, var(--bad) 26%, transparent) !important' },
  '.cm-deletedChunk .cm-chunkButtons': { position: 'absolute', insetInlineEnd: '10px', top: '2px', zIndex: '2' },
  '.cm-revert': {
    padding: '1px 8px',
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius-s)',
    background: 'var(--bg-raised)',
    color: 'var(--text)',
    font: '12px var(--font)',
    cursor: 'pointer',
  },
});

/** Marks beside lines that differ from `text`; a click on one calls `compare`. */
export function changeMarks(text: string, compare: () => void): Extension {
  return [
    original.of(Text.of(text.split('\n'))),
    changes,
    comparing,
    gutter({
      class: 'cm-change-gutter',
      markers: (view) => view.state.field(changes).marks,
      domEventHandlers: {
        mousedown(view, line) {
          let marked = false;
          view.state.field(changes).marks.between(line.from, line.from, () => void (marked = true));
          if (marked) compare();
          return marked;
        },
      },
    }),
    look,
  ];
}

/**
 * The former lines among the present ones, each with a button that brings them back, as one step of
 * undo (`asOneStep`); null: nothing may be edited.
 */
export function comparison(text: string, asOneStep: ((work: () => void) => void) | null): Extension {
  return unifiedMergeView({
    original: text,
    gutter: false,
    syntaxHighlightDeletions: true,
    diffConfig: { scanLimit: 500, timeout: 100 },
    mergeControls: asOneStep ? (type, action) => control(type, (event) => asOneStep(() => action(event))) : false,
  });
}

function control(type: 'accept' | 'reject', action: (event: MouseEvent) => void): HTMLElement {
  // What is typed needs no accepting: it is the text.
  if (type === 'accept') return document.createElement('span');
  const button = document.createElement('button');
  button.className = 'cm-revert';
  button.textContent = 'Take back';
  button.title = 'Make this what was committed';
  button.onmousedown = (event) => event.preventDefault(); // the editor keeps the keyboard
  button.onclick = action; // by Enter and Space, too
  return button;
}
