/**
 * What one run prints, from its beginning to its end.
 *
 * The server sends "replay", what is kept, "ready", then bytes as they come, and "ended". It starts
 * over with "replay" when this page fell behind; after a lost connection the page comes back.
 */
import { Backoff } from '../live/backoff';
import { isFinal, type TaskRun, type TaskRunControl } from '../protocol';

export interface RunEvents {
  /** All there was is to be forgotten; `lost` bytes before what follows are no longer kept. */
  replay(lost: number): void;
  bytes(data: Uint8Array): void;
  ended(run: TaskRun): void;
  /** It cannot be shown, and why. */
  gone(reason: string): void;
}

export class RunSocket {
  #socket: WebSocket | null = null;
  #backoff = new Backoff();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #done = false;

  constructor(
    private readonly url: string,
    private readonly events: RunEvents,
    private readonly open: (url: string) => WebSocket = (url) => new WebSocket(url),
  ) {
    this.#connect();
  }

  close(): void {
    this.#done = true;
    clearTimeout(this.#retry);
    this.#socket?.close();
  }

  #connect(): void {
    const socket = this.open(this.url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onmessage = (message: MessageEvent<string | ArrayBuffer>) => {
      if (this.#done) return;
      if (typeof message.data === 'string') this.#take(JSON.parse(message.data) as TaskRunControl);
      else this.events.bytes(new Uint8Array(message.data));
    };
    socket.onclose = (event) => {
      if (this.#done) return;
      if (isFinal(event.code)) {
        this.#done = true;
        this.events.gone(event.reason || 'This run is gone.');
        return;
      }
      this.#retry = setTimeout(() => this.#connect(), this.#backoff.next());
    };
  }

  #take(message: TaskRunControl): void {
    switch (message.type) {
      case 'replay':
        this.events.replay(message.lost);
        return;
      case 'ready':
        this.#backoff.reset();
        return;
      case 'ended':
        this.#done = true;
        this.events.ended(message.run);
    }
  }
}
