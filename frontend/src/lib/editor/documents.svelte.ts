import type { Awareness } from 'y-protocols/awareness';
import type * as Y from 'yjs';
import { OfflineStore } from '../collab/offline';
import { Provider, type Refusal } from '../collab/provider';
import { saveState, type SaveState } from '../collab/save-state';
import { isWithin, join } from '../files/paths';
import { CloseCode, type TextFormat } from '../protocol';
import { urlPath, websocketUrl, workspaceUrl } from '../session/api';
import { remember, remembered } from '../shell/stored';
import { theme } from '../shell/theme.svelte';
import { toasts } from '../shell/toasts.svelte';
import { languageOf } from './languages';
import { type CursorPlace, Editor } from './setup';

const REFUSALS: Record<number, string> = {
  [CloseCode.signInAgain]: 'Your session has ended: sign in again.',
  [CloseCode.denied]: 'You may not open this file.',
  [CloseCode.gone]: 'This file no longer exists.',
  [CloseCode.tooLarge]: 'This file is too large to edit together.',
  [CloseCode.notText]: 'This file is not text that can be edited.',
};

/**
 * One open tab: a file, its document, and what the indicator says about it.
 *
 * The document is there only once the server (or, offline, this browser) has told its text; until
 * then `editor` is null and a skeleton shows.
 */
export class OpenDocument {
  editor = $state.raw<Editor | null>(null);
  refused = $state.raw<Refusal | null>(null);
  format = $state.raw<TextFormat | null>(null);
  cursor = $state.raw<CursorPlace>({ line: 1, column: 1, selected: 0 });
  people = $state(1);
  save = $state.raw<SaveState>({ state: 'saving', disk: 'clean', label: 'Opening…', detail: '' });
  /** Text of mine that the server never got and that a new epoch of the file lacks. */
  orphan = $state.raw<string | null>(null);
  readonly language: string;
  readonly provider: Provider;
  readonly #offline: OfflineStore;
  #closed = false;

  constructor(
    readonly workspace: string,
    readonly path: string,
  ) {
    this.language = languageOf(path)?.name ?? 'Plain text';
    this.#offline = new OfflineStore(workspace, path);
    this.provider = new Provider({
      url: websocketUrl(workspaceUrl(workspace, `/collab/${urlPath(path)}`)),
      offline: this.#offline,
      events: {
        changed: () => this.#refresh(),
        ready: (doc, awareness) => this.#show(doc, awareness),
        reset: () => this.#hide(),
        orphaned: (text) => {
          if (text !== this.text) this.orphan = text;
          else void this.#offline.dropOrphans();
        },
        notice: (detail) => toasts.info(`${path}: ${detail}`),
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

  /** Puts the text that was never synced in place of the present one; undoable. */
  async restoreOrphan(): Promise<void> {
    const { editor, orphan } = this;
    if (!editor || orphan === null) return;
    const now = editor.view.state.doc.toString();
    let from = 0;
    const shorter = Math.min(now.length, orphan.length);
    while (from < shorter && now[from] === orphan[from]) from += 1;
    let end = 0;
    while (end < shorter - from && now.at(-1 - end) === orphan.at(-1 - end)) end += 1;
    editor.undo.stopCapturing();
    editor.view.dispatch({
      changes: { from, to: now.length - end, insert: orphan.slice(from, orphan.length - end) },
      userEvent: 'input.restore',
    });
    await this.discardOrphan();
  }

  async discardOrphan(): Promise<void> {
    this.orphan = null;
    await this.#offline.dropOrphans();
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
      moved: (place) => (this.cursor = place),
    });
    awareness.on('change', () => this.#count(awareness));
    this.#count(awareness);
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
  }

  #refresh(): void {
    if (this.#closed) return;
    const { provider } = this;
    this.refused = provider.refused;
    this.format = provider.format;
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

/** The open tabs of a workspace, remembered for the next visit. */
export class Documents {
  list = $state.raw<OpenDocument[]>([]);
  activePath = $state<string | null>(null);
  /** The tab just opened gets the keyboard as soon as it has an editor. */
  takesFocus = false;
  readonly active = $derived(this.list.find((document) => document.path === this.activePath) ?? null);
  readonly #key: string;

  constructor(readonly workspace: string) {
    this.#key = `tabs.${workspace}`;
  }

  /** Opens the tabs of the last visit. */
  restore(): void {
    const { paths, active } = remembered<{ paths: string[]; active: string | null }>(this.#key, {
      paths: [],
      active: null,
    });
    this.list = paths.map((path) => new OpenDocument(this.workspace, path));
    this.activePath = active !== null && paths.includes(active) ? active : (paths[0] ?? null);
  }

  /** Opens a tab or goes to it; with `focus` the keyboard goes along. */
  open(path: string, focus = false): OpenDocument {
    let document = this.get(path);
    this.takesFocus = focus;
    if (focus && path === this.activePath) document?.editor?.view.focus();
    if (!document) {
      document = new OpenDocument(this.workspace, path);
      const at = this.list.findIndex((other) => other.path === this.activePath) + 1;
      this.list = [...this.list.slice(0, at), document, ...this.list.slice(at)];
    }
    this.activePath = path;
    this.#remember();
    return document;
  }

  get(path: string): OpenDocument | undefined {
    return this.list.find((document) => document.path === path);
  }

  close(path: string): void {
    const index = this.list.findIndex((document) => document.path === path);
    if (index === -1) return;
    this.list[index]?.close();
    this.list = this.list.filter((document) => document.path !== path);
    if (this.activePath === path) {
      this.activePath = this.list[Math.min(index, this.list.length - 1)]?.path ?? null;
    }
    this.#remember();
  }

  /** Activates the tab `by` places further, around the ends. */
  step(by: number): void {
    const index = this.list.findIndex((document) => document.path === this.activePath);
    const next = this.list[(index + by + this.list.length) % this.list.length];
    if (next) this.activate(next.path);
  }

  activate(path: string): void {
    this.activePath = path;
    this.#remember();
  }

  /** Waits until everything typed in files at or below `path` is durable. */
  async settled(path: string, limit: number): Promise<boolean> {
    const open = this.list.filter((document) => isWithin(document.path, path));
    const answers = await Promise.all(open.map((document) => document.provider.whenSynced(limit)));
    return answers.every(Boolean);
  }

  /** Follows a file or directory that moved: its tabs show the new paths. */
  moved(from: string, to: string): void {
    const { activePath } = this;
    this.list = this.list.map((document) => {
      if (!isWithin(document.path, from)) return document;
      const path = document.path === from ? to : join(to, document.path.slice(from.length + 1));
      document.close();
      if (document.path === activePath) this.activePath = path;
      return new OpenDocument(this.workspace, path);
    });
    this.#remember();
  }

  deleted(path: string): void {
    for (const document of this.list) if (isWithin(document.path, path)) this.close(document.path);
  }

  /** Tries to reach the server now, e.g. because the network or the workspace is back. */
  reconnect(): void {
    for (const document of this.list) {
      if (!document.provider.connected && !document.isPreview) document.provider.connect();
    }
  }

  closeAll(): void {
    for (const document of this.list) document.close();
    this.list = [];
  }

  #remember(): void {
    remember(this.#key, { paths: this.list.map((document) => document.path), active: this.activePath });
  }
}
