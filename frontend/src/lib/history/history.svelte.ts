import type { Version, VersionList, VersionSummary } from '../protocol';
import { ApiError, messageOf, request, workspaceUrl } from '../session/api';

const PAGE = 100;

export type Failure = { offline: boolean; detail: string };

/** The version that was chosen: on its way, there, or not to be had. */
export type Chosen =
  | { state: 'loading'; summary: VersionSummary }
  | { state: 'ready'; summary: VersionSummary; version: Version }
  | { state: 'error'; summary: VersionSummary; failure: Failure };

function failureOf(error: unknown): Failure {
  const offline = error instanceof ApiError && error.status === 0;
  return { offline, detail: offline ? 'The server keeps the versions, and it cannot be reached now.' : messageOf(error) };
}

/** The versions of one file, newest first, as far as they have been asked for. */
export class FileHistory {
  versions = $state.raw<VersionSummary[]>([]);
  more = $state(false);
  state = $state<'loading' | 'ready' | 'error'>('loading');
  failure = $state.raw<Failure>({ offline: false, detail: '' });
  chosen = $state.raw<Chosen | null>(null);
  /** Numbers what was asked, so that a late answer never replaces a newer one. */
  #asked = 0;

  constructor(
    readonly workspace: string,
    private path: string,
  ) {
    void this.load();
  }

  /** Lists the newest versions. */
  async load(): Promise<void> {
    await this.#list(null);
  }

  /** Lists the versions before those that are there. */
  async loadMore(): Promise<void> {
    await this.#list(this.versions.at(-1)?.version ?? null);
  }

  async choose(summary: VersionSummary): Promise<void> {
    this.chosen = { state: 'loading', summary };
    const current = (): boolean => this.chosen?.summary.version === summary.version;
    try {
      const query = new URLSearchParams({ path: this.path });
      const version = await request<Version>('GET', this.#url(`/${encodeURIComponent(summary.version)}`, query));
      if (current()) this.chosen = { state: 'ready', summary, version };
    } catch (error) {
      if (current()) this.chosen = { state: 'error', summary, failure: failureOf(error) };
    }
  }

  leave(): void {
    this.chosen = null;
  }

  /** The file moved: its history goes on at the new path. */
  relocate(path: string): void {
    this.path = path;
    if (this.state !== 'ready') void this.load();
  }

  async #list(before: string | null): Promise<void> {
    const number = (this.#asked += 1);
    this.state = 'loading';
    try {
      const query = new URLSearchParams({ path: this.path, limit: String(PAGE), ...(before === null ? {} : { before }) });
      const { versions, more } = await request<VersionList>('GET', this.#url('', query));
      if (number !== this.#asked) return;
      this.versions = before === null ? versions : [...this.versions, ...versions];
      this.more = more;
      this.state = 'ready';
    } catch (error) {
      if (number !== this.#asked) return;
      this.failure = failureOf(error);
      this.state = 'error';
    }
  }

  #url(rest: string, query: URLSearchParams): string {
    return workspaceUrl(this.workspace, `/history${rest}?${query}`);
  }
}
