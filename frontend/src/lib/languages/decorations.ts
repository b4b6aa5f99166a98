/**
 * Inlay hints and semantic colours: what the servers add to the look of a text.
 *
 * Both are asked for a moment after the text, or what is seen of it, has changed. An answer for a
 * text that has changed meanwhile is left; what is shown moves along until the next one.
 */
import { type LSPClient, LSPPlugin } from '@codemirror/lsp-client';
import { type Extension, Prec, type Range, StateEffect } from '@codemirror/state';
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, WidgetType } from '@codemirror/view';
import type { InlayHint, SemanticTokens, SemanticTokensLegend } from 'vscode-languageserver-protocol';
import { offsetOf, rangeOf } from './positions';

const PAUSE = 350; // ms
const LIMIT = 400_000; // characters of a text that is coloured by servers
const HINTS = 2000;
const HINT_LENGTH = 40; // characters

/** Asks for everything anew: the servers have begun, or know more than before. */
export const refreshLook = StateEffect.define<null>();

type Ask = (view: EditorView, plugin: LSPPlugin) => Promise<readonly Range<Decoration>[] | null>;

function asked(ask: Ask, byViewport: boolean): Extension {
  return ViewPlugin.fromClass(
    class {
      decorations: DecorationSet = Decoration.none;
      #timer: ReturnType<typeof setTimeout> | undefined;
      #asking = false;
      /** What is shown is not, or may not be, what the servers would say now. */
      #stale = true;
      #destroyed = false;

      constructor(private readonly view: EditorView) {
        this.#later();
      }

      update(update: ViewUpdate): void {
        const refresh = update.transactions.some((tr) => tr.effects.some((effect) => effect.is(refreshLook)));
        if (update.docChanged) this.decorations = this.decorations.map(update.changes);
        if (update.docChanged || refresh || (byViewport && update.viewportChanged)) {
          this.#stale = true;
          this.#later();
        } else if (this.#stale && this.#timer === undefined && !this.#asking) this.#later();
      }

      destroy(): void {
        this.#destroyed = true;
        clearTimeout(this.#timer);
      }

      #later(): void {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
          this.#timer = undefined;
          void this.#ask();
        }, PAUSE);
      }

      async #ask(): Promise<void> {
        const plugin = this.#destroyed ? null : LSPPlugin.get(this.view);
        // Editors that nobody sees wait until they are shown: servers do one thing at a time.
        if (!plugin || this.#asking || !this.view.dom.isConnected) return;
        const { doc } = this.view.state;
        this.#asking = true;
        this.#stale = false;
        // A server that does not answer leaves the text as it looks.
        const found = await ask(this.view, plugin).catch(() => null);
        this.#asking = false;
        if (this.#destroyed) return;
        if (this.#stale) this.#later();
        if (found === null || this.view.state.doc !== doc) return;
        this.decorations = Decoration.set(found as Range<Decoration>[], true);
        this.view.dispatch({}); // draw
      }
    },
    { decorations: (plugin) => plugin.decorations },
  );
}

// ── inlay hints ─────────────────────────────────────────────────────────────────────────────────

class Hint extends WidgetType {
  constructor(readonly text: string) {
    super();
  }

  override eq(other: Hint): boolean {
    return other.text === this.text;
  }

  override toDOM(): HTMLElement {
    const dom = document.createElement('span');
    dom.className = 'cm-inlay-hint';
    dom.textContent = this.text;
    dom.setAttribute('aria-hidden', 'true');
    return dom;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

function hintText({ label, paddingLeft, paddingRight }: InlayHint): string {
  const text = typeof label === 'string' ? label : label.map((part) => part.value).join('');
  const cut = text.length > HINT_LENGTH ? `${text.slice(0, HINT_LENGTH)}…` : text;
  return `${paddingLeft ? ' ' : ''}${cut}${paddingRight ? ' ' : ''}`;
}

const hints = asked(async (view, { client, uri }) => {
  if (!client.serverCapabilities?.inlayHintProvider) return null;
  const { doc } = view.state;
  const { from, to } = view.viewport;
  const params = { textDocument: { uri }, range: rangeOf(doc, from, to) };
  const found = await client.request<typeof params, InlayHint[] | null>('textDocument/inlayHint', params);
  return (found ?? []).slice(0, HINTS).map((hint) => {
    const side = hint.kind === 2 ? -1 : 1; // the name of a parameter belongs to what follows
    return Decoration.widget({ widget: new Hint(hintText(hint)), side }).range(offsetOf(doc, hint.position));
  });
}, true);

// ── semantic tokens ─────────────────────────────────────────────────────────────────────────────

/** How a token of each standard type looks; those that are not here stay as the grammar has them. */
const LOOKS: Record<string, string> = {
  namespace: 'type', type: 'type', class: 'type', enum: 'type', interface: 'type', struct: 'type', typeParameter: 'type',
  parameter: 'parameter', property: 'property', enumMember: 'constant', function: 'function', method: 'function',
  macro: 'function', decorator: 'function', event: 'property', variable: 'variable', selfParameter: 'keyword', clsParameter: 'keyword',
};

/** The places and classes of tokens; five numbers each, counted from the one before (LSP 3.16). */
export function* decodeTokens(data: readonly number[], legend: SemanticTokensLegend): Generator<{ line: number; character: number; length: number; class: string }> {
  let line = 0;
  let character = 0;
  for (let i = 0; i + 4 < data.length; i += 5) {
    const [lines = 0, characters = 0, length = 0, type = 0, bits = 0] = data.slice(i, i + 5);
    character = lines > 0 ? characters : character + characters;
    line += lines;
    const has = (name: string): boolean => {
      const bit = legend.tokenModifiers.indexOf(name);
      return bit >= 0 && (bits & (1 << bit)) !== 0;
    };
    let look = LOOKS[legend.tokenTypes[type] ?? ''];
    if (look === 'variable' && has('readonly')) look = 'constant';
    const classes = [look && `cm-token-${look}`, has('deprecated') && 'cm-deprecated'].filter(Boolean);
    if (classes.length > 0) yield { line, character, length, class: classes.join(' ') };
  }
}

const marks = new Map<string, Decoration>();

function markOf(name: string): Decoration {
  const mark = marks.get(name) ?? Decoration.mark({ class: name });
  marks.set(name, mark);
  return mark;
}

const tokens = asked(async (view, { client, uri }) => {
  const legend = legendOf(client);
  const { doc } = view.state;
  if (!legend || doc.length > LIMIT) return null;
  const params = { textDocument: { uri } };
  const found = await client.request<typeof params, SemanticTokens | null>('textDocument/semanticTokens/full', params);
  const ranges: Range<Decoration>[] = [];
  for (const token of decodeTokens(found?.data ?? [], legend)) {
    const from = offsetOf(doc, token);
    const to = offsetOf(doc, { line: token.line, character: token.character + token.length });
    if (from < to) ranges.push(markOf(token.class).range(from, to));
  }
  return ranges;
}, false);

function legendOf(client: LSPClient): SemanticTokensLegend | null {
  const provider = client.serverCapabilities?.semanticTokensProvider;
  return provider?.full ? provider.legend : null;
}

const look = EditorView.theme({
  '.cm-inlay-hint': {
    padding: '0 3px',
    borderRadius: '3px',
    fontFamily: 'var(--font)',
    fontSize: '0.86em',
    color: 'var(--text-faint)',
    backgroundColor: 'var(--bg-sunken)',
    whiteSpace: 'pre',
  },
  '.cm-token-type': { color: 'var(--syn-type)' },
  '.cm-token-function': { color: 'var(--syn-function)' },
  '.cm-token-property': { color: 'var(--syn-property)' },
  '.cm-token-parameter': { color: 'var(--syn-name)', fontStyle: 'italic' },
  '.cm-token-variable': { color: 'var(--syn-name)' },
  '.cm-token-constant': { color: 'var(--syn-number)' },
  '.cm-token-keyword': { color: 'var(--syn-keyword)' },
});

export const decorations: Extension = [hints, Prec.highest(tokens), look];
