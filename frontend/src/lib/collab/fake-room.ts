/** A room in memory that speaks the server's side of the collaboration socket, for tests. */
import * as Y from 'yjs';
import type { CollabControl } from '../protocol';
import { decode, encodeControl, encodeSync } from './codec';

export class FakeRoom {
  doc = new Y.Doc();
  epoch = 'e1';
  readOnly = false;
  /** While false, acknowledgements are held back. */
  acknowledges = true;
  /** While false, sockets close with 1006 instead of opening. */
  up = true;
  sockets: FakeSocket[] = [];
  urls: string[] = [];

  constructor(text = '') {
    this.write(text);
  }

  get text(): string {
    return this.doc.getText('content').toString();
  }

  write(text: string): void {
    this.doc.getText('content').insert(0, text);
  }

  /** Another history of the file, as after the server's store was reset. */
  begin(epoch: string, text: string): void {
    this.doc = new Y.Doc();
    this.epoch = epoch;
    this.write(text);
    for (const socket of [...this.sockets]) socket.fail(4409, 'another epoch');
  }

  /** The file has another path; everybody is told and stays. */
  move(path: string): void {
    for (const socket of this.sockets) socket.control({ type: 'moved', path });
  }

  /** Every socket breaks, as when the network goes; `up` decides whether they come back. */
  cut(): void {
    for (const socket of [...this.sockets]) socket.fail(1006, '');
  }

  connect = (url: string, protocol: string): WebSocket => {
    this.urls.push(url);
    return new FakeSocket(this, url, protocol) as unknown as WebSocket;
  };
}

export class FakeSocket {
  binaryType = '';
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  /** Steps 2 and edits received on this socket. */
  received = 0;
  readonly #observer = (update: Uint8Array, origin: unknown): void => {
    if (origin !== this) this.deliver(encodeSync('update', update));
  };

  constructor(
    readonly room: FakeRoom,
    readonly url: string,
    readonly protocol: string,
  ) {
    queueMicrotask(() => this.#accept());
  }

  #accept(): void {
    if (!this.room.up) return this.fail(1006, '');
    const epoch = new URL(this.url, 'ws://host').searchParams.get('epoch');
    this.readyState = 1;
    this.onopen?.();
    if (epoch !== null && epoch !== this.room.epoch) return this.fail(4409, 'another epoch');
    this.room.sockets.push(this);
    this.room.doc.on('update', this.#observer);
    this.control({
      type: 'hello',
      epoch: this.room.epoch,
      read_only: this.room.readOnly,
      format: { encoding: 'utf-8', bom: false, eol: '\n' },
    });
    this.deliver(encodeSync('step1', Y.encodeStateVector(this.room.doc)));
  }

  control(control: CollabControl): void {
    this.deliver(encodeControl(control));
  }

  deliver(frame: Uint8Array<ArrayBuffer>): void {
    this.onmessage?.({ data: frame.slice().buffer });
  }

  acknowledge(): void {
    this.control({ type: 'ack', count: this.received });
  }

  send(frame: Uint8Array): void {
    if (this.readyState !== 1) throw new Error('sent on a closed socket');
    const message = decode(frame);
    if (message?.type === 'step1') {
      this.deliver(encodeSync('step2', Y.encodeStateAsUpdate(this.room.doc, message.stateVector)));
    } else if (message?.type === 'step2' || message?.type === 'update') {
      if (this.room.readOnly) throw new Error('a viewer sent an edit');
      this.received += 1;
      Y.applyUpdate(this.room.doc, message.update, this);
      if (this.room.acknowledges) this.acknowledge();
    }
  }

  fail(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.room.doc.off('update', this.#observer);
    this.room.sockets = this.room.sockets.filter((socket) => socket !== this);
    this.onclose?.({ code, reason });
  }

  close(): void {
    this.fail(1000, '');
  }
}

/** localStorage in memory. */
export function fakeStorage(): Storage {
  const map = new Map<string, string>();
  return {
    getItem: (key: string) => map.get(key) ?? null,
    setItem: (key: string, value: string) => void map.set(key, value),
    removeItem: (key: string) => void map.delete(key),
  } as unknown as Storage;
}
