/**
 * What this browser keeps of a document, so that nothing typed is lost with the connection.
 *
 * Each document has its own IndexedDB store of Yjs updates, shared by the tabs in which one person
 * has it open; who signs in next in this browser has another, and sends nothing of theirs. A small
 * record in localStorage, one a path, names the store, the epoch it belongs to, which Yjs
 * clients (one a tab) still have unacknowledged edits in it, and older stores that hold text which
 * was never synced. A store's name says nothing about the path, so that it stays when a file moves;
 * nor about the epoch, because a document that went wrong is given up for a fresh one of the same.
 */
import { clearDocument, IndexeddbPersistence } from 'y-indexeddb';
import { uuidv4 } from 'lib0/random';
import * as Y from 'yjs';

export interface DocumentRecord {
  epoch: string | null;
  store: string | null;
  unsynced: number[];
  orphans: string[];
}

const EMPTY: DocumentRecord = { epoch: null, store: null, unsynced: [], orphans: [] };

/** The part of the Web Storage interface that is needed here. */
export interface KeyValue {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export class OfflineStore {
  /** False once the browser refused to keep something (private mode, quota, no IndexedDB). */
  works = true;
  #persistence: IndexeddbPersistence | null = null;
  /** The store that this tab's document is kept in. */
  #store: string | null = null;

  constructor(
    readonly person: string,
    readonly workspace: string,
    public path: string,
    private readonly storage: KeyValue = window.localStorage,
  ) {}

  get #key(): string {
    return `cloudide.document.${this.person}.${this.workspace}/${this.path}`;
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

  /**
   * Keeps `doc` in the store of `epoch` from now on and merges what lies there already.
   *
   * Resolves when the stored updates are in the document, with the clients whose unacknowledged
   * edits came along; a browser without a working IndexedDB resolves at once.
   */
  async attach(doc: Y.Doc, epoch: string): Promise<number[]> {
    this.detach();
    const { orphans, ...last } = this.record;
    const known = last.epoch === epoch && last.store !== null;
    const store = known && last.store !== null ? last.store : `cloudide:${this.workspace}/${uuidv4()}`;
    if (!known) this.#write({ epoch, store, unsynced: [], orphans });
    this.#store = store;
    if (typeof indexedDB === 'undefined') {
      this.works = false;
      return [];
    }
    const persistence = new IndexeddbPersistence(store, doc);
    this.#persistence = persistence;
    try {
      // Opening can fail (private mode); `whenSynced` alone would then never settle.
      await persistence._db;
      await persistence.whenSynced;
    } catch {
      this.works = false;
    }
    return known ? last.unsynced : [];
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
   * The document is over: forgets its store, or keeps it aside as an orphan when text in it was
   * never synced.
   */
  async retire(hasUnsynced: boolean): Promise<void> {
    this.detach();
    const { orphans, unsynced, store } = this.record;
    // Another tab of this browser may have retired it before.
    if (store === null || store !== this.#store) return;
    const keep = hasUnsynced || unsynced.length > 0;
    this.#write({ ...EMPTY, orphans: keep ? [...orphans, store] : orphans });
    if (!keep) await this.#clear(store);
  }

  /**
   * The file is at another path now: what is kept of it goes along. Text of a file that was there
   * before and never reached the server becomes an orphan.
   */
  async move(path: string): Promise<void> {
    const mine = this.record;
    this.storage.removeItem(this.#key);
    this.path = path;
    const there = this.record;
    if (mine.store === null && mine.orphans.length === 0) return; // another tab was first
    const same = there.store === mine.store;
    const left = same ? null : there.store;
    const keep = left !== null && there.unsynced.length > 0;
    this.#write({
      ...mine,
      unsynced: [...new Set([...mine.unsynced, ...(same ? there.unsynced : [])])],
      orphans: [...new Set([...there.orphans, ...mine.orphans, ...(keep ? [left] : [])])],
    });
    if (left !== null && !keep) await this.#clear(left);
  }

  /** The newest text that was typed here and never reached the server; null when all did. */
  async orphanedText(): Promise<string | null> {
    const store = this.record.orphans.at(-1);
    if (store === undefined || typeof indexedDB === 'undefined') return null;
    const doc = new Y.Doc();
    const persistence = new IndexeddbPersistence(store, doc);
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
    for (const store of record.orphans) await this.#clear(store);
  }

  async #clear(store: string): Promise<void> {
    if (typeof indexedDB === 'undefined') return;
    await clearDocument(store).catch(() => (this.works = false));
  }
}
