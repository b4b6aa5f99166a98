/** Two texts beside each other, or one with what differs marked in it; read only, and live. */
import { MergeView, unifiedMergeView } from '@codemirror/merge';
import { EditorState, type Extension } from '@codemirror/state';
import { EditorView, highlightSpecialChars, lineNumbers } from '@codemirror/view';
import { highlighting, loadLanguage } from '../editor/languages';
import { editsBetween } from '../editor/revision';
import { cspNonce } from '../shell/nonce';

export interface ComparisonOptions {
  path: string;
  /** The former text and the present one. */
  then: string;
  now: string;
  /** When the former text was. */
  label: string;
  sideBySide: boolean;
  dark: boolean;
}

export interface ComparedTexts {
  /** The present text has become another. */
  follow(now: string): void;
  destroy(): void;
}

const look = EditorView.theme({
  '&': { height: '100%', color: 'var(--text)', backgroundColor: 'var(--bg)', fontSize: '13px' },
  '&.cm-focused': { outline: 'none' },
  '&.cm-focused .cm-content': { outline: '2px solid var(--accent)', outlineOffset: '-2px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.6', overflow: 'auto' },
  '.cm-content': { padding: '4px 0 24px' },
  '.cm-line': { padding: '0 12px 0 6px' },
  '.cm-gutters': { backgroundColor: 'var(--bg)', color: 'var(--text-faint)', border: 'none' },
  '.cm-lineNumbers .cm-gutterElement': { minWidth: '30px' },
  '.cm-changeGutter': { width: '16px', paddingLeft: '0', textAlign: 'center', fontWeight: '600' },
  '&.cm-merge-a .cm-changedLine, & .cm-deletedChunk': { backgroundColor: 'var(--bad-soft)' },
  '&.cm-merge-b .cm-changedLine, & .cm-insertedLine': { backgroundColor: 'var(--good-soft)' },
  '&.cm-merge-a .cm-changedText, & .cm-deletedChunk .cm-deletedText': {
    background: 'color-mix(in srgb, var(--bad) 26%, transparent)',
  },
  '&.cm-merge-b .cm-changedText': { background: 'color-mix(in srgb, var(--good) 28%, transparent)' },
  // What was removed and what was added is told by signs, too.
  '&.cm-merge-a .cm-changedLineGutter, & .cm-deletedLineGutter': { background: 'none', color: 'var(--bad)' },
  '&.cm-merge-b .cm-changedLineGutter': { background: 'none', color: 'var(--good)' },
  '&.cm-merge-a .cm-changedLineGutter::before, & .cm-deletedLineGutter::before': { content: '"−"' },
  '&.cm-merge-b .cm-changedLineGutter::before': { content: '"+"' },
  '.cm-collapsedLines': {
    background: 'var(--bg-sunken)',
    color: 'var(--text-muted)',
    fontFamily: 'var(--font)',
    fontSize: '12px',
  },
  '.cm-collapsedLines:hover': { color: 'var(--accent)' },
  // The library's own signs are missing from many fonts.
  '.cm-collapsedLines::before': { content: '"⋯"', marginInlineEnd: '7px' },
  '.cm-collapsedLines::after': { content: '"⋯"', marginInlineStart: '7px' },
});

const DIFF = { scanLimit: 1000, timeout: 300 };
const FOLDED = { margin: 3, minSize: 6 };

export function compare(parent: HTMLElement, options: ComparisonOptions): ComparedTexts {
  const { then, now, label, dark, sideBySide } = options;
  let gone = false;
  let handles: { now: EditorView; destroy(): void } | null = null;

  // Of two texts that are the same nothing would be left.
  const folded = then === now ? {} : { collapseUnchanged: FOLDED };

  function build(language: Extension): void {
    const shared = (name: string): Extension => [
      EditorState.lineSeparator.of('\n'),
      EditorState.readOnly.of(true),
      EditorView.editable.of(false),
      EditorView.contentAttributes.of({ 'aria-label': name, tabindex: '0' }),
      EditorView.darkTheme.of(dark),
      EditorView.lineWrapping,
      EditorView.cspNonce.of(cspNonce),
      lineNumbers(),
      highlightSpecialChars(),
      highlighting,
      language,
      look,
    ];
    if (sideBySide) {
      const view = new MergeView({
        a: { doc: then, extensions: shared(`The text of ${label}`) },
        b: { doc: current, extensions: shared('The text now') },
        parent,
        diffConfig: DIFF,
        ...folded,
      });
      view.dom.style.cssText = 'height: 100%; overflow: auto';
      handles = { now: view.b, destroy: () => view.destroy() };
    } else {
      const view = new EditorView({
        doc: current,
        extensions: [
          shared(`The text now, and what differs from ${label}`),
          unifiedMergeView({ original: then, mergeControls: false, diffConfig: DIFF, ...folded }),
        ],
        parent,
      });
      handles = { now: view, destroy: () => view.destroy() };
    }
  }

  let current = now;
  // Colours are a comfort: when their file cannot be loaded, the text stays plain.
  void loadLanguage(options.path)
    .catch(() => null)
    .then((language) => !gone && build(language ?? []));

  return {
    follow(text) {
      current = text;
      if (!handles) return;
      const view = handles.now;
      view.dispatch({ changes: editsBetween(view.state.doc.toString(), text) });
    },
    destroy() {
      gone = true;
      handles?.destroy();
    },
  };
}
