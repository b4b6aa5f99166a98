/**
 * Sticky scroll: the lines that open what the first visible line is in stay on top.
 *
 * What a line is in is told by indentation, which every language has: the last line before it that
 * is indented less, and so on up. Lines that hold nothing but brackets open nothing.
 */
import { EditorState, type Extension, type Text } from '@codemirror/state';
import { EditorView, type PluginValue, ViewPlugin, type ViewUpdate } from '@codemirror/view';
import { highlightTree } from '@lezer/highlight';
import { syntaxTree } from '@codemirror/language';
import { style } from './languages';

const MOST = 5; // lines on top
const LOOK_BACK = 5000; // lines that are looked at
const BRACKETS = /^[\s)\]}>;,]*$/;

function indentOf(text: string, tab: number): number {
  let columns = 0;
  for (const letter of text) {
    if (letter === ' ') columns += 1;
    else if (letter === '\t') columns += tab - (columns % tab);
    else return columns;
  }
  return -1; // an empty line
}

/** The numbers of the lines that `line` is in, the outermost first. */
export function headings(doc: Text, line: number, tab: number): number[] {
  let least = Infinity;
  for (let at = line; at <= Math.min(doc.lines, line + 50); at += 1) {
    const indent = indentOf(doc.line(at).text, tab);
    if (indent === -1) continue;
    least = indent;
    break;
  }
  const found: number[] = [];
  const end = Math.max(1, line - LOOK_BACK);
  for (let at = line - 1; at >= end && least > 0; at -= 1) {
    const { text } = doc.line(at);
    const indent = indentOf(text, tab);
    if (indent === -1 || indent >= least || BRACKETS.test(text)) continue;
    least = indent;
    found.unshift(at);
  }
  return found;
}

class Sticky implements PluginValue {
  readonly #dom = document.createElement('div');
  #shown = '';

  constructor(private readonly view: EditorView) {
    this.#dom.className = 'cm-sticky';
    this.#dom.setAttribute('aria-hidden', 'true'); // everything here is in the text, too
    this.#dom.addEventListener('mousedown', this.#go);
    view.dom.append(this.#dom);
    view.scrollDOM.addEventListener('scroll', this.#measure, { passive: true });
    this.#measure();
  }

  update(update: ViewUpdate): void {
    if (update.docChanged || update.geometryChanged || update.viewportChanged) this.#measure();
  }

  destroy(): void {
    this.view.scrollDOM.removeEventListener('scroll', this.#measure);
    this.#dom.remove();
  }

  #measure = (): void => {
    this.view.requestMeasure({ key: this, read: () => this.#read(), write: (lines) => this.#write(lines) });
  };

  #read(): { lines: number[]; top: number; left: number } {
    const { view } = this;
    const { state } = view;
    const box = view.scrollDOM.getBoundingClientRect();
    const top = view.scrollDOM.offsetTop;
    const left = view.contentDOM.getBoundingClientRect().left - box.left + view.scrollDOM.scrollLeft;
    const scrolled = view.scrollDOM.scrollTop - view.documentPadding.top;
    if (scrolled <= 0) return { lines: [], top, left };
    const height = view.defaultLineHeight;
    let lines: number[] = [];
    // Each line on top hides one more below it, which may be in something else.
    for (let count = 0; count <= MOST; count += 1) {
      const block = view.lineBlockAtHeight(scrolled + count * height);
      const next = headings(state.doc, state.doc.lineAt(block.from).number, state.tabSize).slice(0, MOST);
      if (next.length <= count) {
        lines = next;
        break;
      }
      lines = next.slice(0, count + 1);
    }
    const first = state.doc.lineAt(view.lineBlockAtHeight(scrolled).from).number;
    return { lines: lines.filter((line) => line < first + lines.length), top, left };
  }

  #write({ lines, top, left }: { lines: number[]; top: number; left: number }): void {
    const { state } = this.view;
    const text = lines.map((line) => `${line}:${state.doc.line(line).text}`).join('\n');
    this.#dom.style.top = `${top}px`;
    this.#dom.style.setProperty('--gutter', `${left}px`);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#dom.replaceChildren(...lines.map((line) => this.#row(state, line)));
  }

  #row(state: EditorState, number: number): HTMLElement {
    const row = document.createElement('div');
    row.className = 'cm-sticky-line';
    row.dataset['line'] = String(number);
    const label = document.createElement('span');
    label.className = 'cm-sticky-number';
    label.textContent = String(number);
    const code = document.createElement('span');
    code.className = 'cm-sticky-code';
    const line = state.doc.lineAt(state.doc.line(number).from);
    let at = line.from;
    const add = (to: number, classes: string): void => {
      const text = state.sliceDoc(at, to);
      at = to;
      if (!text) return;
      const piece = document.createElement('span');
      if (classes) piece.className = classes;
      piece.textContent = text;
      code.append(piece);
    };
    highlightTree(
      syntaxTree(state),
      style,
      (from, to, classes) => {
        if (to <= line.from || from >= line.to) return;
        add(Math.max(line.from, from), '');
        add(Math.min(line.to, to), classes);
      },
      line.from,
      line.to,
    );
    add(line.to, '');
    row.append(label, code);
    return row;
  }

  #go = (event: MouseEvent): void => {
    const line = (event.target as HTMLElement).closest<HTMLElement>('[data-line]')?.dataset['line'];
    if (!line) return;
    event.preventDefault();
    const { view } = this;
    const at = view.state.doc.line(Math.min(Number(line), view.state.doc.lines)).from;
    view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: 'start', yMargin: 40 }) });
    view.focus();
  };
}

const look = EditorView.baseTheme({
  '.cm-sticky': {
    position: 'absolute',
    left: '0',
    right: '0',
    zIndex: '150',
    overflow: 'hidden',
    background: 'var(--bg)',
    fontFamily: 'var(--code-font)',
    lineHeight: '1.6',
  },
  '.cm-sticky:not(:empty)': { borderBottom: '1px solid var(--line)', boxShadow: '0 2px 5px rgb(0 0 0 / 8%)' },
  '.cm-sticky-line': { display: 'flex', whiteSpace: 'pre', cursor: 'pointer' },
  '.cm-sticky-line:hover': { background: 'var(--bg-hover)' },
  '.cm-sticky-number': {
    flex: 'none',
    boxSizing: 'border-box',
    width: 'var(--gutter)',
    paddingRight: '24px',
    textAlign: 'right',
    color: 'var(--text-faint)',
  },
  '.cm-sticky-code': { paddingLeft: '8px', overflow: 'hidden', textOverflow: 'ellipsis' },
});

export const stickyScroll: Extension = [ViewPlugin.define((view) => new Sticky(view)), look];
