import type { OpenDocument } from '../editor/document.svelte';
import { Documents } from '../editor/documents.svelte';
import type { Editor } from '../editor/setup';
import { FileIndex } from '../files/index.svelte';
import { FileTree } from '../files/tree.svelte';
import { Uploads } from '../files/uploads.svelte';
import { Repository } from '../git/repository.svelte';
import { CatchUp } from '../together/catch-up.svelte';
import { Chat } from '../together/chat.svelte';
import { Comments, rangeOf, type Thread } from '../together/comments.svelte';
import { Following } from '../together/following.svelte';
import { live, type PageEvent } from '../live/events.svelte';
import { Languages } from '../languages/languages.svelte';
import {
  type ChangedFile,
  CloseCode,
  type JoinRequest,
  type Person,
  type PortInfo,
  type TerminalInfo,
  type Workspace,
} from '../protocol';
import { Ports } from '../ports/ports.svelte';
import { Resources } from '../resources/resources.svelte';
import { Search } from '../search/search.svelte';
import { Services } from '../services/services.svelte';
import { ApiError, isPassing, messageOf, request, workspaceUrl } from '../session/api';
import { session } from '../session/session.svelte';
import { remember, remembered } from '../shell/stored';
import { toasts } from '../shell/toasts.svelte';
import { Tasks } from '../tasks/tasks.svelte';
import { Terminals } from '../terminal/terminals.svelte';
import { Progress } from '../workspaces/creation.svelte';
import { act, type WorkspaceAction } from '../workspaces/workspaces.svelte';

const GONE = 'You are no longer a member of this workspace, or it was deleted.';

/** One workspace that is open in this page: its state, people, files, tabs and terminals. */
export class OpenWorkspace {
  workspace = $state.raw<Workspace | null>(null);
  people = $state.raw<Person[]>([]);
  /** Who asks to be let in; only told to those who may. */
  requests = $state.raw<JoinRequest[]>([]);
  /** Why the workspace cannot be shown at all. */
  refused = $state('');
  acting = $state(false);
  readonly tree: FileTree;
  readonly index: FileIndex;
  readonly chat: Chat;
  readonly comments: Comments;
  readonly following: Following;
  readonly news: CatchUp;
  /** What shows of what people say. */
  talk = $state<'chat' | 'comments' | 'news'>('chat');
  /** Shows what people say; set by the page. */
  revealTalk: () => void = () => undefined;
  readonly git: Repository;
  readonly uploads: Uploads;
  readonly search: Search;
  readonly documents: Documents;
  readonly terminals: Terminals;
  readonly tasks: Tasks;
  readonly ports: Ports;
  readonly resources: Resources;
  readonly services: Services;
  readonly languages: Languages;
  /** When it stops because nobody uses it, once that is near. */
  stopsAt = $state<string | null>(null);
  /** Somebody wants to see how it was set up. */
  setupShown = $state(false);
  readonly progress = new Progress();
  /** What is known of the workspace is what was remembered. */
  #stale = false;
  /** What each editor was told of: a commit and a path. */
  readonly #committed = new WeakMap<Editor, string>();
  readonly running = $derived(this.workspace?.state === 'running');
  readonly writable = $derived(this.refused === '' && this.workspace !== null && this.workspace.role !== 'viewer');
  /** May run programs: type in terminals, start tasks, open ports. */
  readonly runnable = $derived(this.writable && this.workspace?.role !== 'editor');

  constructor(readonly id: string) {
    this.tree = new FileTree(id);
    this.index = new FileIndex(id);
    this.git = new Repository(id);
    this.uploads = new Uploads(id);
    this.search = new Search(id);
    this.documents = new Documents(id);
    this.terminals = new Terminals(id);
    this.tasks = new Tasks(id);
    this.ports = new Ports(id);
    this.resources = new Resources(id);
    this.services = new Services(id);
    this.languages = new Languages(id, this.documents);
    this.chat = new Chat(id);
    this.comments = new Comments(id);
    this.news = new CatchUp(id);
    this.following = new Following(this.documents);
    this.documents.onTouch = () => this.following.stop();
    this.documents.onOthers = (document) => document === this.documents.active && this.following.look();
    this.documents.onComment = (thread) => {
      this.comments.chosen = thread;
      this.talk = 'comments';
      this.revealTalk();
    };
  }

  /** Loads and follows the workspace until the answer is called. */
  open(): () => void {
    const forget = live.listen((event) => this.#take(event));
    const unwatch = live.watch(this.id);
    const leave = this.news.watch((said) => {
      const run = (): void => {
        this.talk = 'news';
        this.revealTalk();
      };
      toasts.info(`While you were away: ${said}`, { label: 'Catch up', run });
    });
    const online = (): void => this.documents.reconnect();
    window.addEventListener('online', online);
    void this.load();
    void this.chat.load();
    void this.comments.load();
    this.documents.restore();
    return () => {
      window.removeEventListener('online', online);
      forget();
      unwatch();
      leave();
      this.tree.close();
      this.search.cancel();
      this.languages.close();
      this.documents.closeAll();
      this.terminals.closeAll();
    };
  }

  async load(): Promise<void> {
    try {
      this.#adopt(await request<Workspace>('GET', workspaceUrl(this.id)));
    } catch (error) {
      const final = error instanceof ApiError && [403, 404].includes(error.status);
      if (final) this.refused = this.workspace ? GONE : messageOf(error);
      else if (this.workspace === null && !this.#remembered(error)) this.refused = messageOf(error);
    }
  }

  /** Without a connection, the workspace as it was when this browser last saw it. */
  #remembered(error: unknown): boolean {
    const last = isPassing(error) ? remembered<Workspace | null>(this.#key, null) : null;
    if (last === null) return false;
    this.workspace = last;
    this.#stale = true;
    return true;
  }

  get #key(): string {
    return `workspace.${session.user?.id ?? ''}.${this.id}`;
  }

  async act(action: WorkspaceAction): Promise<void> {
    this.acting = true;
    this.progress.clear();
    try {
      this.#adopt(await act(this.id, action));
    } catch (error) {
      toasts.error(error);
    } finally {
      this.acting = false;
    }
  }

  /** Everything that gave up waiting tries again now. */
  reconnect(): void {
    live.connect();
    this.documents.reconnect();
    this.terminals.reconnect();
    this.languages.reconnect();
  }

  #take(event: PageEvent): void {
    this.progress.take(event, this.id);
    this.chat.take(event);
    this.comments.take(event);
    switch (event.type) {
      case 'workspace':
        if (event.workspace.id === this.id) this.#adopt(event.workspace);
        return;
      case 'notice':
        if (event.workspace === this.id) toasts.error(new Error(event.message));
        return;
      case 'presence':
        if (event.workspace !== this.id) return;
        this.people = event.people;
        this.following.take(event.people);
        return;
      case 'git_branch':
        if (event.workspace === this.id && event.person.id !== session.user?.id) toasts.info(`${event.person.name} went to the branch ${event.branch}, with everybody.`);
        return;
      case 'gather':
        if (event.workspace === this.id) this.#gather(event.by);
        return;
      case 'requests':
        if (event.workspace === this.id) this.requests = event.requests;
        return;
      case 'files':
        if (event.workspace !== this.id) return;
        this.tree.take(event);
        this.index.take(event);
        if (this.running) {
          this.tasks.files(event);
          this.languages.files(event);
        }
        return;
      case 'tasks':
        if (event.workspace === this.id) this.tasks.take(event.runs);
        return;
      case 'ports':
        if (event.workspace === this.id) this.#takePorts(event.ports);
        return;
      case 'services':
        if (event.workspace === this.id) this.services.take(event);
        return;
      case 'languages':
        if (event.workspace === this.id && this.running) void this.languages.load();
        return;
      case 'task_ready':
        if (event.workspace === this.id) this.#preview(event.task, event.port);
        return;
      case 'activity':
        if (event.workspace === this.id) this.stopsAt = event.stops_at;
        return;
      case 'reconnected':
        if (this.running) {
          void this.tasks.load();
          void this.languages.load();
        }
        return;
      case 'terminals':
        if (event.workspace === this.id) this.#takeTerminals(event.terminals);
        return;
      case 'error':
        // Often the end: the workspace was deleted, or this person may no longer enter it.
        if (event.workspace === this.id) void this.load();
        return;
    }
  }

  /** Somebody is there: the time without use begins anew. */
  async keepRunning(): Promise<void> {
    try {
      await request('POST', workspaceUrl(this.id, '/activity'));
    } catch (error) {
      toasts.error(error, 'Not kept running');
    }
  }

  /** Somebody would like to be followed. */
  #gather(by: string): void {
    const person = this.people.find(({ id }) => id === by);
    if (!person || by === session.user?.id || this.following.person === by) return;
    toasts.info(`${person.name} asks you to follow.`, { label: 'Follow', run: () => this.following.start(person) });
  }

  /** Opens the file that a comment is in, at its words. */
  showComment({ place }: Thread): void {
    const document = this.documents.open(place.path, true);
    const range = document.editor ? rangeOf(place, document.provider.text) : null;
    const doc = document.editor?.view.state.doc;
    const line = range && doc ? doc.lineAt(Math.min(range.from, doc.length)).number : place.line;
    if (document.editor) document.editor.goTo(line);
    else void this.languages.goTo(place.path, { start: { line: line - 1, character: 0 }, end: { line: line - 1, character: 0 } });
  }

  /** Opens a file compared with what it was before others changed it; one without a past, as it is. */
  showChanges({ path, before, authors }: ChangedFile): void {
    const document = this.documents.open(path, true);
    if (before === null) return;
    document.toggleHistory(true);
    const summary = { version: before, time: authors[0]?.last ?? '', authors: [], inserted: 0, deleted: 0 };
    void document.history?.choose(summary);
  }

  /** Tells the editors that show what was committed of their files. */
  markChanges(): void {
    const commit = this.git.status?.commit ?? '';
    for (const group of this.documents.groups) {
      const document = group.active;
      if (document?.editor) void this.#markChanges(document, commit);
    }
  }

  async #markChanges(document: OpenDocument, commit: string): Promise<void> {
    const { path, editor } = document;
    const of = `${commit} ${path}`;
    if (editor === null || this.#committed.get(editor) === of) return;
    this.#committed.set(editor, of);
    try {
      const text = commit ? await this.git.committed(path) : null;
      if (document.editor === editor && this.#committed.get(editor) === of) document.setCommitted(text);
    } catch {
      // Marks are a comfort: the next look at the repository tries again.
      this.#committed.delete(editor);
    }
  }

  /** Opens a file with what was committed among the present text. */
  compare(path: string): void {
    const document = this.documents.open(path, true);
    document.compare(true);
  }

  /** Marks what comments are on in the editors that show their files. */
  markComments(): void {
    for (const { editor, path, provider } of this.documents.list) {
      if (!editor) continue;
      editor.setComments(
        this.comments.of(path).flatMap(({ id, place, replies }) => {
          const range = rangeOf(place, provider.text);
          const [first] = replies;
          return range ? [{ id, ...range, said: first ? `${first.name}: ${first.text.slice(0, 200)}` : '' }] : [];
        }),
      );
    }
  }

  /** A task serves something: who started it in this page sees it, if the browser lets it open. */
  #preview(task: string, port: number): void {
    const url = workspaceUrl(this.id, `/ports/${port}/open`);
    if (this.tasks.isMine(task) && window.open(url, '_blank') !== null) return;
    toasts.info(`${task} is ready on port ${port}.`, { label: 'Open preview', run: () => window.open(url, '_blank') });
  }

  /** What a program opens is offered to those who may see it; what a task opens it tells itself. */
  #takePorts(list: PortInfo[]): void {
    const opened = this.ports
      .take(list)
      .filter((port) => port.url && (this.runnable || port.visibility !== 'private') && !this.tasks.serves(port.port))
      .filter((port) => port.on_open !== 'ignore')
      // What the project wants opened is; a browser that does not let us is told of it instead.
      .filter((port) => !(port.on_open === 'preview' && this.runnable && window.open(this.ports.entrance(port.port), '_blank')));
    const [first] = opened;
    if (!first) return;
    if (opened.length > 1) toasts.info(`Ports ${opened.map((port) => port.port).join(', ')} opened.`);
    else {
      const run = (): void => void window.open(this.ports.entrance(first.port), '_blank', 'noreferrer');
      toasts.info(`${first.label ? `${first.label} (port ${first.port})` : `Port ${first.port}`} opened.`, { label: 'Open preview', run });
    }
  }

  #takeTerminals(list: TerminalInfo[]): void {
    const state = this.workspace?.state;
    this.terminals.take(list, state === 'running' || state === 'stopped');
  }

  async #listTerminals(): Promise<void> {
    try {
      const url = workspaceUrl(this.id, '/terminals');
      this.#takeTerminals((await request<{ terminals: TerminalInfo[] }>('GET', url)).terminals);
    } catch (error) {
      toasts.error(error, 'The terminals could not be listed');
    }
  }

  #adopt(workspace: Workspace): void {
    const before = this.#stale ? null : this.workspace;
    if (this.#stale) this.documents.reconnect();
    this.#stale = false;
    this.workspace = workspace;
    remember(this.#key, workspace);
    this.refused = '';
    if (workspace.state !== 'running') {
      this.stopsAt = null;
      this.languages.rest();
    }
    if (workspace.state === 'running' && before?.state !== 'running') {
      void this.tree.reload();
      void this.tasks.load();
      void this.languages.load();
      if (before) {
        this.progress.clear();
        this.documents.reconnect();
        this.terminals.reconnect();
        void this.#listTerminals();
      }
    } else if (before === null && workspace.state !== 'running') {
      this.tree.error = '';
    }
  }

  /** The page may no longer watch: signed out, or no longer a member. */
  get cutOff(): string {
    const code = live.refused?.code;
    if (this.workspace !== null && this.refused) return this.refused;
    if (code === CloseCode.signInAgain) return 'Your session has ended. Sign in again to carry on.';
    if (code === CloseCode.denied) return live.refused?.reason || 'You are no longer a member of this workspace.';
    return '';
  }
}
