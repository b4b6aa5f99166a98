/**
 * One viewer's connection to a shared terminal.
 *
 * Binary frames are terminal bytes both ways. The server opens with "replay", the history, then
 * "ready", and may do so again when this viewer fell behind: the screen starts over each time. What
 * the emulator says by itself while history runs through it (answers to device queries) must not
 * reach the shell, so input counts only after the history has been drawn.
 */
import { Backoff } from '../live/backoff';
import { CloseCode, isFinal, type TerminalControl, type TerminalExit, type Viewer } from '../protocol';

/** The part of the terminal emulator that the connection drives. */
export interface Screen {
  reset(): void;
  resize(cols: number, rows: number): void;
  /** Draws bytes; `drawn` is called when they and all before them are on the screen. */
  write(bytes: Uint8Array, drawn?: () => void): void;
}

export interface TerminalEvents {
  connected(connected: boolean): void;
  writable(writable: boolean): void;
  size(cols: number, rows: number): void;
  viewers(people: Viewer[]): void;
  title(title: string): void;
  exit(exit: TerminalExit): void;
  gone(code: number, reason: string): void;
}

const NOTHING = new Uint8Array();

export class TerminalSocket {
  #socket: WebSocket | null = null;
  #backoff = new Backoff();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #live = false;
  #writable = false;
  #exited = false;
  #closed = false;
  #wanted: { cols: number; rows: number } | null = null;
  /** Numbers replays, so that the end of an older one does not open the input for a newer one. */
  #replay = 0;

  constructor(
    private readonly url: string,
    private readonly screen: Screen,
    private readonly events: TerminalEvents,
    private readonly open: (url: string) => WebSocket = (url) => new WebSocket(url),
  ) {
    this.connect();
  }

  /** Connects now unless connected. */
  connect(): void {
    clearTimeout(this.#retry);
    if (this.#socket || this.#closed || this.#exited) return;
    const socket = this.open(this.url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onopen = () => this.#sendSize();
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (typeof event.data === 'string') this.#control(JSON.parse(event.data) as TerminalControl);
      else this.screen.write(new Uint8Array(event.data));
    };
    socket.onclose = (event) => this.#dropped(socket, event.code, event.reason);
  }

  /** Sends what a person typed; false when it went nowhere. */
  input(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (!this.#live || !this.#writable || this.#socket?.readyState !== 1) return false;
    this.#socket.send(bytes);
    return true;
  }

  /** Tells how much room this viewer has; the server answers with the shared size. */
  room(cols: number, rows: number): void {
    if (this.#wanted?.cols === cols && this.#wanted.rows === rows) return;
    this.#wanted = { cols, rows };
    this.#sendSize();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.close(CloseCode.normal);
    this.#socket = null;
  }

  #sendSize(): void {
    if (this.#wanted && this.#socket?.readyState === 1) {
      this.#socket.send(JSON.stringify({ type: 'resize', ...this.#wanted }));
    }
  }

  #control(control: TerminalControl): void {
    switch (control.type) {
      case 'replay':
        this.#replay += 1;
        this.#live = false;
        this.screen.reset();
        this.screen.resize(control.cols, control.rows);
        this.events.size(control.cols, control.rows);
        return;
      case 'ready': {
        const replay = this.#replay;
        this.#backoff.reset();
        this.screen.write(NOTHING, () => {
          if (replay !== this.#replay) return;
          this.#live = true;
          this.#writable = control.writable;
          this.events.writable(control.writable);
        });
        return this.events.connected(true);
      }
      case 'resize':
        this.screen.resize(control.cols, control.rows);
        return this.events.size(control.cols, control.rows);
      case 'viewers':
        return this.events.viewers(control.people);
      case 'title':
        return this.events.title(control.title);
      case 'exit':
        this.#exited = true;
        this.#live = false;
        return this.events.exit({ code: control.code ?? null, signal: control.signal ?? null });
    }
  }

  #dropped(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#live = false;
    this.events.connected(false);
    if (this.#closed || this.#exited) return;
    if (isFinal(code)) this.events.gone(code, reason);
    else this.#retry = setTimeout(() => this.connect(), this.#backoff.next());
  }
}
