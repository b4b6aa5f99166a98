/**
 * The connection of this page to the servers of one language, and the documents it has open there.
 *
 * It is LSP over a websocket, one message a frame, and comes back by itself. The server feeds the
 * documents from the rooms: what is opened here says only that somebody looks, without a text, and
 * no change is ever sent. A request that names a place says instead how much of this page's own
 * typing it was made after (`stamp`), and the server waits for that much.
 */
import { LSPClient, type LSPClientConfig, LSPPlugin, type Transport, Workspace, type WorkspaceFile } from '@codemirror/lsp-client';
import type { ChangeSet, Text } from '@codemirror/state';
import type { EditorView } from '@codemirror/view';
import { Backoff } from '../live/backoff';
import { isFinal } from '../protocol';

const UNUSED = 60_000; // ms without a file after which the connection is over
const TIMEOUT = 45_000; // ms; the server has limits of its own, which are shorter

const REFRESH = /"method":\s*"workspace\/(?:inlayHint|semanticTokens|codeLens|diagnostic|foldingRange|inlineValue)\/refresh"/;

/** What the owner of a connection knows and does. */
export interface ConnectionOptions {
  url: string;
  rootUri: string;
  extensions: NonNullable<LSPClientConfig['extensions']>;
  sanitizeHTML: (html: string) => string;
  /** What a request about a document carries beside LSP's own parameters. */
  stamp: (uri: string, params: unknown) => Record<string, unknown> | null;
  /** Opens a tab and answers its editor, or null when there is none to open. */
  show: (uri: string) => Promise<EditorView | null>;
  /** Hints and colours are to be asked for anew. */
  refresh: () => void;
  changed: (connection: LanguageConnection) => void;
  /** No file has been open for a while; the connection is closed. */
  unused: (connection: LanguageConnection) => void;
  connect?: (url: string) => WebSocket;
  backoff?: Backoff;
}

/** The connection is not there, or went while a request was under way. */
export class Disconnected extends Error {
  constructor() {
    super('The language server is not connected.');
  }
}

interface OpenFile extends WorkspaceFile {
  views: EditorView[];
}

/** The files that editors of this page show. */
class Editors extends Workspace {
  override files: OpenFile[] = [];

  constructor(
    client: LSPClient,
    private readonly show: ConnectionOptions['show'],
    /** Told whether there are files. */
    private readonly used: (used: boolean) => void,
  ) {
    super(client);
  }

  /** Nothing is sent: this only keeps what positions in answers are mapped by. */
  override syncFiles(): { file: WorkspaceFile; prevDoc: Text; changes: ChangeSet }[] {
    const updates: { file: WorkspaceFile; prevDoc: Text; changes: ChangeSet }[] = [];
    for (const file of this.files) {
      const view = file.getView();
      const plugin = view && LSPPlugin.get(view);
      if (!view || !plugin || plugin.unsyncedChanges.empty) continue;
      updates.push({ file, prevDoc: file.doc, changes: plugin.unsyncedChanges });
      file.doc = view.state.doc;
      file.version += 1;
      plugin.clear();
    }
    return updates;
  }

  override openFile(uri: string, languageId: string, view: EditorView): void {
    const open = this.files.find((file) => file.uri === uri);
    if (open) {
      open.views.push(view);
      return;
    }
    const views = [view];
    const file = { uri, languageId, version: 0, doc: view.state.doc, views, getView: () => views[0] ?? null };
    this.files.push(file);
    this.used(true);
    this.client.didOpen(file);
  }

  override closeFile(uri: string, view: EditorView): void {
    const file = this.files.find((each) => each.uri === uri);
    if (!file) return;
    file.views.splice(file.views.indexOf(view) >>> 0, 1);
    if (file.views.length > 0) return;
    this.files = this.files.filter((each) => each !== file);
    this.used(this.files.length > 0);
    this.client.didClose(uri);
  }

  override displayFile(uri: string): Promise<EditorView | null> {
    return this.show(uri);
  }
}

class Client extends LSPClient {
  /** Set from the moment on at which messages may be sent, until the socket is lost. */
  lost: { promise: Promise<never>; reject: (reason: Error) => void } | null = null;
  stamp: ConnectionOptions['stamp'] = () => null;

  override request<Params, Result>(method: string, params: Params): Promise<Result> {
    if (this.lost === null) return Promise.reject(new Disconnected());
    const uri = (params as { textDocument?: { uri?: string } } | null)?.textDocument?.uri;
    const stamp = uri === undefined ? null : this.stamp(uri, params);
    // Not a copy: a request is cancelled by the object that it was made with.
    if (stamp) Object.assign(params as object, stamp);
    const answer = Promise.race([super.request<Params, Result>(method, params), this.lost.promise]);
    // Nobody asked for a signature: it comes with what is typed, and whoever asks for it in the
    // editor takes no failure (a text that has changed, a server that is slow).
    if (method === 'textDocument/signatureHelp') return answer.catch(() => null as Result);
    return answer;
  }

  override notification<Params>(method: string, params: Params): void {
    if (this.lost === null || method === 'textDocument/didChange') return;
    super.notification(method, params);
  }

  override didOpen({ uri, languageId, version }: WorkspaceFile): void {
    this.notification('textDocument/didOpen', { textDocument: { uri, languageId, version, text: '' } });
  }
}

export class LanguageConnection {
  readonly client: LSPClient;
  /** Whether the servers have answered `initialize`. */
  ready = false;
  /** Why the server will not have this page, once it said so. */
  refused = '';
  readonly #client: Client;
  readonly #backoff: Backoff;
  #socket: WebSocket | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #unused: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: ConnectionOptions) {
    this.#backoff = options.backoff ?? new Backoff();
    this.#client = new Client({
      rootUri: options.rootUri,
      timeout: TIMEOUT,
      sanitizeHTML: options.sanitizeHTML,
      extensions: options.extensions,
      workspace: (client) => new Editors(client, options.show, (used) => this.#used(used)),
    });
    this.#client.stamp = options.stamp;
    this.client = this.#client;
    this.connect();
  }

  /** Connects now unless connected. */
  connect(): void {
    clearTimeout(this.#retry);
    if (this.#socket || this.#closed) return;
    this.refused = '';
    const socket = (this.options.connect ?? ((url) => new WebSocket(url)))(this.options.url);
    this.#socket = socket;
    const handlers = new Set<(message: string) => void>();
    const transport: Transport = {
      send: (message) => {
        if (socket.readyState !== 1) throw new Disconnected();
        socket.send(message);
      },
      subscribe: (handler) => void handlers.add(handler),
      unsubscribe: (handler) => void handlers.delete(handler),
    };
    socket.onopen = () => this.#opened(transport);
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (typeof event.data !== 'string' || this.#isRefresh(event.data, transport)) return;
      for (const handler of handlers) handler(event.data);
    };
    socket.onclose = (event) => this.#dropped(socket, event.code, event.reason);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#unused);
    const socket = this.#socket;
    if (socket) this.#dropped(socket, 1000, '');
    socket?.close(1000);
  }

  /** An editor that is there only keeps servers at work for nobody. */
  #used(used: boolean): void {
    clearTimeout(this.#unused);
    if (used || this.#closed) return;
    this.#unused = setTimeout(() => {
      this.close();
      this.options.unused(this);
    }, UNUSED);
  }

  /** Answers the questions of servers that the library knows nothing of. */
  #isRefresh(message: string, transport: Transport): boolean {
    if (message.length > 300 || !REFRESH.test(message)) return false;
    const { id } = JSON.parse(message) as { id?: unknown };
    if (id !== undefined) transport.send(JSON.stringify({ jsonrpc: '2.0', id, result: null }));
    this.options.refresh();
    return true;
  }

  #opened(transport: Transport): void {
    let reject: (reason: Error) => void = () => undefined;
    const promise = new Promise<never>((_resolve, no) => (reject = no));
    promise.catch(() => undefined); // often nobody waits
    this.#client.lost = { promise, reject };
    this.#client.connect(transport);
    const { lost } = this.#client;
    this.#client.initializing.then(
      () => {
        if (this.#client.lost !== lost) return;
        this.ready = true;
        this.#backoff.reset();
        this.options.changed(this);
      },
      // No answer to `initialize`: another try.
      () => this.#client.lost === lost && this.#socket?.close(),
    );
  }

  #dropped(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    this.ready = false;
    if (this.#client.lost) {
      const { lost } = this.#client;
      this.#client.lost = null;
      // What waits for the answer to `initialize` waits for the next one.
      this.#client.disconnect();
      lost.reject(new Disconnected());
    }
    if (isFinal(code)) this.refused = reason || 'The server refused the connection.';
    else if (!this.#closed) this.#retry = setTimeout(() => this.connect(), this.#backoff.next());
    this.options.changed(this);
  }
}
