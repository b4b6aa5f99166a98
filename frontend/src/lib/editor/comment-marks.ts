/** Where comments are in the text: their words marked, and a sign beside the line. */
import { type Extension, type Range, RangeSet, RangeSetBuilder, StateEffect, StateField } from '@codemirror/state';
import { Decoration, type DecorationSet, EditorView, gutter, GutterMarker } from '@codemirror/view';

export interface CommentMark {
  id: string;
  from: number;
  to: number;
  /** For the sign's title: who said what. */
  said: string;
}

export const setComments = StateEffect.define<readonly CommentMark[]>();

class Sign extends GutterMarker {
  constructor(
    readonly id: string,
    readonly said: string,
  ) {
    super();
  }

  override eq(other: Sign): boolean {
    return other.id === this.id && other.said === this.said;
  }

  override toDOM(): HTMLElement {
    const sign = document.createElement('span');
    sign.className = 'cm-comment-sign';
    sign.title = this.said;
    sign.dataset['comment'] = this.id;
    return sign;
  }
}

/** The marks, kept on their words while people type; they are set anew now and then. */
const marks = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    let next = value.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setComments)) continue;
      const { length } = transaction.newDoc;
      const ranges: Range<Decoration>[] = effect.value
        .filter(({ from, to }) => from >= 0 && to <= length && from < to)
        .map(({ id, from, to, said }) => Decoration.mark({ class: 'cm-comment', attributes: { 'data-comment': id }, id, said }).range(from, to));
      next = Decoration.set(ranges, true);
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const signs = gutter({
  class: 'cm-comment-gutter',
  markers(view) {
    const set = view.state.field(marks);
    const builder = new RangeSetBuilder<GutterMarker>();
    let last = -1;
    const found: { line: number; sign: Sign }[] = [];
    set.between(0, view.state.doc.length, (from, _to, mark) => {
      const line = view.state.doc.lineAt(from).from;
      const { id, said } = mark.spec as { id: string; said: string };
      found.push({ line, sign: new Sign(id, said) });
    });
    for (const { line, sign } of found.sort((a, b) => a.line - b.line)) {
      if (line === last) continue;
      last = line;
      builder.add(line, line, sign);
    }
    return found.length > 0 ? builder.finish() : RangeSet.empty;
  },
  lineMarkerChange: (update) => update.startState.field(marks) !== update.state.field(marks),
});

const look = EditorView.baseTheme({
  '.cm-comment': {
    backgroundColor: 'color-mix(in srgb, var(--warn) 16%, transparent)',
    borderBottom: '2px solid color-mix(in srgb, var(--warn) 60%, transparent)',
  },
  '.cm-comment-gutter': { width: '10px' },
  '.cm-comment-sign': {
    display: 'block',
    width: '8px',
    height: '8px',
    margin: '0.45em 1px',
    borderRadius: '50% 50% 50% 0',
    background: 'var(--warn)',
    cursor: 'pointer',
  },
});


/** `chosen(id)`: somebody clicked on a comment's sign or words. */
export function commentMarks(chosen: (id: string) => void): Extension {
  const click = EditorView.domEventHandlers({
    click(event) {
      const id = (event.target as HTMLElement).closest<HTMLElement>('[data-comment]')?.dataset['comment'];
      if (id) chosen(id);
      return false;
    },
  });
  return [marks, signs, look, click];
}
