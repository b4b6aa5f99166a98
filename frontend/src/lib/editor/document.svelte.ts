import type { Position, Range } from 'vscode-languageserver-protocol';
import type { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { OfflineStore } from '../collab/offline';
import { Provider, type Refusal } from '../collab/provider';
import { saveState, type SaveState } from '../collab/save-state';
import { baseName } from '../files/paths';
import { FileHistory } from '../history/history.svelte';
import { offsetOf } from '../languages/positions';
import { type BlameRun, CloseCode, type Converted, type Conversion, type TextFormat } from '../protocol';
import { fileUrl, request, send, urlPath, websocketUrl, workspaceUrl } from '../session/api';
import { session } from '../session/session.svelte';
import { theme } from '../shell/theme.svelte';
import { toasts } from '../shell/toasts.svelte';
import { languageOf } from './languages';
import { type CursorPlace, Editor } from './setup';
import { placeOf } from './shared-view';

const REFUSALS: Record<number, string> = {
  [CloseCode.signInAgain]: 'Your session has ended: sign in again.',
  [CloseCode.denied]: 'You may not open this file.',
  [CloseCode.gone]: 'This file no longer exists.',
  [CloseCode.tooLarge]: 'This file is too large to edit together.',
  [CloseCode.notText]: 'This file is not text that can be edited.',
};

const BLAME_TRIES = 3;

export type BlameState = { state: 'off' } | { state: 'loading' } | ({ state: 'shown' } & Editor['blame']);

function socketUrl(workspace: string, path: string): string {
  return websocketUrl(workspaceUrl(workspace, `/collab/${urlPath(path)}`));
}

/**
 * One open tab: a file, its document, and what the indicator says about it.
 *
 * The document is there only once the server (or, offline, this browser) has told its text; until
 * then `editor` is null and a skeleton shows.
 */
export class OpenDocument {
  path = $state('');
  editor = $state.raw<Editor | null>(null);
  refused = $state.raw<Refusal | null>(null);
  format = $state.raw<TextFormat | null>(null);
  cursor = $state.raw<CursorPlace>({ line: 1, column: 1, selected: 0 });
  people = $state(1);
  save = $state.raw<SaveState>({ state: 'saving', disk: 'clean', label: 'Opening…', detail: '' });
  /** Text of mine that the server never got and that a new epoch of the file lacks. */
  orphan = $state.raw<string | null>(null);
  /** What is shown beside the text: its versions, or nothing. */
  history = $state.raw<FileHistory | null>(null);
  /** Whether what a Markdown file looks like shows beside it. */
  previewed = $state(false);
  readonly isMarkdown = $derived(/\.(md|markdown)$/i.test(this.path));
  blame = $state.raw<BlameState>({ state: 'off' });
  /** The text as it was committed; null: it was not, or that is not known (yet). */
  committed = $state.raw<string | null>(null);
  /** Whether what was committed shows among the present text. */
  comparing = $state(false);
  readonly language = $derived(languageOf(this.path)?.name ?? 'Plain text');
  /** Told of a click on a comment, and of what the person does here by themselves. */
  onComment: (id: string) => void = () => undefined;
  onTouch: () => void = () => undefined;
  /** Told when others have moved. */
  onOthers: () => void = () => undefined;
  readonly provider: Provider;
  #awareness: Awareness | null = null;
  readonly #offline: OfflineStore;
  #closed = false;

  constructor(
    readonly workspace: string,
    path: string,
    /** Told by the server: the file moved. The owner of the tabs calls `relocate`. */
    moved: (document: OpenDocument, path: string) => void,
    /** There is an editor, or the one that there is shows another path. */
    private readonly edits: (document: OpenDocument) => void = () => undefined,
  ) {
    this.path = path;
    this.#offline = new OfflineStore(session.user?.id ?? '', workspace, path);
    this.provider = new Provider({
      url: socketUrl(workspace, path),
      offline: this.#offline,
      events: {
        changed: () => this.#refresh(),
        ready: (doc, awareness) => this.#show(doc, awareness),
        reset: () => this.#hide(),
        orphaned: (text) => {
          if (text !== this.text) this.orphan = text;
          else void this.#offline.dropOrphans();
        },
        moved: (to) => moved(this, to),
        notice: (detail) => toasts.info(`${this.path}: ${detail}`),
      },
    });
    void this.provider.start();
  }

  get text(): string {
    return this.provider.text.toString();
  }

  /** True for a file that is shown by other means than the editor. */
  get isPreview(): boolean {
    const code = this.refused?.code;
    return code === CloseCode.tooLarge || code === CloseCode.notText;
  }

  get refusal(): string {
    const { refused } = this;
    return refused ? refused.reason || REFUSALS[refused.code] || 'The server closed this file.' : '';
  }

  /**
   * How much of what was typed here a request was made after, and where in the text it points:
   * what `cloudide` holds in the parameters of a request to language servers.
   */
  stamp(params: unknown): Record<string, unknown> | null {
    const { editor, provider } = this;
    if (!editor || !provider.connected) return null;
    const { position, range } = params as { position?: Position; range?: Range };
    const anchor = (place: Position | undefined): string | undefined => {
      if (!place) return undefined;
      const offset = offsetOf(editor.view.state.doc, place);
      const bytes = Y.encodeRelativePosition(Y.createRelativePositionFromTypeIndex(provider.text, offset));
      return btoa(String.fromCharCode(...bytes));
    };
    const [start, end] = [anchor(position ?? range?.start), anchor(range?.end)];
    const typing = { client: provider.doc.clientID, updates: provider.sent };
    return { cloudide: { ...typing, ...(start ? { anchor: start } : {}), ...(end ? { end } : {}) } };
  }

  /** True while this person may edit the text that is shown. */
  get editable(): boolean {
    return this.editor !== null && !this.provider.readOnly && this.refused === null;
  }

  /** Puts the text that was never synced in place of the present one; undoable. */
  async restoreOrphan(): Promise<void> {
    if (this.orphan === null || !this.restore(this.orphan, 'Your unsynced text is back.')) return;
    await this.discardOrphan();
  }

  /** Puts a former text in place of the present one, as an edit of this person; says so. */
  restore(text: string, said: string): boolean {
    if (!this.editor || !this.editable) return false;
    const takeBack = this.editor.replaceText(text);
    toasts.info(said, {
      label: 'Undo',
      run: () => {
        if (!takeBack()) toasts.info('You have typed since then: undo step by step in the editor.');
      },
    });
    return true;
  }

  async discardOrphan(): Promise<void> {
    this.orphan = null;
    await this.#offline.dropOrphans();
  }

  /** The file is at another path: everything that is known of it here goes along. */
  relocate(path: string): void {
    if (path === this.path) return;
    this.path = path;
    this.provider.url = socketUrl(this.workspace, path);
    this.editor?.rename(path);
    this.edits(this);
    this.history?.relocate(path);
    void this.#offline.move(path).then(() => this.provider.offerOrphan());
  }

  /** True when the file went while nobody was in its room, but its text is still here. */
  get isGone(): boolean {
    return this.refused?.code === CloseCode.gone && this.editor !== null;
  }

  /** Writes a deleted file to the disk again. */
  async revive(): Promise<void> {
    try {
      if (this.isGone) await this.#makeAnew();
      else await request('POST', workspaceUrl(this.workspace, '/restore'), { path: this.path });
    } catch (error) {
      toasts.error(error, `“${baseName(this.path)}” was not restored`);
    }
  }

  /** Writes this text as a new file, in the old one's format, and goes on in that. */
  async #makeAnew(): Promise<void> {
    const { bom, eol } = this.format ?? { bom: false, eol: '\n' };
    const body = new TextEncoder().encode((bom ? '\ufeff' : '') + this.text.replaceAll('\n', eol));
    const headers = { 'If-None-Match': '*', 'Content-Type': 'application/octet-stream' };
    await send(fileUrl(this.workspace, this.path), { method: 'PUT', body, headers });
    this.provider.connect();
  }

  /** Makes a file of another encoding one that can be edited, and opens it. Raises ApiError. */
  async convert(choice: Omit<Conversion, 'path'>): Promise<Converted> {
    const body: Conversion = { path: this.path, ...choice };
    const made = await request<Converted>('POST', workspaceUrl(this.workspace, '/convert'), body);
    this.provider.connect();
    return made;
  }

  toggleHistory(open = this.history === null): void {
    this.history = open ? new FileHistory(this.workspace, this.path) : null;
  }

  toggleBlame(): void {
    if (this.blame.state === 'off') void this.showBlame();
    else this.hideBlame();
  }

  /** Asks who wrote which line and shows it beside the text. */
  async showBlame(): Promise<void> {
    if (this.blame.state === 'loading') return;
    this.blame = { state: 'loading' };
    try {
      const lines = await this.#askBlame();
      // It was switched off meanwhile, or the document is another.
      if (this.blame.state !== 'loading' || lines === null) return;
      this.editor?.showBlame({ lines });
      this.#tellBlame();
    } catch (error) {
      this.blame = { state: 'off' };
      toasts.error(error, 'Who wrote what is not known');
    }
  }

  /** What Git has of the file: lines that differ are marked. */
  setCommitted(text: string | null): void {
    this.committed = text;
    if (text === null) this.comparing = false;
    this.editor?.setCommitted(text, () => this.compare(true)).catch((error: unknown) => toasts.error(error, 'What has changed is not shown'));
    if (text !== null && this.comparing) this.compare(true);
  }

  /** Shows what was committed among the present text, or hides it; once that is known. */
  compare(on: boolean): void {
    this.comparing = on;
    if (this.committed === null) return;
    this.editor?.compare(on).catch((error: unknown) => toasts.error(error, 'What has changed is not shown'));
  }

  hideBlame(): void {
    this.editor?.showBlame(null);
    this.blame = { state: 'off' };
  }

  /** The answer that fits the text: asked again when somebody typed meanwhile, a few times. */
  async #askBlame(): Promise<BlameRun[] | null> {
    const url = workspaceUrl(this.workspace, `/blame?${new URLSearchParams({ path: this.path })}`);
    for (let tries = 1; ; tries += 1) {
      const before = this.editor?.view.state.doc;
      const { lines } = await request<{ lines: BlameRun[] }>('GET', url);
      const after = this.editor?.view.state.doc;
      if (before === undefined || after === undefined) return null;
      if (before.eq(after) || tries === BLAME_TRIES) return lines;
    }
  }

  #tellBlame(): void {
    if (this.editor) this.blame = { state: 'shown', ...this.editor.blame };
  }

  close(): void {
    this.#closed = true;
    this.#hide();
    this.provider.destroy();
  }

  #show(doc: Y.Doc, awareness: Awareness): void {
    if (this.#closed) return;
    this.#hide();
    this.editor = new Editor({
      path: this.path,
      text: doc.getText('content'),
      awareness,
      readOnly: this.provider.readOnly,
      dark: theme.dark,
      commented: (id) => this.onComment(id),
      touched: () => this.onTouch(),
      moved: (place) => {
        this.cursor = place;
        if (this.blame.state === 'shown') this.#tellBlame();
      },
    });
    this.#awareness = awareness;
    awareness.on('change', () => {
      this.#count(awareness);
      this.onOthers();
    });
    this.#count(awareness);
    this.edits(this);
  }

  /** Where somebody is in this text: what is on top of their page, else their cursor. */
  placeOfPerson(id: string): number | null {
    const awareness = this.#awareness;
    return awareness && this.editor ? placeOf(awareness, this.provider.text, id) : null;
  }

  #count(awareness: Awareness): void {
    const ids = new Set<unknown>();
    for (const [client, state] of awareness.getStates()) {
      if (client !== awareness.clientID) ids.add((state['user'] as { id?: unknown } | undefined)?.id ?? client);
    }
    this.people = ids.size + 1;
  }

  #hide(): void {
    this.editor?.destroy();
    this.editor = null;
    this.blame = { state: 'off' };
    this.committed = null;
  }

  #refresh(): void {
    if (this.#closed) return;
    const { provider } = this;
    this.refused = provider.refused;
    this.format = provider.format;
    // The server had it after all, only its acknowledgement was missing.
    if (this.orphan !== null && provider.synced && this.orphan === this.text) void this.discardOrphan();
    if (this.editor && this.editor.view.state.readOnly !== provider.readOnly) {
      this.editor.setReadOnly(provider.readOnly);
    }
    const next = saveState({
      connected: provider.connected,
      synced: provider.synced,
      readOnly: provider.readOnly,
      reason: provider.reason,
      unsynced: provider.unsynced,
      kept: provider.kept,
      disk: provider.disk,
      diskDetail: provider.diskDetail,
      refused: this.refusal,
    });
    const { save } = this;
    if (next.label !== save.label || next.state !== save.state || next.disk !== save.disk || next.detail !== save.detail) {
      this.save = next;
    }
  }
}
