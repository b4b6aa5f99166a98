/** The CodeMirror editor of one shared document. */
import { closeBrackets, closeBracketsKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, indentWithTab } from '@codemirror/commands';
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  indentOnInput,
  indentUnit,
} from '@codemirror/language';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, type Extension } from '@codemirror/state';
import {
  crosshairCursor,
  drawSelection,
  dropCursor,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  rectangularSelection,
} from '@codemirror/view';
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next';
import type { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { cspNonce } from '../shell/nonce';
import type { Choices } from '../settings/settings.svelte';
import { type CommentMark, commentMarks, setComments } from './comment-marks';
import { sharedView } from './shared-view';
import { comfortsOf, keyMapOf, undoRedo } from './comforts';
import { blame, type BlameAnswer, blameAt, setBlame } from './blame';
import { completion } from '../languages/completion';
import { highlighting, loadLanguage } from './languages';
import { remoteCursorsOf } from './remote-cursors';
import { editsBetween } from './revision';
import { textGuard } from './text-guard';

export interface CursorPlace {
  line: number;
  column: number;
  selected: number;
}

export interface EditorOptions {
  path: string;
  text: Y.Text;
  awareness: Awareness;
  readOnly: boolean;
  dark: boolean;
  moved: (place: CursorPlace) => void;
  /** Somebody clicked on what a comment is on. */
  commented: (id: string) => void;
  /** The person does something here by themselves: types, clicks, scrolls. */
  touched: () => void;
}

const look = EditorView.theme({
  '&': { height: '100%', color: 'var(--text)', backgroundColor: 'var(--bg)', fontSize: 'var(--code-size)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': {
    fontFamily: 'var(--code-font)',
    fontVariantLigatures: 'var(--code-ligatures)',
    lineHeight: '1.6',
    overflow: 'auto',
  },
  '.cm-content': { padding: '8px 0 40vh', caretColor: 'var(--text)' },
  '.cm-line': { padding: '0 16px 0 8px' },
  '.cm-cursor, .cm-dropCursor': { borderLeftColor: 'var(--text)', borderLeftWidth: '2px' },
  '.cm-gutters': {
    backgroundColor: 'var(--bg)',
    color: 'var(--text-faint)',
    border: 'none',
    paddingLeft: '6px',
  },
  '.cm-lineNumbers .cm-gutterElement': { minWidth: '34px', padding: '0 4px 0 6px' },
  '.cm-foldGutter .cm-gutterElement': { padding: '0 4px', cursor: 'pointer' },
  '.cm-activeLine': { backgroundColor: 'light-dark(rgb(40 60 140 / 4%), rgb(160 180 255 / 5%))' },
  '.cm-activeLineGutter': { backgroundColor: 'transparent', color: 'var(--text)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'light-dark(#cdd6fb, #35406e)',
  },
  '.cm-selectionMatch': { backgroundColor: 'light-dark(#e6ebd0, #36402c)' },
  '.cm-searchMatch': { backgroundColor: 'light-dark(#ffe9a8, #57481a)', borderRadius: '2px' },
  '.cm-searchMatch-selected': { backgroundColor: 'light-dark(#ffc94d, #8a6a12)' },
  '&.cm-focused .cm-matchingBracket': { backgroundColor: 'light-dark(#d9e0fb, #364072)' },
  '&.cm-focused .cm-nonmatchingBracket': { backgroundColor: 'var(--bad-soft)' },
  '.cm-foldPlaceholder': {
    backgroundColor: 'var(--bg-hover)',
    border: '1px solid var(--line)',
    color: 'var(--text-muted)',
    padding: '0 6px',
  },
  '.cm-panels': { backgroundColor: 'var(--bg-side)', color: 'var(--text)' },
  '.cm-panels.cm-panels-top': { borderBottom: '1px solid var(--line)' },
  '.cm-panel.cm-search': { padding: '8px 12px', fontFamily: 'var(--font)', fontSize: '13px' },
  '.cm-panel.cm-search label': { fontSize: '12px' },
  '.cm-textfield': {
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius-s)',
    backgroundColor: 'var(--bg)',
    padding: '3px 8px',
    fontSize: '13px',
  },
  '.cm-button': {
    backgroundImage: 'none',
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius-s)',
    backgroundColor: 'var(--bg-raised)',
    padding: '3px 9px',
    fontSize: '12px',
    cursor: 'pointer',
  },
  '.cm-panel.cm-search [name=close]': { color: 'var(--text-muted)', fontSize: '18px', right: '8px' },
  '.cm-tooltip': {
    backgroundColor: 'var(--bg-raised)',
    border: '1px solid var(--line)',
    borderRadius: 'var(--radius-s)',
  },
});

/** The indentation a text already uses, so that Tab fits in: a tab, or 2, 4 or 8 spaces. */
export function indentationOf(text: string, path: string): string {
  if (/(^|\/)(Makefile|makefile|GNUmakefile)$|\.(go|mk)$/.test(path)) return '\t';
  const counts = new Map<string, number>();
  for (const line of text.slice(0, 40_000).split('\n').slice(0, 500)) {
    const lead = /^(\t+|( {2,8}))\S/.exec(line)?.[1];
    if (!lead) continue;
    const unit = lead.startsWith('\t') ? '\t' : lead.length % 4 === 0 ? '    ' : '  ';
    counts.set(unit, (counts.get(unit) ?? 0) + (unit === '  ' ? 1.5 : 1));
  }
  const best = [...counts.entries()].sort((a, b) => b[1] - a[1])[0];
  return best?.[0] ?? (/\.(js|ts|jsx|tsx|json|html|css|svelte|vue|ya?ml)$/.test(path) ? '  ' : '    ');
}

function labelOf(path: string): Extension {
  return EditorView.contentAttributes.of({ 'aria-label': `Text of ${path}` });
}

/** An edit that the server made for this person, as a step of their undo. */
interface Made {
  id: string;
  /** How many steps of this editor were before it. */
  depth: number;
  undo: () => void;
}

export class Editor {
  readonly view: EditorView;
  readonly undo: Y.UndoManager;
  readonly #readOnly = new Compartment();
  readonly #language = new Compartment();
  readonly #theme = new Compartment();
  readonly #label = new Compartment();
  readonly #blame = new Compartment();
  readonly #changes = new Compartment();
  readonly #compared = new Compartment();
  readonly #languages = new Compartment();
  readonly #keyMap = new Compartment();
  readonly #comforts = new Compartment();
  #path: string;
  #destroyed = false;
  #made: Made[] = [];
  #scroll = { top: 0, left: 0 };
  #choices: Choices | null = null;
  /** The text as it was committed; null: it was not, or that is not known. */
  #committed: string | null = null;
  #comparing = false;
  #changesModule: typeof import('./changes') | null = null;

  constructor(private readonly options: EditorOptions) {
    const { text, awareness, path } = options;
    this.#path = path;
    // Only edits made in this editor are undone: a partner's stay.
    this.undo = new Y.UndoManager(text, { captureTimeout: 400 });
    this.view = new EditorView({
      state: EditorState.create({
        doc: text.toString(),
        extensions: [
          // The document knows only "\n"; a "\r" in it must count as a character here too.
          EditorState.lineSeparator.of('\n'),
          EditorState.allowMultipleSelections.of(true),
          // Another key map knows its keys before everybody else.
          this.#keyMap.of([]),
          undoRedo.of({ undo: () => this.#undoMade() || this.undo.undo(), redo: () => this.undo.redo() }),
          textGuard,
          yCollab(text, null, { undoManager: this.undo }),
          remoteCursorsOf(awareness, text),
          this.#blame.of([]),
          // Its keys go before the usual ones.
          this.#languages.of([]),
          this.#comforts.of([]),
          commentMarks(options.commented),
          sharedView(awareness, text),
          completion,
          lineNumbers(),
          highlightActiveLineGutter(),
          highlightSpecialChars(),
          this.#changes.of([]),
          this.#compared.of([]),
          foldGutter({ openText: '⌄', closedText: '›' }),
          drawSelection(),
          dropCursor(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          rectangularSelection(),
          crosshairCursor(),
          highlightActiveLine(),
          highlightSelectionMatches(),
          search({ top: true }),
          highlighting,
          indentUnit.of(indentationOf(text.toString(), path)),
          EditorState.tabSize.of(4),
          keymap.of([
            { key: 'Mod-z', run: () => this.#undoMade() },
            ...yUndoManagerKeymap,
            ...closeBracketsKeymap,
            ...defaultKeymap,
            ...searchKeymap,
            ...foldKeymap,
            indentWithTab,
          ]),
          this.#readOnly.of(EditorState.readOnly.of(options.readOnly)),
          this.#language.of([]),
          this.#theme.of(EditorView.darkTheme.of(options.dark)),
          look,
          EditorView.cspNonce.of(cspNonce),
          EditorView.contentAttributes.of({ spellcheck: 'false' }),
          this.#label.of(labelOf(path)),
          EditorView.domEventObservers({
            keydown: options.touched,
            pointerdown: options.touched,
            wheel: options.touched,
            scroll: (_event, view) => {
              const { scrollTop: top, scrollLeft: left } = view.scrollDOM;
              if (view.dom.isConnected) this.#scroll = { top, left };
            },
          }),
          EditorView.updateListener.of((update) => {
            if (update.selectionSet || update.docChanged || update.focusChanged) this.#report();
          }),
        ],
      }),
    });
    void this.#loadLanguage();
    this.#report();
  }

  /** Shows the editor in `host`, scrolled to where it was when it was last shown. */
  attach(host: HTMLElement): void {
    const { top, left } = this.#scroll;
    host.append(this.view.dom);
    this.view.scrollDOM.scrollTop = top;
    this.view.scrollDOM.scrollLeft = left;
    this.view.requestMeasure();
    this.view.dispatch({}); // it is seen again: whoever waited for that goes on
  }

  setReadOnly(readOnly: boolean): void {
    const before = this.view.state.readOnly;
    this.view.dispatch({ effects: this.#readOnly.reconfigure(EditorState.readOnly.of(readOnly)) });
    if (this.#comparing && readOnly !== before) void this.compare(true); // what may be taken back is another now
  }

  setDark(dark: boolean): void {
    this.view.dispatch({ effects: this.#theme.reconfigure(EditorView.darkTheme.of(dark)) });
  }

  /** Follows what the person likes; parts that few want are loaded when they are wanted. */
  async configure(choices: Choices): Promise<void> {
    if (this.#choices === choices) return;
    const before = this.#choices;
    this.#choices = choices;
    const [keyMap, comforts] = await Promise.all([
      before?.keyMap === choices.keyMap ? null : keyMapOf(choices.keyMap),
      comfortsOf(choices),
    ]);
    if (this.#destroyed || this.#choices !== choices) return;
    const effects = [this.#comforts.reconfigure(comforts)];
    if (keyMap !== null) effects.push(this.#keyMap.reconfigure(keyMap));
    this.view.dispatch({ effects });
    this.view.requestMeasure();
  }

  /** What language servers add; nothing where there are none. */
  setLanguages(extension: Extension): void {
    this.view.dispatch({ effects: this.#languages.reconfigure(extension) });
  }

  /** Puts the cursor on a line, counted from 1 as the column is, and shows it in the middle. */
  goTo(line: number, column = 1): void {
    const { doc } = this.view.state;
    const { from, to } = doc.line(Math.max(1, Math.min(doc.lines, line)));
    const at = Math.min(to, from + Math.max(0, column - 1));
    this.view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: 'center' }) });
    this.view.focus();
  }

  /** Scrolls so that a place is on top, without moving the cursor: for who follows somebody. */
  show(at: number): void {
    const place = Math.min(at, this.view.state.doc.length);
    this.view.dispatch({ effects: EditorView.scrollIntoView(place, { y: 'start', yMargin: 0 }) });
  }

  /** Marks the places that comments are on. */
  setComments(comments: readonly CommentMark[]): void {
    this.view.dispatch({ effects: setComments.of(comments) });
  }

  /** The file has another path, and perhaps another language. */
  rename(path: string): void {
    this.#path = path;
    this.view.dispatch({ effects: this.#label.reconfigure(labelOf(path)) });
    void this.#loadLanguage();
  }

  /**
   * Gives the text another content as one edit of this person, in as few and small pieces as
   * possible. The answer takes it back, or says false when something else was edited since.
   */
  replaceText(content: string): () => boolean {
    const changes = editsBetween(this.view.state.doc.toString(), content);
    if (changes.length === 0) return () => true;
    this.#asOneStep(() => this.view.dispatch({ changes, userEvent: 'input.restore' }));
    const step = this.undo.undoStack.at(-1);
    return () => {
      if (this.#destroyed || step === undefined || this.undo.undoStack.at(-1) !== step) return false;
      this.undo.undo();
      return true;
    };
  }

  /**
   * An edit that the server has just made for this person, such as a rename, is their last step: to
   * undo it is to have the server take it back.
   */
  made(id: string, undo: () => void): void {
    this.undo.stopCapturing();
    this.#made.push({ id, undo, depth: this.undo.undoStack.length });
  }

  /** That edit is taken back. */
  unmade(id: string): void {
    this.#made = this.#made.filter((each) => each.id !== id);
  }

  #undoMade(): boolean {
    const last = this.#made.at(-1);
    if (!last || this.undo.undoStack.length > last.depth) return false;
    this.#made.pop();
    // What was undone before it has been typed anew: it is no longer the last step.
    if (this.undo.undoStack.length < last.depth) return false;
    last.undo();
    return true;
  }

  /** The text as it was committed: lines that differ are marked. `compare`: a mark was clicked. */
  async setCommitted(text: string | null, compare: () => void): Promise<void> {
    if (text === this.#committed) return;
    this.#committed = text;
    const parts = text === null ? null : await import('./changes');
    if (this.#destroyed || text !== this.#committed) return;
    this.#changesModule = parts;
    this.view.dispatch({ effects: this.#changes.reconfigure(text === null || !parts ? [] : parts.changeMarks(text, compare)) });
    if (this.#comparing) await this.compare(true);
  }

  /** Shows what was committed among the present text, where they differ, or hides it. */
  async compare(on: boolean): Promise<void> {
    const text = this.#committed;
    this.#comparing = on && text !== null;
    const { comparison } = await import('./changes');
    if (this.#destroyed || text !== this.#committed) return;
    const shown = this.#comparing && text !== null ? comparison(text, this.view.state.readOnly ? null : (work) => this.#asOneStep(work)) : [];
    // The library keeps what it compares with in a field of its own, which a new text has to replace.
    this.view.dispatch({ effects: this.#compared.reconfigure([]) });
    this.view.dispatch({ effects: this.#compared.reconfigure(shown) });
  }

  /** What is done is undone by itself, and not with what is typed just before or after. */
  #asOneStep(work: () => void): void {
    this.undo.stopCapturing();
    work();
    this.undo.stopCapturing();
  }

  /** Goes to the next place that differs from what was committed, or the one before. */
  goToChange(by: 1 | -1): void {
    this.#changesModule?.goToChange(this.view, by);
  }

  /** Shows who wrote each line beside it; null takes that away. */
  showBlame(answer: BlameAnswer | null): void {
    this.view.dispatch({ effects: this.#blame.reconfigure(answer ? blame : []) });
    if (answer) this.view.dispatch({ effects: setBlame.of(answer) });
  }

  /** What is known of the line with the cursor, and whether lines have changed since. */
  get blame(): ReturnType<typeof blameAt> {
    return blameAt(this.view.state);
  }

  destroy(): void {
    this.#destroyed = true;
    this.view.destroy();
    this.undo.destroy();
  }

  async #loadLanguage(): Promise<void> {
    // Colours are a comfort: when their file cannot be loaded, the text stays plain.
    const path = this.#path;
    const support = await loadLanguage(path).catch(() => null);
    if (path === this.#path && !this.#destroyed) {
      this.view.dispatch({ effects: this.#language.reconfigure(support ?? []) });
    }
  }

  #report(): void {
    const { state } = this.view;
    const { main, ranges } = state.selection;
    const line = state.doc.lineAt(main.head);
    const selected = ranges.reduce((sum, range) => sum + range.to - range.from, 0);
    this.options.moved({ line: line.number, column: main.head - line.from + 1, selected });
  }
}
