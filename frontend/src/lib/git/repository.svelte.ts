import { live, type PageEvent } from '../live/events.svelte';
import type { GitAction, GitBranch, GitCommit, GitCommitDetails, GitFile, GitRemote, GitStatus } from '../protocol';
import { ancestors } from '../files/paths';
import { ApiError, messageOf, request, send } from '../session/api';

/** Changes come in bursts; what they come to is asked once they have been quiet for so long. */
const QUIET = 400;
/** The same while only the tree shows what has changed. */
const LAZY = 2500;

/** The repository in a workspace's folder: what has changed, and what may be done with it. */
export class Repository {
  status = $state.raw<GitStatus | null>(null);
  /** There is no repository. */
  none = $state(false);
  error = $state('');
  coAuthors = $state.raw<{ name: string; email: string }[]>([]);
  /** The last fetch, pull or push of anybody here. */
  action = $state.raw<GitAction | null>(null);
  readonly staged = $derived(this.status?.files.filter((file) => file.index !== '.' && file.index !== 'U') ?? []);
  readonly changed = $derived(this.status?.files.filter((file) => file.worktree !== '.') ?? []);
  /** Whether the panel shows, so that what has changed is wanted at once. */
  watched = false;
  /** What each file of the workspace is to Git: a letter of git-status(1), "?" for a new one. */
  readonly marks = $derived.by(() => {
    const top = this.status?.top ? `${this.status.top}/` : '';
    return new Map(this.status?.files.map(({ path, index, worktree }) => [top + path, worktree === '.' ? index : worktree]) ?? []);
  });
  /** Folders with something in them that has changed. */
  readonly touched = $derived(new Set([...this.marks.keys()].flatMap(ancestors)));
  readonly #base: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;

  constructor(private readonly workspace: string) {
    this.#base = `/api/v1/workspaces/${encodeURIComponent(workspace)}/git`;
  }

  follow(): () => void {
    const forget = live.listen((event) => this.hear(event));
    void this.load();
    return () => {
      forget();
      clearTimeout(this.#timer);
    };
  }

  hear(event: PageEvent): void {
    if (event.type === 'reconnected' || (event.type === 'files' && event.workspace === this.workspace)) this.#soon();
    if (event.type === 'git_branch' && event.workspace === this.workspace) void this.load();
    if (event.type !== 'git_action' || event.workspace !== this.workspace) return;
    this.action = event.action;
    if (event.action.state !== 'running') this.#soon();
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.load(), this.watched ? QUIET : LAZY);
  }

  async load(): Promise<void> {
    const asked = ++this.#asked;
    try {
      const status = await request<GitStatus>('GET', `${this.#base}/status`);
      const authors = status.files.some((file) => file.index !== '.')
        ? (await request<{ co_authors: { name: string; email: string }[] }>('GET', `${this.#base}/co-authors`)).co_authors
        : [];
      if (asked !== this.#asked) return; // a later answer counts
      this.status = status;
      this.coAuthors = authors;
      this.none = false;
      this.error = '';
    } catch (error) {
      if (asked !== this.#asked) return;
      this.none = error instanceof ApiError && error.status === 404;
      this.error = this.none ? '' : messageOf(error);
    }
  }

  /** Raises ApiError, as do all below. */
  async stage(files: GitFile[], staged: boolean): Promise<void> {
    const paths = files.flatMap((file) => (file.former && !staged ? [file.path, file.former] : [file.path]));
    await request('POST', `${this.#base}/stage`, { paths, staged });
    await this.load();
  }

  async diff(path: string, staged: boolean): Promise<string> {
    const query = new URLSearchParams({ path, staged: String(staged) });
    return (await send(`${this.#base}/diff?${query}`)).text();
  }

  async stageHunk(path: string, hunk: string, staged: boolean): Promise<void> {
    await request('POST', `${this.#base}/hunks`, { path, hunk, staged });
    await this.load();
  }

  /** Makes whole files, or one hunk of one, what is staged of them, or else committed. */
  async revert(paths: string[], hunk = ''): Promise<void> {
    await request('POST', `${this.#base}/revert`, { paths, hunk });
    await this.load();
  }

  async branches(): Promise<{ branches: GitBranch[]; truncated: boolean }> {
    return request('GET', `${this.#base}/branches`);
  }

  /** Goes to a branch, for everybody; with `start` it is made there. */
  async switchTo(branch: string, start = ''): Promise<void> {
    await request('POST', `${this.#base}/branches`, { branch, start });
    await this.load();
  }

  /** Commits of all branches, behind the `skip` newest. */
  async log(skip: number, limit: number): Promise<{ commits: GitCommit[]; more: boolean }> {
    return request('GET', `${this.#base}/log?${new URLSearchParams({ skip: String(skip), limit: String(limit) })}`);
  }

  async details(commit: string): Promise<GitCommitDetails> {
    return request('GET', `${this.#base}/commits/${encodeURIComponent(commit)}`);
  }

  async diffOf(commit: string, path: string): Promise<string> {
    return (await send(`${this.#base}/commits/${encodeURIComponent(commit)}/diff?${new URLSearchParams({ path })}`)).text();
  }

  /** A file of the workspace as it was last committed, as editors hold texts; null: it was not. */
  async committed(path: string): Promise<string | null> {
    const { top = '' } = this.status ?? {};
    if (top && !path.startsWith(`${top}/`)) return null;
    const query = new URLSearchParams({ path: top ? path.slice(top.length + 1) : path });
    try {
      const text = await (await send(`${this.#base}/file?${query}`)).text();
      return text.replaceAll('\r\n', '\n');
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  async commit(message: string): Promise<void> {
    await request('POST', `${this.#base}/commits`, { message });
    await this.load();
  }

  /** With the address and the commit that are shown now, and no others. */
  async begin(kind: GitAction['kind'], remote: GitRemote): Promise<void> {
    const { branch = '', commit = '' } = this.status ?? {};
    const url = kind === 'push' ? remote.push_url : remote.url;
    this.action = await request<GitAction>('POST', `${this.#base}/actions`, {
      kind,
      remote: remote.name,
      url,
      branch: kind === 'fetch' ? '' : branch,
      commit: kind === 'push' ? commit : '',
    });
  }

  async cancel(action: GitAction): Promise<void> {
    await request('DELETE', `${this.#base}/actions/${encodeURIComponent(action.id)}`);
  }
}

const WORDS: Record<string, string> = {
  A: 'added',
  M: 'modified',
  D: 'deleted',
  R: 'renamed',
  C: 'copied',
  T: 'another type',
  U: 'in conflict',
  '?': 'new',
};

export function wordOf(letter: string): string {
  return WORDS[letter] ?? 'changed';
}
