import type { Entry, FilesEvent } from '../protocol';
import { ApiError, fileUrl, messageOf, request, send, workspaceUrl } from '../session/api';
import { remember, remembered } from '../shell/stored';
import { ancestors, baseName, isWithin, join, parentOf } from './paths';
import { between } from './selection';

const REFRESH_AFTER = 120;

/** A line of the tree as it is shown. */
export interface Row {
  entry: Entry;
  level: number;
  expanded: boolean;
  loading: boolean;
  position: number;
  siblings: number;
}

/** The name being typed for a new entry (`kind` of it, in `parent`) or an old one (`path`). */
export interface Naming {
  kind: 'file' | 'directory' | 'rename';
  parent: string;
  path: string | null;
  value: string;
}

interface Directory {
  entries: Entry[];
  truncated: boolean;
}

export function sorted(entries: Entry[]): Entry[] {
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
  const rank = (entry: Entry): number => (entry.type === 'directory' ? 0 : 1);
  return [...entries].sort(
    (a, b) => rank(a) - rank(b) || order.compare(baseName(a.path), baseName(b.path)) || (a.path < b.path ? -1 : 1),
  );
}

/** Git's own folder is of no use to anybody who looks at files. */
function shows({ path }: Entry): boolean {
  return path !== '' && baseName(path) !== '.git';
}

/** The visible lines, from what is loaded and what is expanded. */
export function rowsOf(
  directories: ReadonlyMap<string, Directory>,
  expanded: ReadonlySet<string>,
  loading: ReadonlySet<string>,
  parent = '',
  level = 1,
): Row[] {
  const rows: Row[] = [];
  const entries = directories.get(parent)?.entries ?? [];
  entries.forEach((entry, index) => {
    const open = entry.type === 'directory' && expanded.has(entry.path);
    rows.push({
      entry,
      level,
      expanded: open,
      loading: loading.has(entry.path),
      position: index + 1,
      siblings: entries.length,
    });
    if (open) rows.push(...rowsOf(directories, expanded, loading, entry.path, level + 1));
  });
  return rows;
}

/**
 * The files of a workspace, loaded directory by directory and kept current by change events.
 *
 * An event names a path but not what lies there, so a directory in which something appeared is
 * listed again; bursts of events are gathered into one listing a directory.
 */
export class FileTree {
  directories = $state.raw<ReadonlyMap<string, Directory>>(new Map());
  expanded = $state.raw<ReadonlySet<string>>(new Set());
  loading = $state.raw<ReadonlySet<string>>(new Set());
  focused = $state<string | null>(null);
  selected = $state.raw<ReadonlySet<string>>(new Set());
  naming = $state<Naming | null>(null);
  error = $state('');
  readonly rows = $derived(rowsOf(this.directories, this.expanded, this.loading));
  readonly loaded = $derived(this.directories.has(''));
  readonly #key: string;
  #stale = new Set<string>();
  /** Where a range of the selection begins. */
  #anchor: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  /** Numbers listings, so that a late answer never replaces a newer one. */
  #asked = new Map<string, number>();

  constructor(readonly workspace: string) {
    this.#key = `tree.${workspace}`;
    this.expanded = new Set(remembered<string[]>(this.#key, []));
  }

  /** Lists the root and every expanded directory anew. */
  async reload(): Promise<void> {
    await this.#list('');
    await Promise.all([...this.expanded].map((path) => this.#list(path)));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async expand(path: string): Promise<void> {
    this.#setExpanded(path, true);
    await this.#list(path);
  }

  collapse(path: string): void {
    this.#setExpanded(path, false);
  }

  toggle(path: string): void {
    if (this.expanded.has(path)) this.collapse(path);
    else void this.expand(path);
  }

  collapseAll(): void {
    this.expanded = new Set();
    remember(this.#key, []);
  }

  /** Makes a file visible and moves the focus of the tree to it. */
  async reveal(path: string): Promise<void> {
    for (const directory of ancestors(path)) {
      if (!this.expanded.has(directory)) this.#setExpanded(directory, true);
      if (!this.directories.has(directory)) await this.#list(directory);
      if (!this.directories.has(directory)) return;
    }
    this.focused = path;
  }

  entry(path: string): Entry | undefined {
    return this.directories.get(parentOf(path))?.entries.find((entry) => entry.path === path);
  }

  /** Takes note of what changed on disk. */
  take(event: FilesEvent): void {
    if (event.overflow) {
      void this.reload();
      return;
    }
    for (const change of event.changes) {
      const parent = parentOf(change.path);
      if (change.kind === 'deleted') this.#forget(change.path);
      else if (change.kind === 'added' || !this.entry(change.path)) this.#stale.add(parent);
    }
    if (this.#stale.size > 0 && this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#refresh(), REFRESH_AFTER);
    }
  }

  /** Starts typing a name next to (or in) the focused entry. */
  async startNew(kind: 'file' | 'directory', at: string | null = this.focused): Promise<void> {
    const entry = at === null ? undefined : this.entry(at);
    const parent = entry ? (entry.type === 'directory' ? entry.path : parentOf(entry.path)) : '';
    if (parent) await this.expand(parent);
    this.naming = { kind, parent, path: null, value: '' };
  }

  startRename(path: string): void {
    this.naming = { kind: 'rename', parent: parentOf(path), path, value: baseName(path) };
  }

  async createFile(path: string): Promise<void> {
    await send(fileUrl(this.workspace, path), {
      method: 'PUT',
      body: new Uint8Array(),
      headers: { 'If-None-Match': '*', 'Content-Type': 'application/octet-stream' },
    }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 412) throw new Error(`“${path}” exists already.`);
      throw error;
    });
    await this.#list(parentOf(path));
    await this.reveal(path);
  }

  async createDirectory(path: string): Promise<void> {
    await request('PUT', `${fileUrl(this.workspace, path)}?type=directory`);
    await this.#list(parentOf(path));
    await this.reveal(path);
  }

  async move(from: string, to: string): Promise<void> {
    await request('POST', workspaceUrl(this.workspace, '/move'), { from, to });
    this.#forget(from);
    await this.#list(parentOf(to));
    await this.reveal(to);
  }

  /** Deletes an entry; the answer takes it back (`/deleted/{}/restore`), "" when it was too large. */
  async remove(entry: Entry): Promise<string> {
    const recursive = entry.type === 'directory' ? '&recursive=true' : '';
    const url = `${fileUrl(this.workspace, entry.path)}?undo=true${recursive}`;
    const { deleted } = await request<{ deleted: string }>('DELETE', url);
    this.#forget(entry.path);
    return deleted;
  }

  /** Lists a folder anew, if it shows. */
  async listAgain(folder: string): Promise<void> {
    if (this.directories.has(folder)) await this.#list(folder);
  }

  /** Focuses an entry, and selects it alone, with others (`toggle`), or all up to it (`range`). */
  select(path: string, how: 'alone' | 'toggle' | 'range' = 'alone'): void {
    if (how === 'range') {
      const paths = this.rows.map((row) => row.entry.path);
      this.selected = new Set(between(paths, this.#anchor, path));
    } else {
      this.#anchor = path;
      const selected = new Set(how === 'toggle' ? this.selected : []);
      if (how === 'alone' || !selected.delete(path)) selected.add(path);
      this.selected = selected;
    }
    this.focused = path;
  }

  /** The folder that new things go into: the focused one, or the one of the focused file. */
  get folder(): string {
    const entry = this.focused === null ? undefined : this.entry(this.focused);
    return entry ? (entry.type === 'directory' ? entry.path : parentOf(entry.path)) : '';
  }

  /** What an action on an entry is meant for: all that is selected, if it is among them. */
  meant(path: string): string[] {
    return this.selected.has(path) ? [...this.selected] : [path];
  }

  #refresh(): void {
    this.#timer = undefined;
    const stale = [...this.#stale].filter((path) => this.directories.has(path));
    this.#stale.clear();
    for (const path of stale) void this.#list(path);
  }

  async #list(path: string): Promise<void> {
    const number = (this.#asked.get(path) ?? 0) + 1;
    this.#asked.set(path, number);
    this.loading = new Set([...this.loading, path]);
    try {
      const query = new URLSearchParams({ path, depth: '1' });
      const url = workspaceUrl(this.workspace, `/tree?${query}`);
      const { entries, truncated } = await request<Directory>('GET', url);
      if (this.#closed || this.#asked.get(path) !== number) return;
      const listed = new Map(this.directories);
      listed.set(path, {
        entries: sorted(entries.filter((entry) => parentOf(entry.path) === path && shows(entry))),
        truncated,
      });
      this.directories = listed;
      this.error = '';
    } catch (error) {
      if (this.#closed || this.#asked.get(path) !== number) return;
      if (path === '') this.error = messageOf(error);
      else if (error instanceof ApiError && error.status === 404) this.#forget(path);
    } finally {
      if (this.#asked.get(path) === number) {
        this.loading = new Set([...this.loading].filter((other) => other !== path));
      }
    }
  }

  #forget(path: string): void {
    const listed = new Map<string, Directory>();
    for (const [directory, content] of this.directories) {
      if (isWithin(directory, path)) continue;
      const keep = content.entries.filter((entry) => entry.path !== path);
      listed.set(directory, keep.length === content.entries.length ? content : { ...content, entries: keep });
    }
    this.directories = listed;
    if (this.selected.size > 0) this.selected = new Set([...this.selected].filter((other) => !isWithin(other, path)));
    if (this.focused !== null && isWithin(this.focused, path)) this.focused = parentOf(path) || null;
    if ([...this.expanded].some((directory) => isWithin(directory, path))) {
      this.#setExpanded(path, false, true);
    }
  }

  #setExpanded(path: string, open: boolean, below = false): void {
    const next = new Set([...this.expanded].filter((other) => (below ? !isWithin(other, path) : other !== path)));
    if (open) next.add(path);
    this.expanded = next;
    remember(this.#key, [...next]);
  }
}

/** Where a name typed in the tree leads. */
export function namedPath(naming: Naming, value: string): string {
  return join(naming.parent, value.trim());
}
