/**
 * What this browser keeps of a document, so that nothing typed is lost with the connection.
 *
 * Each (workspace, path, epoch) has its own IndexedDB store of Yjs updates. A small record in
 * localStorage remembers the last epoch, which Yjs clients (one a tab) still have unacknowledged
 * edits in that store, and older epochs whose stores hold text that was never synced.
 */
import { clearDocument, IndexeddbPersistence } from 'y-indexeddb';
import * as Y from 'yjs';

export interface DocumentRecord {
  epoch: string | null;
  unsynced: number[];
  orphans: string[];
}

const EMPTY: DocumentRecord = { epoch: null, unsynced: [], orphans: [] };

/** The part of the Web Storage interface that is needed here. */
export interface KeyValue {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export class OfflineStore {
  /** False once the browser refused to keep something (private mode, quota, no IndexedDB). */
  works = true;
  readonly #key: string;
  #persistence: IndexeddbPersistence | null = null;

  constructor(
    readonly workspace: string,
    readonly path: string,
    private readonly storage: KeyValue = window.localStorage,
  ) {
    this.#key = `cloudide.document.${workspace}/${path}`;
  }

  get record(): DocumentRecord {
    try {
      const text = this.storage.getItem(this.#key);
      return text ? { ...EMPTY, ...(JSON.parse(text) as Partial<DocumentRecord>) } : EMPTY;
    } catch {
      return EMPTY;
    }
  }

  #write(record: DocumentRecord): void {
    try {
      this.storage.setItem(this.#key, JSON.stringify(record));
    } catch {
      this.works = false;
    }
  }

  #name(epoch: string): string {
    return `cloudide:${this.workspace}/${this.path}@${epoch}`;
  }

  /**
   * Keeps `doc` in the store of `epoch` from now on and merges what lies there already.
   *
   * Resolves when the stored updates are in the document, with the clients whose unacknowledged
   * edits came along; a browser without a working IndexedDB resolves at once.
   */
  async attach(doc: Y.Doc, epoch: string): Promise<number[]> {
    this.detach();
    const { unsynced, orphans, epoch: previous } = this.record;
    if (previous !== epoch) this.#write({ epoch, unsynced: [], orphans });
    if (typeof indexedDB === 'undefined') {
      this.works = false;
      return [];
    }
    const persistence = new IndexeddbPersistence(this.#name(epoch), doc);
    this.#persistence = persistence;
    try {
      // Opening can fail (private mode); `whenSynced` alone would then never settle.
      await persistence._db;
      await persistence.whenSynced;
    } catch {
      this.works = false;
    }
    return previous === epoch ? unsynced : [];
  }

  detach(): void {
    const persistence = this.#persistence;
    this.#persistence = null;
    // A database that never opened has nothing to close.
    persistence?.destroy().catch(() => (this.works = false));
  }

  markUnsynced(client: number): void {
    const record = this.record;
    if (record.unsynced.includes(client)) return;
    this.#write({ ...record, unsynced: [...record.unsynced, client] });
  }

  /** Every edit of these clients is acknowledged. */
  markSynced(clients: Iterable<number>): void {
    const done = new Set(clients);
    const record = this.record;
    const unsynced = record.unsynced.filter((client) => !done.has(client));
    if (unsynced.length !== record.unsynced.length) this.#write({ ...record, unsynced });
  }

  /**
   * The server has begun a new epoch: forgets the old one, or keeps its store aside as an orphan
   * when text in it was never synced.
   */
  async retire(epoch: string, hasUnsynced: boolean): Promise<void> {
    this.detach();
    const { orphans, unsynced, epoch: current } = this.record;
    if (current !== epoch) return;
    const keep = hasUnsynced || unsynced.length > 0;
    this.#write({ epoch: null, unsynced: [], orphans: keep ? [...orphans, epoch] : orphans });
    if (!keep) await this.#clear(epoch);
  }

  /** The newest text that was typed here and never reached the server; null when all did. */
  async orphanedText(): Promise<string | null> {
    const epoch = this.record.orphans.at(-1);
    if (epoch === undefined || typeof indexedDB === 'undefined') return null;
    const doc = new Y.Doc();
    const persistence = new IndexeddbPersistence(this.#name(epoch), doc);
    try {
      await persistence._db;
      await persistence.whenSynced;
      return doc.getText('content').toString();
    } catch {
      this.works = false;
      return null;
    } finally {
      await persistence.destroy().catch(() => undefined);
      doc.destroy();
    }
  }

  /** Drops every orphan, after its text was restored or discarded. */
  async dropOrphans(): Promise<void> {
    const record = this.record;
    this.#write({ ...record, orphans: [] });
    for (const epoch of record.orphans) await this.#clear(epoch);
  }

  async #clear(epoch: string): Promise<void> {
    if (typeof indexedDB === 'undefined') return;
    await clearDocument(this.#name(epoch)).catch(() => (this.works = false));
  }
}
