import { baseName, isWithin, join } from '../files/paths';
import { session } from '../session/session.svelte';
import { remember, remembered } from '../shell/stored';
import { toasts } from '../shell/toasts.svelte';
import { OpenDocument } from './document.svelte';
import { GROUPS, resized, validGroups } from './groups';

/** One pane of the editor: tabs, of which one shows. */
export class Group {
  list = $state.raw<OpenDocument[]>([]);
  activePath = $state<string | null>(null);
  size = $state(1);
  readonly active = $derived(this.list.find((document) => document.path === this.activePath) ?? null);
}

/**
 * The open files of a workspace: tabs in panes beside each other, remembered for the next visit.
 *
 * A file is open once, in one pane; `list` has those of all panes. There is always a pane, and the
 * `current` one is where the keyboard last was.
 */
export class Documents {
  groups = $state.raw<Group[]>([new Group()]);
  current = $state.raw<Group>(this.groups[0] as Group);
  readonly list = $derived(this.groups.flatMap((group) => group.list));
  /** The tab just opened gets the keyboard as soon as it has an editor. */
  takesFocus = false;
  /** Told of each editor, once it is there and when its file has another path. */
  onEditor: (document: OpenDocument) => void = () => undefined;
  /** See `OpenDocument`. */
  onComment: (id: string) => void = () => undefined;
  onTouch: () => void = () => undefined;
  onOthers: (document: OpenDocument) => void = () => undefined;
  readonly active = $derived(this.current.active);
  /** The latest files first, for going back and for opening by name. */
  recent = $state.raw<readonly string[]>([]);
  readonly #key: string;
  #closed: string[] = [];

  constructor(readonly workspace: string) {
    this.#key = `tabs.${session.user?.id ?? ''}.${workspace}`;
  }

  get activePath(): string | null {
    return this.current.activePath;
  }

  /** Opens the tabs of the last visit. */
  restore(): void {
    const { groups, current } = validGroups(remembered<unknown>(this.#key, null));
    if (groups.length === 0) return;
    this.groups = groups.map(({ paths, active, size }) => {
      const group = new Group();
      group.list = paths.map((path) => this.#make(path));
      group.activePath = active;
      group.size = size;
      return group;
    });
    this.current = this.groups[current] as Group;
  }

  /** Opens a tab or goes to it; with `focus` the keyboard goes along. */
  open(path: string, focus = false, group: Group = this.current): OpenDocument {
    let document = this.get(path);
    this.takesFocus = focus;
    if (focus && path === this.activePath) document?.editor?.view.focus();
    if (!document) {
      document = this.#make(path);
      const at = group.list.findIndex((other) => other.path === group.activePath) + 1;
      group.list = [...group.list.slice(0, at), document, ...group.list.slice(at)];
    }
    this.#show(path);
    return document;
  }

  get(path: string): OpenDocument | undefined {
    return this.list.find((document) => document.path === path);
  }

  groupOf(path: string): Group | undefined {
    return this.groups.find((group) => group.list.some((document) => document.path === path));
  }

  close(path: string): void {
    const group = this.groupOf(path);
    if (!group) return;
    this.get(path)?.close();
    this.#closed = [...this.#closed.filter((other) => other !== path), path].slice(-20);
    this.#take(group, path);
    this.#remember();
  }

  closeOthers(path: string): void {
    for (const document of this.groupOf(path)?.list ?? []) if (document.path !== path) this.close(document.path);
  }

  /** Opens the tab again that was closed last. */
  reopen(): void {
    const path = this.#closed.pop();
    if (path !== undefined) this.open(path, true);
  }

  get canReopen(): boolean {
    return this.#closed.length > 0;
  }

  /** Activates the tab `by` places further in its pane, around the ends. */
  step(by: number): void {
    const { list, activePath } = this.current;
    const index = list.findIndex((document) => document.path === activePath);
    const next = list[(index + by + list.length) % list.length];
    if (next) this.activate(next.path);
  }

  activate(path: string): void {
    this.#show(path);
  }

  /** Goes to the pane `by` places further, and gives it the keyboard. */
  stepGroup(by: number): void {
    const at = this.groups.indexOf(this.current);
    const next = this.groups[(at + by + this.groups.length) % this.groups.length];
    if (next) this.enter(next);
    this.active?.editor?.view.focus();
  }

  /** The keyboard is in this pane now. */
  enter(group: Group): void {
    if (this.current === group || !this.groups.includes(group)) return;
    this.current = group;
    this.#remember();
  }

  get canSplit(): boolean {
    return this.groups.length < GROUPS;
  }

  /** Puts a tab into a pane of its own, `after` a pane or before it. */
  split(path: string | null = this.activePath, beside: Group = this.current, after = true): void {
    const from = path === null ? undefined : this.groupOf(path);
    if (!this.canSplit || path === null || !from) return;
    const group = new Group();
    group.size = beside.size / 2;
    beside.size /= 2;
    const at = this.groups.indexOf(beside) + (after ? 1 : 0);
    this.groups = [...this.groups.slice(0, at), group, ...this.groups.slice(at)];
    this.place(path, group);
  }

  /** Moves a tab into a pane, before the tab `before` or to the end. */
  place(path: string, group: Group, before: string | null = null): void {
    const from = this.groupOf(path);
    const document = this.get(path);
    if (!from || !document || before === path) return;
    const others = (from === group ? from.list : group.list).filter((other) => other !== document);
    const at = before === null ? others.length : others.findIndex((other) => other.path === before);
    group.list = [...others.slice(0, at), document, ...others.slice(at)];
    group.activePath = path;
    this.takesFocus = true;
    this.current = group;
    if (from !== group) this.#take(from, path);
    this.#remember();
  }

  /** Moves a tab to the pane `by` places further, which is made where there is none. */
  moveToGroup(by: 1 | -1, path: string | null = this.activePath): void {
    const from = path === null ? undefined : this.groupOf(path);
    if (path === null || !from) return;
    const next = this.groups[this.groups.indexOf(from) + by];
    if (next) this.place(path, next);
    else if (from.list.length > 1) this.split(path, from, by === 1);
  }

  /** Moves the border after a pane, by a share of the whole width. */
  resize(index: number, by: number): void {
    const sizes = resized(
      this.groups.map((group) => group.size),
      index,
      by,
    );
    this.groups.forEach((group, i) => (group.size = sizes[i] ?? 1));
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
    this.groups = [new Group()];
    this.current = this.groups[0] as Group;
  }

  #make(path: string): OpenDocument {
    const moved = (document: OpenDocument, to: string): void => {
      const from = document.path;
      if (from === to) return;
      this.#relocate(document, to);
      toasts.info(`${baseName(from)} is now ${baseName(from) === baseName(to) ? to : baseName(to)}.`);
    };
    const made = new OpenDocument(this.workspace, path, moved, (document) => this.onEditor(document));
    made.onComment = (id) => this.onComment(id);
    made.onTouch = () => this.onTouch();
    made.onOthers = () => this.onOthers(made);
    return made;
  }

  #show(path: string): void {
    const group = this.groupOf(path);
    if (!group) return;
    group.activePath = path;
    this.current = group;
    this.recent = [path, ...this.recent.filter((other) => other !== path)].slice(0, 50);
    this.#remember();
  }

  /** Takes a tab out of a pane; a pane without tabs goes too, unless it is the only one. */
  #take(group: Group, path: string): void {
    const index = group.list.findIndex((document) => document.path === path);
    if (index === -1) return;
    group.list = group.list.filter((document) => document.path !== path);
    if (group.activePath === path) {
      group.activePath = group.list[Math.min(index, group.list.length - 1)]?.path ?? null;
    }
    if (group.list.length > 0 || this.groups.length === 1) return;
    const at = this.groups.indexOf(group);
    const heir = this.groups[at - 1] ?? this.groups[at + 1];
    if (!heir) return;
    heir.size += group.size;
    this.groups = this.groups.filter((other) => other !== group);
    if (this.current === group) this.current = heir;
  }

  /** Gives a tab its file's new path; the file that was there before, and its tab, are gone. */
  #relocate(document: OpenDocument, to: string): void {
    const group = this.groupOf(document.path);
    const active = group?.activePath === document.path;
    const replaced = this.get(to);
    if (replaced && replaced !== document) {
      const its = this.groupOf(to);
      replaced.close();
      if (its) this.#take(its, to);
    }
    document.relocate(to);
    if (active && group) group.activePath = to;
    this.#remember();
  }

  #remember(): void {
    const groups = this.groups.map(({ list, activePath, size }) => ({
      paths: list.map((document) => document.path),
      active: activePath,
      size,
    }));
    remember(this.#key, { groups, current: this.groups.indexOf(this.current) });
  }
}
