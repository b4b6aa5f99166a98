// @vitest-environment jsdom
import { EditorState, Text } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { forEachDiagnostic } from '@codemirror/lint';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ySyncAnnotation } from 'y-codemirror.next';
import { snippetOf } from './completion';
import { decodeTokens } from './decorations';
import { diagnostics, mutedIn, onMuted, QUIET, reportDiagnostics } from './diagnostics';
import { sanitizeHTML } from './html';
import { offsetOf, positionOf } from './positions';
import { flatten } from './symbols';
import { pathOf, uriOf } from './uris';

const range = (line: number, from: number, to: number): { start: { line: number; character: number }; end: { line: number; character: number } } => ({
  start: { line, character: from },
  end: { line, character: to },
});

describe('addresses and positions', () => {
  it('lead from paths to URIs and back, and nowhere else', () => {
    const root = 'file:///work%20space';
    const path = 'a b/ü#?%.py';
    expect(pathOf(root, uriOf(root, path))).toBe(path);
    expect(pathOf(root, 'file:///work space/x')).toBe('x');
    expect(pathOf(root, 'file:///work%20spaces/x')).toBeNull();
    expect(pathOf(root, 'file:///etc/passwd')).toBeNull();
    expect(pathOf(root, 'file:///work%20space/%')).toBeNull();
  });

  it('are the nearest ones where a text has changed', () => {
    const doc = Text.of(['ab', '😀c', '']);
    expect(offsetOf(doc, { line: 1, character: 2 })).toBe(5);
    expect(positionOf(doc, 5)).toEqual({ line: 1, character: 2 });
    expect(offsetOf(doc, { line: 0, character: 99 })).toBe(2);
    expect(offsetOf(doc, { line: 99, character: 0 })).toBe(doc.length);
    expect(offsetOf(doc, { line: -1, character: 0 })).toBe(0);
  });
});

describe('what servers say', () => {
  it('is shown without anything that runs, loads or passes for the page', () => {
    const html = '<p onclick="x()">a<script>x()</script><img src="//evil/x"><style>*{}</style><b class="button">b</b></p>';
    expect(sanitizeHTML(html)).toBe('<p>a<b>b</b></p>');
    expect(sanitizeHTML('<a href="javascript:x()">x</a>')).not.toContain('javascript');
    expect(sanitizeHTML('<a href="/api/v1/session">x</a>')).not.toContain('href');
    expect(sanitizeHTML('<a href="https://docs.example">x</a>')).toContain('rel="noreferrer"');
    expect(sanitizeHTML('<form action="/x"><input name="password"></form>')).toBe('');
    expect(sanitizeHTML('<code><span class="ͼb">def</span></code>')).toContain('class="ͼb"');
  });

  it('becomes snippets and tokens', () => {
    expect(snippetOf('f(${1:x}, $2)\\}$0')).toBe('f(${1:x}, ${2})}${0}');
    const legend = { tokenTypes: ['variable', 'class'], tokenModifiers: ['readonly', 'deprecated'] };
    const data = [0, 4, 3, 1, 0, 0, 5, 2, 0, 1, 2, 1, 1, 9, 0, 0, 2, 1, 1, 2];
    expect([...decodeTokens(data, legend)]).toEqual([
      { line: 0, character: 4, length: 3, class: 'cm-token-type' },
      { line: 0, character: 9, length: 2, class: 'cm-token-constant' },
      { line: 2, character: 3, length: 1, class: 'cm-token-type cm-deprecated' },
    ]);
  });

  it('lists symbols in the order of the text, whichever kind the server has', () => {
    const inner = { name: 'm', kind: 6, range: range(2, 0, 9), selectionRange: range(2, 4, 5) } as const;
    const outer = { name: 'C', kind: 5, range: range(1, 0, 9), selectionRange: range(1, 6, 7), children: [inner] } as const;
    const flat = { name: 'f', kind: 12, location: { uri: 'file:///x', range: range(0, 0, 1) }, containerName: 'mod' } as const;
    expect(flatten([{ ...outer, children: [...outer.children] }, flat], 'a.py').map(({ name, kind, container }) => [name, kind, container])).toEqual([
      ['f', 'function', 'mod'],
      ['C', 'class', ''],
      ['m', 'method', 'C'],
    ]);
  });
});

describe('diagnostics', () => {
  afterEach(() => vi.useRealTimers());

  function shown(view: EditorView): string[] {
    const list: string[] = [];
    forEachDiagnostic(view.state, (each, from, to) => list.push(`${each.message} ${from}-${to}`));
    return list;
  }

  it('wait while somebody else types in their line, and move with the text', async () => {
    vi.useFakeTimers();
    const muted: string[][] = [];
    const tell = onMuted.of((each) => muted.push([...mutedIn(each)].map(({ message }) => message as string)));
    const view = new EditorView({ state: EditorState.create({ doc: 'one\ntwo\n', extensions: [diagnostics, tell] }) });
    reportDiagnostics(view, [
      { message: 'first', range: range(0, 0, 3) },
      { message: 'second', range: range(1, 0, 3), severity: 2 },
    ]);
    await vi.advanceTimersByTimeAsync(0);
    expect(shown(view)).toEqual(['first 0-3', 'second 4-7']);
    // A partner types in the first line; what they have written so far is not held against them.
    view.dispatch({ changes: { from: 3, insert: '!' }, annotations: ySyncAnnotation.of({} as never) });
    reportDiagnostics(view, [
      { message: 'half', range: range(0, 0, 4) },
      { message: 'second', range: range(1, 0, 3) },
    ]);
    await vi.advanceTimersByTimeAsync(QUIET / 2);
    expect(shown(view)).toEqual(['second 5-8']);
    expect(muted.at(-1)).toEqual(['half']);
    await vi.advanceTimersByTimeAsync(QUIET);
    expect(shown(view)).toEqual(['half 0-4', 'second 5-8']);
    expect(muted.at(-1)).toEqual([]);
    // What one types oneself is not held back.
    view.dispatch({ changes: { from: 0, insert: 'x' } });
    await vi.advanceTimersByTimeAsync(0);
    expect(shown(view)).toEqual(['half 1-5', 'second 6-9']);
    view.destroy();
  });
});
