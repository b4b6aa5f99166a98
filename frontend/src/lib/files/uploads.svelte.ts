/** Files from outside on their way into a workspace. */
import { ApiError, fileUrl, messageOf, upload } from '../session/api';
import { join } from './paths';

export interface Upload {
  path: string;
  file: Blob;
  sent: number;
  state: 'waiting' | 'running' | 'done' | 'exists' | 'failed';
  error: string;
}

/** What is dropped: a file with its path below the folder that it is dropped on. */
export interface Dropped {
  path: string;
  file: Blob;
}

const AT_ONCE = 3;
const MOST = 5000; // files of one drop

type Send = typeof upload;

export class Uploads {
  list = $state<Upload[]>([]);
  readonly total = $derived(this.list.reduce((sum, each) => sum + each.file.size, 0));
  readonly sent = $derived(this.list.reduce((sum, each) => sum + (each.state === 'done' ? each.file.size : each.sent), 0));
  readonly done = $derived(this.list.filter((each) => each.state === 'done').length);
  readonly running = $derived(this.list.some((each) => each.state === 'running' || each.state === 'waiting'));
  readonly failed = $derived(this.list.filter((each) => each.state === 'failed'));
  readonly existing = $derived(this.list.filter((each) => each.state === 'exists'));
  #active = 0;
  #abort = new AbortController();

  constructor(
    readonly workspace: string,
    private readonly send: Send = upload,
  ) {}

  /** Sends files into a folder; none that is there already is replaced unless that is said. */
  add(folder: string, files: readonly Dropped[]): void {
    if (files.length > MOST) throw new Error(`That are more than ${MOST} files. Pack them and upload the archive instead.`);
    if (!this.running) this.clear();
    this.list.push(...files.map(({ path, file }): Upload => ({ path: join(folder, path), file, sent: 0, state: 'waiting', error: '' })));
    this.#next();
  }

  /** Replaces those that are there already. */
  replace(): void {
    for (const each of this.list) if (each.state === 'exists') void this.#run(each, true);
  }

  /** Tries those again that failed. */
  again(): void {
    for (const each of this.list) if (each.state === 'failed') each.state = 'waiting';
    this.#next();
  }

  cancel(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.list = this.list.filter((each) => each.state === 'done');
  }

  clear(): void {
    this.list = [];
  }

  #next(): void {
    while (this.#active < AT_ONCE) {
      const next = this.list.find((each) => each.state === 'waiting');
      if (!next) return;
      void this.#run(next, false);
    }
  }

  async #run(each: Upload, replace: boolean): Promise<void> {
    this.#active += 1;
    each.state = 'running';
    each.sent = 0;
    const headers: Record<string, string> = replace ? {} : { 'If-None-Match': '*' };
    try {
      const { signal } = this.#abort;
      await this.send(fileUrl(this.workspace, each.path), each.file, (sent) => (each.sent = sent), { headers, signal });
      each.state = 'done';
    } catch (error) {
      each.state = error instanceof ApiError && error.status === 412 ? 'exists' : 'failed';
      each.error = messageOf(error);
    } finally {
      this.#active -= 1;
      this.#next();
    }
  }
}

/** All files of a drop, folders with all in them. */
export async function filesOf(transfer: DataTransfer): Promise<Dropped[]> {
  // What is dropped is gone after the event: the entries are taken at once.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  if (entries.length === 0) return [...transfer.files].map((file) => ({ path: file.name, file }));
  const found: Dropped[] = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry: FileSystemEntry, found: Dropped[]): Promise<void> {
  if (found.length > MOST) return;
  const path = entry.fullPath.replace(/^\//, '');
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    found.push({ path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A browser gives a hundred at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const each of some) await walk(each, found);
  }
}
