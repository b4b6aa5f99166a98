/** The language servers of one workspace: which there are, what they find wrong, what they do. */
import type { LSPClientConfig } from '@codemirror/lsp-client';
import { hoverTooltips, LSPPlugin, signatureHelp } from '@codemirror/lsp-client';
import type { EditorView } from '@codemirror/view';
import type { Diagnostic as Reported, PublishDiagnosticsParams, Range } from 'vscode-languageserver-protocol';
import type { OpenDocument } from '../editor/document.svelte';
import type { Documents } from '../editor/documents.svelte';
import type { BlameRun, FilesEvent, LanguagesAnswer, LanguageServerInfo } from '../protocol';
import { fileUrl, messageOf, request, send, websocketUrl, workspaceUrl } from '../session/api';
import { toasts } from '../shell/toasts.svelte';
import { actionKeys, type Actions, actionsFacet, type Edited, type Place } from './actions';
import { choices } from './choices';
import { LanguageConnection } from './connection';
import { decorations, refreshLook } from './decorations';
import { diagnostics, mutedIn, onMuted, reportDiagnostics } from './diagnostics';
import { countOf, type Finding, findingOf } from './findings';
import { keyboardHover } from './hover';
import { sanitizeHTML } from './html';
import { offsetOf } from './positions';
import { look } from './look';
import { pathOf, uriOf } from './uris';

/** A list of places that somebody asked for. */
export interface Found {
  title: string;
  places: { path: string; range: Range; text: string }[];
}

const CONFIGURATION = 'cloudide.toml';
const OPEN_TIME = 15_000; // ms for a tab to show its text
const AUTHORS_PAUSE = 5000; // ms between two looks at who wrote a file
const LOOK_AGAIN = 30_000; // ms between two looks for a server that a file has not
const TEXTS = 30; // files that are read to show lines of a list of places
const NOBODY = new Set(['disk', '']); // as authors
const CAPABILITIES = {
  textDocument: {
    publishDiagnostics: { relatedInformation: true, tagSupport: { valueSet: [1, 2] }, codeDescriptionSupport: true },
    completion: {
      completionItem: { labelDetailsSupport: true, resolveSupport: { properties: ['documentation', 'detail', 'additionalTextEdits'] } },
      contextSupport: true,
    },
    codeAction: {
      codeActionLiteralSupport: { codeActionKind: { valueSet: ['', 'quickfix', 'refactor', 'source'] } },
      isPreferredSupport: true,
      disabledSupport: true,
      dataSupport: true,
    },
    documentSymbol: { hierarchicalDocumentSymbolSupport: true },
    inlayHint: {},
    semanticTokens: { requests: { full: true }, formats: ['relative'], tokenTypes: [], tokenModifiers: [] },
  },
  workspace: { inlayHint: { refreshSupport: true }, semanticTokens: { refreshSupport: true } },
  // Edits are made by the server: see its description of the protocol.
  experimental: { cloudide: { edits: true } },
};

export class Languages {
  servers = $state.raw<LanguageServerInfo[]>([]);
  problems = $state.raw<LanguagesAnswer['problems']>([]);
  /** A command that brings a server, by language, for languages that have none. */
  hints = $state.raw<LanguagesAnswer['hints']>({});
  /** Whether the list of servers has been told; why not, if it cannot be. */
  state = $state<'unknown' | 'loading' | 'shown' | 'failed'>('unknown');
  failure = $state('');
  /** What is wrong, by file. */
  findings = $state.raw<ReadonlyMap<string, readonly Finding[]>>(new Map());
  /** The places that were asked for last, beside what is wrong. */
  found = $state.raw<Found | null>(null);
  /** Who wrote the lines of a file, as far as that was asked. */
  authors = $state.raw<ReadonlyMap<string, readonly BlameRun[]>>(new Map());
  /** Languages whose servers are connected to this page, and those that are about to be. */
  connected = $state(0);
  connecting = $state(0);
  /** Shows the panel; set by the page. */
  reveal: () => void = () => undefined;
  readonly counts = $derived(new Map([...this.findings].map(([path, list]) => [path, countOf(list)])));
  readonly total = $derived(
    [...this.counts.values()].reduce((sum, { errors, warnings }) => ({ errors: sum.errors + errors, warnings: sum.warnings + warnings }), {
      errors: 0,
      warnings: 0,
    }),
  );
  #root = '';
  #extensions: Record<string, string> = {};
  readonly #connections = new Map<string, LanguageConnection>();
  readonly #asked = new Map<string, number>();
  #again: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(
    readonly workspace: string,
    private readonly documents: Documents,
  ) {
    documents.onEditor = (document) => this.attach(document);
  }

  /** Asks which servers there are, and connects what is open to them. */
  async load(): Promise<void> {
    if (this.state !== 'shown') this.state = 'loading';
    clearTimeout(this.#again);
    this.#again = undefined;
    try {
      const answer = await request<LanguagesAnswer>('GET', workspaceUrl(this.workspace, '/languages'));
      if (this.#closed) return;
      this.servers = answer.servers;
      this.problems = answer.problems;
      this.hints = answer.hints;
      this.#root = answer.root;
      this.#extensions = answer.extensions;
      this.state = 'shown';
      this.failure = '';
      for (const document of this.documents.list) this.attach(document);
    } catch (error) {
      if (this.#closed) return;
      this.failure = messageOf(error);
      if (this.state !== 'shown') this.state = 'failed';
    }
  }

  /** What files changed: another configuration may bring other servers. */
  files(event: FilesEvent): void {
    if (event.overflow || event.changes.some(({ path }) => path === CONFIGURATION)) void this.load();
  }

  /** The workspace has stopped: nobody answers, and nothing is known to be wrong. */
  rest(): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    for (const document of this.documents.list) document.editor?.setLanguages([]);
    this.findings = new Map();
    this.#reported.clear();
    this.servers = [];
    this.state = 'unknown';
    this.#count();
  }

  close(): void {
    this.#closed = true;
    this.rest();
  }

  reconnect(): void {
    for (const connection of this.#connections.values()) connection.connect();
  }

  /** The servers of a file, in the order in which they are asked. */
  serversOf(path: string): LanguageServerInfo[] {
    const language = this.languageOf(path);
    return this.servers.filter((server) => server.languages.includes(language));
  }

  /** LSP's name of a file's language. */
  languageOf(path: string): string {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const known = this.#extensions[name];
    if (known !== undefined) return known;
    for (let at = name.indexOf('.'); at !== -1; at = name.indexOf('.', at + 1)) {
      const language = this.#extensions[name.slice(at)];
      if (language !== undefined) return language;
    }
    return 'plaintext';
  }

  /** What would bring a server for a file that has none: the language and a command. */
  hintFor(path: string): { language: string; command: string } | null {
    const language = this.languageOf(path);
    const command = this.hints[language];
    return this.state === 'shown' && command ? { language, command } : null;
  }

  /** What would bring servers for the files that are open and have none. */
  get missing(): { language: string; name: string; command: string }[] {
    const hints = this.documents.list.flatMap(({ path, language: name }) => {
      const hint = this.hintFor(path);
      return hint ? [{ ...hint, name }] : [];
    });
    return hints.filter(({ language }, i) => hints.findIndex((each) => each.language === language) === i);
  }

  /** Servers that somebody needs, and that do not run. */
  get ended(): LanguageServerInfo[] {
    return this.servers.filter(({ state, clients }) => clients > 0 && (state === 'failed' || state === 'crashed'));
  }

  /** Gives an editor the servers of its file. */
  attach(document: OpenDocument): void {
    const { editor, path } = document;
    if (!editor || this.#closed) return;
    const connection = this.state === 'shown' ? this.#connectionFor(path) : null;
    if (!connection) {
      editor.setLanguages([]);
      // Somebody may install one; nothing tells of that.
      if (this.hintFor(path)) this.#again ??= setTimeout(() => void this.load(), LOOK_AGAIN);
      return;
    }
    const uri = uriOf(this.#root, path);
    const plugin = LSPPlugin.get(editor.view);
    if (plugin?.uri === uri && plugin.client === connection.client) return;
    editor.setLanguages([connection.client.plugin(uri, this.languageOf(path)), actionsFacet.of(this.#actions)]);
    this.#show(path);
  }

  /** Has a server started anew. */
  async restart(server: string): Promise<void> {
    await request('POST', workspaceUrl(this.workspace, `/languages/${encodeURIComponent(server)}/restart`));
    await this.load();
  }

  async logOf(server: string): Promise<string> {
    const url = workspaceUrl(this.workspace, `/languages/${encodeURIComponent(server)}/log`);
    return (await request<{ text: string }>('GET', url)).text;
  }

  /** Opens a file at a place. */
  async goTo(path: string, range: Range): Promise<void> {
    const view = await this.#open(path);
    if (!view) return;
    const anchor = offsetOf(view.state.doc, range.start);
    view.dispatch({ selection: { anchor }, scrollIntoView: true, userEvent: 'select.definition' });
    view.focus();
  }

  /** The connections that have answered, each with the name of one of its languages. */
  get ready(): LanguageConnection[] {
    return [...this.#connections.values()].filter((connection) => connection.ready);
  }

  pathOf(uri: string): string | null {
    return pathOf(this.#root, uri);
  }

  uriOf(path: string): string {
    return uriOf(this.#root, path);
  }

  /** The connection that a file's editor uses. */
  connectionOf(path: string): LanguageConnection | null {
    return this.#connections.get(this.#keyOf(path)) ?? null;
  }

  /** Asks who wrote a file, unless that is known well enough. */
  async learnAuthors(path: string): Promise<void> {
    const now = Date.now();
    if (now - (this.#asked.get(path) ?? 0) < AUTHORS_PAUSE) return;
    this.#asked.set(path, now);
    const url = workspaceUrl(this.workspace, `/blame?${new URLSearchParams({ path })}`);
    try {
      const { lines } = await request<{ lines: BlameRun[] }>('GET', url);
      this.authors = new Map(this.authors).set(path, lines);
    } catch {
      // Nobody has edited it here, or it is not a text: then nobody is named.
      this.#asked.set(path, Infinity);
    }
  }

  /** Who wrote the line that something is wrong in, where that is known. */
  authorOf({ path, range }: Finding): BlameRun | null {
    const line = range.start.line + 1;
    const run = this.authors.get(path)?.find((each) => each.from <= line && line <= each.to);
    // What was in the file when it was opened here, or came by a program, nobody in particular wrote.
    return run && !NOBODY.has(run.author.id) ? run : null;
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────

  /** Files with the same servers share a connection. */
  #keyOf(path: string): string {
    return this.serversOf(path)
      .map((server) => server.id)
      .join(' ');
  }

  #connectionFor(path: string): LanguageConnection | null {
    const key = this.#keyOf(path);
    if (key === '') return null;
    const known = this.#connections.get(key);
    if (known) return known;
    const language = encodeURIComponent(this.languageOf(path));
    const connection = new LanguageConnection({
      url: websocketUrl(workspaceUrl(this.workspace, `/lsp/${language}`)),
      rootUri: this.#root,
      extensions: this.#extensionsOf(),
      sanitizeHTML,
      stamp: (uri, params) => this.#stamp(uri, params),
      show: async (uri) => {
        const at = pathOf(this.#root, uri);
        return at === null ? null : this.#open(at);
      },
      refresh: () => this.#refreshLook(connection),
      changed: () => this.#changed(connection),
      unused: () => this.#drop(key),
    });
    this.#connections.set(key, connection);
    this.#count();
    return connection;
  }

  /** Nobody asks these servers any more, and so nothing is known to be wrong there. */
  #drop(key: string): void {
    this.#connections.delete(key);
    this.findings = new Map([...this.findings].filter(([path]) => this.#keyOf(path) !== key));
    for (const path of this.#reported.keys()) if (this.#keyOf(path) === key) this.#reported.delete(path);
    this.#count();
  }

  #extensionsOf(): NonNullable<LSPClientConfig['extensions']> {
    return [
      [hoverTooltips(), keyboardHover, signatureHelp(), diagnostics, decorations, choices, actionKeys, look, onMuted.of((view) => this.#muted(view))],
      {
        clientCapabilities: CAPABILITIES,
        notificationHandlers: {
          'textDocument/publishDiagnostics': (_client, params: PublishDiagnosticsParams) => this.#told(params),
          'cloudide/edited': (_client, edit: Edited) => {
            this.edited(edit.label || 'Changed', edit);
            return true;
          },
          'window/logMessage': () => true, // it is in the server's log
          'window/showMessage': (_client, { type, message }: { type: number; message: string }) => {
            if (type <= 2) toasts.error(message);
            else if (type === 3) toasts.info(message);
            return true;
          },
        },
      },
    ];
  }

  #changed(connection: LanguageConnection): void {
    this.#count();
    if (connection.ready) this.#refreshLook(connection);
    if (connection.refused) toasts.error(connection.refused);
  }

  #refreshLook({ client }: LanguageConnection): void {
    for (const { editor } of this.documents.list) {
      if (editor && LSPPlugin.get(editor.view)?.client === client) editor.view.dispatch({ effects: refreshLook.of(null) });
    }
  }

  #count(): void {
    const all = [...this.#connections.values()];
    this.connected = all.filter((connection) => connection.ready).length;
    this.connecting = all.filter((connection) => !connection.ready && !connection.refused).length;
  }

  #stamp(uri: string, params: unknown): Record<string, unknown> | null {
    const path = pathOf(this.#root, uri);
    const document = path === null ? undefined : this.documents.get(path);
    return document?.stamp(params) ?? null;
  }

  // ── what the servers tell ───────────────────────────────────────────────────────────────────

  #told({ uri, diagnostics: list }: PublishDiagnosticsParams): boolean {
    const path = pathOf(this.#root, uri);
    if (path === null) return true;
    this.#reported.set(path, list);
    this.#show(path);
    this.#find(path);
    return true;
  }

  /** Has the panel and the counts show what the editor shows: of lines that a partner types in, nothing for now. */
  #find(path: string): void {
    const view = this.documents.get(path)?.editor?.view;
    const muted = view ? mutedIn(view) : new Set();
    const list = (this.#reported.get(path) ?? []).filter((each) => !muted.has(each));
    if (list.length === 0 && !this.findings.has(path)) return;
    const findings = new Map(this.findings);
    if (list.length === 0) findings.delete(path);
    else findings.set(path, list.map((each) => findingOf(path, each)));
    this.findings = findings;
  }

  /** In an editor other problems than before are held back. */
  #muted(view: EditorView): void {
    const path = this.documents.list.find(({ editor }) => editor?.view === view)?.path;
    if (path !== undefined) this.#find(path);
  }

  readonly #reported = new Map<string, readonly Reported[]>();

  #show(path: string): void {
    const view = this.documents.get(path)?.editor?.view;
    const list = this.#reported.get(path);
    if (view && list) reportDiagnostics(view, list);
  }

  // ── actions ─────────────────────────────────────────────────────────────────────────────────

  readonly #actions: Actions = {
    go: async ({ uri, range }) => {
      const path = pathOf(this.#root, uri);
      if (path === null) return false;
      await this.goTo(path, range);
      return true;
    },
    list: (title, places) => void this.#list(title, places),
    edited: (what, answer) => this.edited(what, answer),
    tell: (message) => toasts.info(message),
    failed: (what, error) => toasts.error((error as { message?: string }).message ?? String(error), what),
  };

  async #list(title: string, places: readonly Place[]): Promise<void> {
    const inside = places.flatMap(({ uri, range }) => {
      const path = pathOf(this.#root, uri);
      return path === null ? [] : [{ path, range }];
    });
    const paths = [...new Set(inside.map(({ path }) => path))];
    const texts = new Map<string, string[]>();
    await Promise.all(
      paths.slice(0, TEXTS).map(async (path) => {
        texts.set(path, (await this.#textOf(path)).split('\n'));
      }),
    );
    this.found = {
      title,
      places: inside.map((place) => ({ ...place, text: texts.get(place.path)?.[place.range.start.line]?.trim() ?? '' })),
    };
    this.reveal();
  }

  async #textOf(path: string): Promise<string> {
    const open = this.documents.get(path);
    if (open?.editor) return open.text;
    return send(fileUrl(this.workspace, path)).then((response) => response.text(), () => '');
  }

  /** Tells what an edit of the server did, and lets it be undone as one step. */
  edited(what: string, edit: Edited | null): void {
    if (!edit) {
      toasts.info('There was nothing to change.');
      return;
    }
    const undo = (): void => {
      toasts.dismiss(toast);
      void this.#undo(edit.id);
    };
    for (const path of edit.files) this.documents.get(path)?.editor?.made(edit.id, undo);
    const files = edit.files.length;
    const told = files === 1 ? `${what}.` : `${what} in ${files} files.`;
    const toast = toasts.info(told, { label: 'Undo', run: undo });
  }

  async #undo(edit: string): Promise<void> {
    for (const { editor } of this.documents.list) editor?.unmade(edit);
    try {
      await request('POST', workspaceUrl(this.workspace, `/edits/${encodeURIComponent(edit)}/undo`));
    } catch (error) {
      toasts.error(error, 'Not undone');
    }
  }

  async #open(path: string): Promise<EditorView | null> {
    const document = this.documents.open(path, true);
    const end = Date.now() + OPEN_TIME;
    while (!document.editor && !document.refused && Date.now() < end) await new Promise((next) => setTimeout(next, 40));
    return document.editor?.view ?? null;
  }
}
