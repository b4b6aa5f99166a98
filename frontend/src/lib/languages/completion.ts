/**
 * Completions of the language servers, each resolved when it is looked at or taken.
 *
 * Documentation, and edits elsewhere in the file such as an import, often come only with
 * `completionItem/resolve`; they are applied when they come, where their places have moved to.
 */
import { autocompletion, type Completion, type CompletionContext, type CompletionResult, insertCompletionText, snippet } from '@codemirror/autocomplete';
import { LSPPlugin, type WorkspaceMapping } from '@codemirror/lsp-client';
import type { Extension } from '@codemirror/state';
import type { EditorView } from '@codemirror/view';
import type { CompletionItem, CompletionList, CompletionParams, Range, TextEdit } from 'vscode-languageserver-protocol';
import { offsetOf } from './positions';

const TYPES: Record<number, string> = {
  2: 'method', 3: 'function', 4: 'class', 5: 'property', 6: 'variable', 7: 'class', 8: 'interface', 9: 'namespace',
  10: 'property', 11: 'keyword', 12: 'constant', 13: 'enum', 14: 'keyword', 16: 'constant', 20: 'constant',
  21: 'constant', 22: 'class', 25: 'type',
};
const SNIPPET = 2;
const CANCELLED = -32800;
const FAILED = -32803;
const TRIES = 10;

/** LSP's snippets as CodeMirror writes them: `$1` is `${1}`, and `\}` needs no backslash. */
export function snippetOf(text: string): string {
  return text.replace(/\\([$}\\])|\$(\d+)/g, (_all, escaped: string | undefined, field: string) => escaped ?? `\${${field}}`);
}

/** One answer, for as long as its items may be looked at. */
class Answer {
  readonly #resolved = new Map<CompletionItem, Promise<CompletionItem>>();

  constructor(
    readonly plugin: LSPPlugin,
    readonly mapping: WorkspaceMapping,
  ) {}

  resolve(item: CompletionItem): Promise<CompletionItem> {
    const known = this.#resolved.get(item);
    if (known) return known;
    const { client } = this.plugin;
    const resolves = client.serverCapabilities?.completionProvider?.resolveProvider === true;
    const asked = resolves
      ? client.request<CompletionItem, CompletionItem>('completionItem/resolve', item).then((more) => more ?? item, () => item)
      : Promise.resolve(item);
    this.#resolved.set(item, asked);
    return asked;
  }

  async info(item: CompletionItem): Promise<Node | null> {
    const { detail, documentation } = await this.resolve(item);
    if (!documentation && !detail) return null;
    const dom = document.createElement('div');
    dom.className = 'cm-lsp-documentation';
    if (detail) {
      const line = dom.appendChild(document.createElement('code'));
      line.textContent = detail;
    }
    if (documentation) {
      const text = dom.appendChild(document.createElement('div'));
      text.innerHTML = this.plugin.docToHTML(documentation); // sanitized by the client
    }
    return dom;
  }

  apply(view: EditorView, completion: Completion, item: CompletionItem, list: CompletionList, from: number, to: number): void {
    const text = textOf(item);
    const format = item.insertTextFormat ?? list.itemDefaults?.insertTextFormat;
    if (format === SNIPPET) snippet(snippetOf(text))(view, completion, from, to);
    else view.dispatch(insertCompletionText(view.state, text, from, to));
    if (item.additionalTextEdits) this.#elsewhere(view, item.additionalTextEdits);
    else void this.resolve(item).then((more) => this.#elsewhere(view, more.additionalTextEdits ?? []));
  }

  #elsewhere(view: EditorView, edits: readonly TextEdit[]): void {
    if (edits.length === 0 || LSPPlugin.get(view) !== this.plugin) return;
    const at = (range: Range): { from: number; to: number } => ({
      from: this.mapping.mapPosition(this.plugin.uri, range.start, 1),
      to: this.mapping.mapPosition(this.plugin.uri, range.end, -1),
    });
    const changes: { from: number; to: number; insert: string }[] = [];
    try {
      for (const edit of edits) {
        const { from, to } = at(edit.range);
        changes.push({ from, to: Math.max(from, to), insert: edit.newText });
      }
    } catch (error) {
      if (error instanceof RangeError) return; // a place that the document never had
      throw error;
    }
    view.dispatch({ changes, userEvent: 'input.complete' });
  }
}

function textOf(item: CompletionItem): string {
  return item.textEdit?.newText ?? item.textEditText ?? item.insertText ?? item.label;
}

/**
 * Where what completions replace begins, as the first of them says it, and what of it stands behind
 * the cursor: the list is filtered by what is before that alone.
 */
function replaced(context: CompletionContext, list: CompletionList): { from: number; rest: string } {
  const edit = list.items[0]?.textEdit ?? null;
  const usual = list.itemDefaults?.editRange;
  const range = edit ? ('range' in edit ? edit.range : edit.insert) : usual && ('start' in usual ? usual : usual.insert);
  if (range) {
    const { doc } = context.state;
    const from = offsetOf(doc, range.start);
    if (from <= context.pos) return { from, rest: doc.sliceString(context.pos, offsetOf(doc, range.end)) };
  }
  const word = context.matchBefore(/[\w$]+/);
  return { from: word?.from ?? context.pos, rest: '' };
}

/** What may be typed on while the list stays as it is: word characters, behind what items begin with. */
function stillValid(items: readonly CompletionItem[]): RegExp {
  const starts = new Set<string>();
  for (const item of items.slice(0, 200)) starts.add(/^[^\w]{0,4}/.exec(textOf(item))?.[0] ?? '');
  const escaped = [...starts].filter(Boolean).map((start) => start.replace(/[^\w\s]/g, '\\$&'));
  return escaped.length ? new RegExp(`^(?:${escaped.join('|')})?\\w*$`) : /^\w*$/;
}

type Found = CompletionItem[] | CompletionList | null;

/**
 * A server that has just begun may need longer than it is given, but gets on with each try. A list
 * that does not come at all is no reason to disturb somebody who types.
 */
async function ask(context: CompletionContext, request: () => Promise<Found>): Promise<Found> {
  for (let tries = 1; !context.aborted; tries += 1) {
    try {
      return await request();
    } catch (error) {
      const { code } = error as { code?: number };
      if (code === FAILED && tries < TRIES) continue;
      if (code !== CANCELLED) console.info('[lsp] no completions:', error);
      return null;
    }
  }
  return null;
}

let last: Answer | null = null;

async function source(context: CompletionContext): Promise<CompletionResult | null> {
  const plugin = context.view && LSPPlugin.get(context.view);
  const provider = plugin?.client.serverCapabilities?.completionProvider;
  if (!plugin || !provider) return null;
  const before = context.state.sliceDoc(Math.max(0, context.pos - 1), context.pos);
  const triggered = provider.triggerCharacters?.includes(before) ?? false;
  if (!context.explicit && !triggered && !/[\p{L}_$]/u.test(before)) return null;
  const { client, uri } = plugin;
  client.sync();
  last?.mapping.destroy();
  const answer = (last = new Answer(plugin, client.workspaceMapping()));
  const params: CompletionParams = {
    textDocument: { uri },
    position: plugin.toPosition(context.pos),
    context: context.explicit || !triggered ? { triggerKind: 1 } : { triggerKind: 2, triggerCharacter: before },
  };
  // Servers make a list for one place: what they look for at another one is of no use any more.
  context.addEventListener('abort', () => client.cancelRequest(params), { onDocChange: true });
  const result = await ask(context, () => client.request<typeof params, Found>('textDocument/completion', params));
  if (!result) return null;
  const list: CompletionList = Array.isArray(result) ? { items: result, isIncomplete: false } : result;
  if (list.items.length === 0) return null;
  const { from, rest } = replaced(context, list);
  return {
    from,
    options: list.items.map((item) => optionOf(item, list, rest, answer)),
    ...(list.isIncomplete ? {} : { validFor: stillValid(list.items) }),
  };
}

function optionOf(item: CompletionItem, list: CompletionList, rest: string, answer: Answer): Completion {
  const type = item.kind === undefined ? undefined : TYPES[item.kind];
  const beside = item.labelDetails?.detail ?? item.labelDetails?.description;
  return {
    label: item.filterText ?? item.label,
    displayLabel: item.label,
    ...(type ? { type } : {}),
    ...(beside ? { detail: beside } : {}),
    ...(item.sortText ? { sortText: item.sortText } : {}),
    ...(item.commitCharacters ? { commitCharacters: item.commitCharacters } : {}),
    apply: (view, completion, from, to) => {
      const behind = view.state.sliceDoc(to, to + rest.length) === rest ? rest.length : 0;
      answer.apply(view, completion, item, list, from, to + behind);
    },
    info: () => answer.info(item),
  };
}

/**
 * Always part of an editor, with or without a server: the library's timers go on for a moment when it
 * is taken out, and then look for what is there no longer.
 */
export const completion: Extension = autocompletion({ override: [source], maxRenderedOptions: 100 });
