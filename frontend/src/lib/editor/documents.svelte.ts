import { baseName, isWithin, join } from '../files/paths';
import { remember, remembered } from '../shell/stored';
import { toasts } from '../shell/toasts.svelte';
import { OpenDocument } from './document.svelte';

/** The open tabs of a workspace, remembered for the next visit. */
export class Documents {
  list = $state.raw<OpenDocument[]>([]);
  activePath = $state<string | null>(null);
  /** The tab just opened gets the keyboard as soon as it has an editor. */
  takesFocus = false;
  /** Told of each editor, once it is there and when its file has another path. */
  onEditor: (document: OpenDocument) => void = () => undefined;
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
    this.list = [...new Set(paths)].map((path) => this.#make(path));
    this.activePath = active !== null && paths.includes(active) ? active : (paths[0] ?? null);
  }

  /** Opens a tab or goes to it; with `focus` the keyboard goes along. */
  open(path: string, focus = false): OpenDocument {
    let document = this.get(path);
    this.takesFocus = focus;
    if (focus && path === this.activePath) document?.editor?.view.focus();
    if (!document) {
      document = this.#make(path);
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

  /** Follows a file or directory that this person moved: its tabs show the new paths. */
  moved(from: string, to: string): void {
    for (const document of this.list) {
      if (!isWithin(document.path, from)) continue;
      this.#relocate(document, document.path === from ? to : join(to, document.path.slice(from.length + 1)));
    }
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

  #make(path: string): OpenDocument {
    const moved = (document: OpenDocument, to: string): void => {
      const from = document.path;
      if (from === to) return;
      this.#relocate(document, to);
      toasts.info(`${baseName(from)} is now ${baseName(from) === baseName(to) ? to : baseName(to)}.`);
    };
    return new OpenDocument(this.workspace, path, moved, (document) => this.onEditor(document));
  }

  /** Gives a tab its file's new path; the file that was there before, and its tab, are gone. */
  #relocate(document: OpenDocument, to: string): void {
    const active = this.activePath === document.path;
    const replaced = this.get(to);
    document.relocate(to);
    if (replaced && replaced !== document) {
      replaced.close();
      this.list = this.list.filter((other) => other !== replaced);
    }
    if (active) this.activePath = to;
    this.#remember();
  }

  #remember(): void {
    remember(this.#key, { paths: this.list.map((document) => document.path), active: this.activePath });
  }
}
