/**
 * What the servers find wrong, in the text and in the gutter.
 *
 * Marks move with the text. On a line that somebody else is typing in they are held back for a
 * moment: half a word of a partner is nobody's mistake.
 */
import { type Diagnostic, lintGutter, linter, nextDiagnostic, previousDiagnostic, setDiagnostics } from '@codemirror/lint';
import { type Extension, Facet, StateEffect, StateField, type Text, type Transaction } from '@codemirror/state';
import { EditorView, keymap, ViewPlugin, type ViewUpdate } from '@codemirror/view';
import type { Diagnostic as Reported } from 'vscode-languageserver-protocol';
import { ySyncAnnotation } from 'y-codemirror.next';
import { offsetOf } from './positions';

export const QUIET = 2000; // ms after the last thing that somebody else typed in a line

const SEVERITIES = ['error', 'error', 'warning', 'info', 'hint'] as const;
const UNNECESSARY = 1;
const DEPRECATED = 2;

interface Busy {
  /** Where the line begins, and when somebody last typed there. */
  at: number;
  time: number;
}

interface Known {
  reported: readonly Diagnostic[];
  busy: readonly Busy[];
}

/** A diagnostic as CodeMirror has it, with what the server told. */
interface Told extends Diagnostic {
  told: Reported;
}

/** What a server told of a diagnostic that is shown. */
export function reportedOf(diagnostic: Diagnostic): Reported | null {
  return 'told' in diagnostic ? (diagnostic as Told).told : null;
}

const report = StateEffect.define<readonly Diagnostic[]>();
const expire = StateEffect.define<number>();

/** Diagnostics as the servers told them, at their places, whether or not they show. */
const known = StateField.define<Known>({
  create: () => ({ reported: [], busy: [] }),
  update({ reported, busy }, tr) {
    if (tr.docChanged) {
      reported = reported.map((each) => ({ ...each, from: tr.changes.mapPos(each.from, 1), to: tr.changes.mapPos(each.to, -1) }));
      busy = busyAfter(busy, tr);
    }
    for (const effect of tr.effects) {
      if (effect.is(report)) reported = effect.value;
      else if (effect.is(expire)) busy = busy.filter(({ time }) => time > effect.value - QUIET);
    }
    return { reported, busy };
  },
});

function busyAfter(busy: readonly Busy[], tr: Transaction): readonly Busy[] {
  const lines = new Map<number, number>();
  for (const { at, time } of busy) lines.set(tr.newDoc.lineAt(tr.changes.mapPos(at)).from, time);
  // The CRDT binding marks what came from others.
  if (tr.annotation(ySyncAnnotation)) {
    const now = Date.now();
    tr.changes.iterChangedRanges((_fromA, _toA, from, to) => {
      // Many lines at once are no typing.
      if (to - from < 500) lines.set(tr.newDoc.lineAt(from).from, now);
    });
  }
  return [...lines].map(([at, time]) => ({ at, time }));
}

function isQuiet(doc: Text, { from }: Diagnostic, busy: readonly Busy[]): boolean {
  const line = doc.lineAt(Math.min(from, doc.length));
  return busy.some(({ at }) => at >= line.from && at <= line.to);
}

/** Is called with an editor when other diagnostics than before are held back in it. */
export const onMuted = Facet.define<(view: EditorView) => void>();

/** What a server told of an editor's text that is held back for now. */
export function mutedIn(view: EditorView): ReadonlySet<Reported> {
  const { doc } = view.state;
  const { reported, busy } = view.state.field(known, false) ?? { reported: [], busy: [] };
  return new Set(reported.filter((each) => isQuiet(doc, each, busy)).flatMap((each) => reportedOf(each) ?? []));
}

/** Puts the diagnostics that may show into the editor whenever that changes. */
const shown = ViewPlugin.fromClass(
  class {
    #timer: ReturnType<typeof setTimeout> | undefined;
    #destroyed = false;

    constructor(private readonly view: EditorView) {}

    update(update: ViewUpdate): void {
      const { busy, reported } = update.state.field(known);
      const before = update.startState.field(known);
      const told = update.transactions.some((tr) => tr.effects.some((effect) => effect.is(report)));
      const changed = busy.length !== before.busy.length || busy.some((each, i) => each.at !== before.busy[i]?.at);
      if (told || (changed && reported.length > 0)) queueMicrotask(() => this.#show());
      if (busy.length > 0 && busy !== before.busy) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.view.dispatch({ effects: expire.of(Date.now()) }), QUIET);
      }
    }

    destroy(): void {
      this.#destroyed = true;
      clearTimeout(this.#timer);
    }

    #show(): void {
      const { state } = this.view;
      if (this.#destroyed || !state.field(known, false)) return;
      const { reported, busy } = state.field(known);
      const open = reported.filter((each) => !isQuiet(state.doc, each, busy));
      this.view.dispatch(setDiagnostics(state, open.filter(({ from, to }) => from <= to && to <= state.doc.length)));
      for (const tell of this.view.state.facet(onMuted)) tell(this.view);
    }
  },
);

const look = EditorView.theme({
  '.cm-lintRange-error': { backgroundImage: 'none', textDecoration: 'underline wavy var(--bad) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-warning': { backgroundImage: 'none', textDecoration: 'underline wavy var(--warn) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-info': { backgroundImage: 'none', textDecoration: 'underline dotted var(--accent) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-hint': { backgroundImage: 'none' },
  '.cm-lintPoint-hint::after': { display: 'none' },
  '.cm-lintPoint-error::after': { borderBottomColor: 'var(--bad)' },
  '.cm-lintPoint-warning::after': { borderBottomColor: 'var(--warn)' },
  '.cm-lintPoint-info::after': { borderBottomColor: 'var(--accent)' },
  '.cm-lintRange-active': { backgroundColor: 'var(--warn-soft)' },
  '.cm-unneeded': { opacity: '0.6' },
  '.cm-deprecated': { textDecoration: 'line-through' },
  '.cm-gutter-lint': { width: '12px' },
  '.cm-gutter-lint .cm-gutterElement': { padding: '0', display: 'grid', placeItems: 'center' },
  '.cm-lint-marker': { width: '8px', height: '8px', borderRadius: '50%' },
  '.cm-lint-marker-error': { content: 'none', backgroundColor: 'var(--bad)' },
  '.cm-lint-marker-warning': { content: 'none', backgroundColor: 'var(--warn)', borderRadius: '1px' },
  '.cm-lint-marker-info': { content: 'none', backgroundColor: 'var(--accent)' },
  '.cm-lint-marker-hint': { display: 'none' },
  '.cm-diagnostic': { padding: '5px 10px', borderLeftWidth: '3px', fontFamily: 'var(--font)', fontSize: '13px', maxWidth: '64ch' },
  '.cm-diagnostic-error': { borderLeftColor: 'var(--bad)' },
  '.cm-diagnostic-warning': { borderLeftColor: 'var(--warn)' },
  '.cm-diagnostic-info': { borderLeftColor: 'var(--accent)' },
  '.cm-diagnostic-hint': { borderLeftColor: 'var(--line-strong)' },
  '.cm-diagnosticSource': { fontSize: '11.5px', color: 'var(--text-muted)', opacity: '1' },
  '.cm-diagnosticAction': {
    font: 'inherit',
    fontSize: '12px',
    color: 'var(--on-accent)',
    backgroundColor: 'var(--accent-fill)',
    borderRadius: 'var(--radius-s)',
    padding: '2px 8px',
  },
});

export const diagnostics: Extension = [
  known,
  shown,
  linter(null),
  lintGutter(),
  look,
  keymap.of([
    { key: 'F8', run: nextDiagnostic, shift: previousDiagnostic, preventDefault: true },
  ]),
];

/** Shows what a server told of a document, in place of what was told before. */
export function reportDiagnostics(view: EditorView, list: readonly Reported[]): void {
  if (!view.state.field(known, false)) return;
  const { doc } = view.state;
  const reported = list.map((each): Told => {
    const from = offsetOf(doc, each.range.start);
    const source = [each.source, codeOf(each)].filter(Boolean).join(' ');
    const tags = each.tags ?? [];
    const markClass = [tags.includes(UNNECESSARY) && 'cm-unneeded', tags.includes(DEPRECATED) && 'cm-deprecated'].filter(Boolean).join(' ');
    return {
      told: each,
      from,
      to: Math.max(from, offsetOf(doc, each.range.end)),
      severity: severityOf(each),
      message: textOf(each),
      ...(source ? { source } : {}),
      ...(markClass ? { markClass } : {}),
    };
  });
  reported.sort((a, b) => a.from - b.from || a.to - b.to);
  view.dispatch({ effects: report.of(reported) });
}

export function severityOf(each: Reported): (typeof SEVERITIES)[number] {
  return SEVERITIES[each.severity ?? 1] ?? 'error';
}

/** What it says, as text. */
export function textOf({ message }: Reported): string {
  return (typeof message === 'string' ? message : message.value).replace(/\n\s*\n/g, '\n');
}

export function codeOf(each: Reported): string {
  return each.code === undefined ? '' : String(each.code);
}
