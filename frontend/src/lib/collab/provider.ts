/**
 * Keeps one Yjs document in step with its room on the server.
 *
 * The exchange, after the socket opens with subprotocol cloudide.collab.v1:
 *
 *   server: hello (epoch, read-only?)   then step 1
 *   client: step 1                      then step 2 answering the server's, then edits
 *   server: step 2, edits, awareness, "ack N" once the first N steps 2 and edits of this socket
 *           are durable, "disk" about the file in the container, "moved" when it has another
 *           path: the socket stays, the next one is opened there
 *
 * Edits made before the server's step 1 travel inside our step 2. A document belongs to one epoch;
 * when the server has begun another one, or holds something else under this document's client id
 * (close code 4409), this document is over: what it holds unacknowledged is set aside by the
 * offline store and a fresh document takes its place. Text is never put into a document except by
 * a person's edit.
 */
import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { Backoff } from '../live/backoff';
import { CloseCode, COLLAB_SUBPROTOCOL, isFinal, type CollabControl, type DiskState, type TextFormat } from '../protocol';
import { decode, encodeAwareness, encodeSync, type Message } from './codec';
import type { OfflineStore } from './offline';

export const SILENCE_LIMIT = 30_000;

export interface Refusal {
  code: number;
  reason: string;
}

/** What a Provider tells its owner; every call may follow any other. */
export interface ProviderEvents {
  /** A fact behind the save state changed. */
  changed(): void;
  /** There is a document to show: from the server, or from this browser while offline. */
  ready(doc: Y.Doc, awareness: Awareness): void;
  /** The document shown so far is over; a new `ready` follows. */
  reset(): void;
  /** Text of an earlier epoch that never reached the server. */
  orphaned(text: string): void;
  /** The file has another path; `url` of the provider is to be set for it. */
  moved(path: string): void;
  notice(detail: string): void;
}

export interface ProviderOptions {
  url: string;
  offline: OfflineStore;
  events: ProviderEvents;
  backoff?: Backoff;
  connect?: (url: string, protocol: string) => WebSocket;
}

export class Provider {
  doc = new Y.Doc();
  awareness = new Awareness(this.doc);
  connected = false;
  synced = false;
  readOnly = false;
  reason = '';
  disk: DiskState = 'clean';
  diskDetail = '';
  format: TextFormat | null = null;
  refused: Refusal | null = null;
  /** Where the next socket is opened. */
  url: string;

  readonly #offline: OfflineStore;
  readonly #events: ProviderEvents;
  readonly #backoff: Backoff;
  readonly #open: (url: string, protocol: string) => WebSocket;
  #socket: WebSocket | null = null;
  #epoch: string | null = null;
  #shown = false;
  #destroyed = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  /** Steps 2 and edits sent over this socket, and how many of them are durable. */
  #sent = 0;
  #acknowledged = 0;
  /** True from our step 2 on: only then may edits be sent one by one. */
  #answered = false;
  /** Something in the document was typed here and is not known to be durable. */
  #dirty = false;
  /** Clients whose edits the offline store brought along and our step 2 carries. */
  #inherited: number[] = [];

  constructor(options: ProviderOptions) {
    this.url = options.url;
    this.#offline = options.offline;
    this.#events = options.events;
    this.#backoff = options.backoff ?? new Backoff();
    this.#open = options.connect ?? ((url, protocol) => new WebSocket(url, protocol));
    this.#adopt(this.doc, this.awareness);
  }

  /** True while an edit made in this browser is not known to be durable on the server. */
  get unsynced(): boolean {
    return this.#dirty || this.#acknowledged < this.#sent;
  }

  /** How many steps 2 and edits this socket has sent: the number that `ack` counts to. */
  get sent(): number {
    return this.#sent;
  }

  get kept(): boolean {
    return this.#offline.works;
  }

  get text(): Y.Text {
    return this.doc.getText('content');
  }

  /** Shows what this browser kept, then connects; called once. */
  async start(): Promise<void> {
    const { epoch } = this.#offline.record;
    await this.offerOrphan();
    if (epoch !== null && !this.#destroyed) {
      this.#epoch = epoch;
      await this.#restore(epoch);
    }
    this.connect();
  }

  /** Connects now, whether or not a later try was planned; does nothing while connected. */
  connect(): void {
    clearTimeout(this.#retry);
    if (this.#destroyed || this.#socket) return;
    this.refused = null;
    const epoch = this.#epoch === null ? '' : `?epoch=${encodeURIComponent(this.#epoch)}`;
    const socket = this.#open(this.url + epoch, COLLAB_SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onopen = () => this.#heard(socket);
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (socket !== this.#socket || typeof event.data === 'string') return;
      this.#heard(socket);
      const message = decode(new Uint8Array(event.data));
      if (message) this.#receive(message);
    };
    socket.onclose = (event) => this.#closed(socket, event.code, event.reason);
    this.#events.changed();
  }

  destroy(): void {
    this.#destroyed = true;
    clearTimeout(this.#retry);
    removeAwarenessStates(this.awareness, [this.doc.clientID], 'local');
    const socket = this.#socket;
    this.#drop();
    socket?.close(CloseCode.normal);
    this.#offline.detach();
    this.awareness.destroy();
    this.doc.destroy();
  }

  /** Resolves once everything typed here is durable; false when that took longer than `limit` ms. */
  async whenSynced(limit: number): Promise<boolean> {
    const end = Date.now() + limit;
    while (this.unsynced && Date.now() < end) await new Promise((next) => setTimeout(next, 25));
    return !this.unsynced;
  }

  #adopt(doc: Y.Doc, awareness: Awareness): void {
    awareness.setLocalState({});
    doc.on('update', (update: Uint8Array, origin: unknown, _doc: Y.Doc, tr: Y.Transaction) => {
      if (origin === this) return;
      // Only edits made here are local; others come from the offline store, where another tab of
      // this browser may have left edits that the server lacks.
      if (tr.local) {
        this.#dirty = true;
        this.#offline.markUnsynced(doc.clientID);
      }
      if (this.#answered && !this.readOnly) this.#sendEdit('update', update);
      this.#events.changed();
    });
    awareness.on('update', (change: Record<'added' | 'updated' | 'removed', number[]>, origin: unknown) => {
      if (origin === this) return;
      const mine = [...change.added, ...change.updated, ...change.removed].filter((id) => id === doc.clientID);
      if (mine.length > 0 && this.connected) this.#send(encodeAwareness(encodeAwarenessUpdate(awareness, mine)));
    });
  }

  async #restore(epoch: string): Promise<void> {
    const inherited = await this.#offline.attach(this.doc, epoch);
    if (this.#destroyed || this.#epoch !== epoch) return;
    this.#inherited = inherited;
    if (inherited.length > 0) this.#dirty = true;
    // An empty store says nothing about the file: its text is then the server's to tell.
    if (Y.encodeStateVector(this.doc).length > 1) this.#show();
  }

  /** Tells of text that was set aside, if there is any. */
  async offerOrphan(): Promise<void> {
    if (this.#offline.record.orphans.length === 0) return;
    const text = await this.#offline.orphanedText();
    if (text === null) await this.#offline.dropOrphans();
    else if (!this.#destroyed) this.#events.orphaned(text);
  }

  #show(): void {
    if (!this.#shown) {
      this.#shown = true;
      this.#events.ready(this.doc, this.awareness);
    }
    this.#events.changed();
  }

  #receive(message: Message): void {
    switch (message.type) {
      case 'control':
        return this.#control(message.control);
      case 'step1':
        if (!this.connected) return;
        if (!this.readOnly) {
          this.#answered = true;
          this.#sendEdit('step2', Y.encodeStateAsUpdate(this.doc, message.stateVector));
        }
        return;
      case 'step2':
      case 'update':
        if (!this.connected) return;
        Y.applyUpdate(this.doc, message.update, this);
        if (message.type === 'step2' && !this.synced) {
          this.synced = true;
          this.#backoff.reset();
          this.#show();
        }
        return;
      case 'awareness':
        return applyAwarenessUpdate(this.awareness, message.update, this);
      case 'queryAwareness':
        return this.#sendAwareness();
      case 'denied':
        return this.#events.notice(message.reason);
    }
  }

  #control(control: CollabControl): void {
    switch (control.type) {
      case 'hello':
        if (this.#epoch !== null && this.#epoch !== control.epoch) {
          const socket = this.#socket;
          if (socket) this.#closed(socket, CloseCode.epochChanged, '');
          return;
        }
        if (this.#epoch === null) {
          this.#epoch = control.epoch;
          void this.#offline.attach(this.doc, control.epoch);
        }
        this.connected = true;
        this.readOnly = control.read_only;
        this.reason = control.reason ?? '';
        this.format = control.format;
        this.#send(encodeSync('step1', Y.encodeStateVector(this.doc)));
        this.#sendAwareness();
        break;
      case 'ack':
        this.#acknowledged = Math.max(this.#acknowledged, control.count);
        if (this.#answered && this.#acknowledged >= this.#sent) {
          this.#dirty = false;
          this.#offline.markSynced([this.doc.clientID, ...this.#inherited]);
          this.#inherited = [];
        }
        break;
      case 'disk':
        this.disk = control.state;
        this.diskDetail = control.detail ?? '';
        break;
      case 'moved':
        this.#events.moved(control.path);
        break;
      case 'notice':
        this.#events.notice(control.detail);
        return;
    }
    this.#events.changed();
  }

  #sendEdit(type: 'step2' | 'update', update: Uint8Array): void {
    this.#sent += 1;
    this.#send(encodeSync(type, update));
  }

  #sendAwareness(): void {
    const update = encodeAwarenessUpdate(this.awareness, [this.doc.clientID]);
    this.#send(encodeAwareness(update));
  }

  #send(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#socket?.readyState === 1) this.#socket.send(frame);
  }

  /** Starts the silence limit anew; a socket that says nothing for so long is dead. */
  #heard(socket: WebSocket): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#closed(socket, 1006, 'silence'), SILENCE_LIMIT);
  }

  #closed(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    this.#drop();
    socket.close();
    if (code === CloseCode.epochChanged) {
      void this.#startOver();
    } else if (isFinal(code)) {
      this.refused = { code, reason };
    } else if (!this.#destroyed) {
      this.#retry = setTimeout(() => this.connect(), this.#backoff.next());
    }
    this.#events.changed();
  }

  /** Forgets the socket and everything that was only true of it. */
  #drop(): void {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    this.#socket = null;
    this.#dirty ||= this.#acknowledged < this.#sent;
    this.#sent = this.#acknowledged = 0;
    this.connected = this.synced = this.#answered = false;
    const others = [...this.awareness.getStates().keys()].filter((id) => id !== this.doc.clientID);
    removeAwarenessStates(this.awareness, others, this);
  }

  async #startOver(): Promise<void> {
    const epoch = this.#epoch;
    const unsynced = this.unsynced;
    const { doc, awareness } = this;
    const text = this.text.toString();
    this.#epoch = null;
    this.#dirty = false;
    this.#inherited = [];
    this.#shown = false;
    this.doc = new Y.Doc();
    this.awareness = new Awareness(this.doc);
    this.#adopt(this.doc, this.awareness);
    this.#events.reset();
    if (epoch !== null) await this.#offline.retire(unsynced);
    awareness.destroy();
    doc.destroy();
    if (this.#destroyed) return;
    if (unsynced) this.#events.orphaned(text);
    // Not at once: whoever is closed again would come back without a pause.
    this.#retry = setTimeout(() => this.connect(), this.#backoff.next());
  }
}
