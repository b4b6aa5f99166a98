/** The paths of all files of a workspace, for opening one by its name. */
import type { FilesEvent } from '../protocol';
import { messageOf, request, workspaceUrl } from '../session/api';
import { Searcher } from '../workspace/fuzzy';

interface Paths {
  paths: string[];
  truncated: boolean;
}

/** Listed when somebody first asks, and again once files came or went since. */
export class FileIndex {
  paths = $state.raw<readonly string[]>([]);
  truncated = $state(false);
  loading = $state(false);
  error = $state('');
  readonly searcher = $derived(new Searcher(this.paths));
  #stale = true;
  #asked: Promise<void> | null = null;

  constructor(readonly workspace: string) {}

  /** Has a list that is as new as the files. */
  refresh(): Promise<void> {
    if (!this.#stale) return Promise.resolve();
    this.#asked ??= this.#load().finally(() => (this.#asked = null));
    return this.#asked;
  }

  take(event: FilesEvent): void {
    if (event.overflow || event.changes.some((change) => change.kind !== 'modified')) this.#stale = true;
  }

  async #load(): Promise<void> {
    this.loading = true;
    this.#stale = false;
    try {
      const { paths, truncated } = await request<Paths>('GET', workspaceUrl(this.workspace, '/paths'));
      this.paths = paths;
      this.truncated = truncated;
      this.error = '';
    } catch (error) {
      this.#stale = true;
      this.error = messageOf(error);
    } finally {
      this.loading = false;
    }
  }
}
