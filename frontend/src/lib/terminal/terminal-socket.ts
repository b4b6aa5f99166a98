/**
 * One viewer's connection to a shared terminal.
 *
 * Binary frames are terminal bytes both ways. The server opens with "replay", the history, then
 * "ready", and may do so again when this viewer fell behind: the screen starts over each time, in
 * the order in which all this came, because drawing lags behind receiving. Keys that are typed
 * meanwhile wait until the history has been drawn; what the emulator says by itself while history
 * runs through it must not reach the shell.
 */
import { Backoff } from '../live/backoff';
import { CloseCode, isFinal, type TerminalControl, type TerminalExit, type TerminalRecording, type TerminalRequest, type TerminalTyping, type Viewer } from '../protocol';

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
  typing(typing: TerminalTyping): void;
  /** Somebody types, or (`held`) has pressed an Enter that waits for the owner's. */
  typed(person: Viewer, held: boolean): void;
  recording(recording: TerminalRecording | null): void;
  exit(exit: TerminalExit): void;
  gone(code: number, reason: string): void;
}

const NOTHING = new Uint8Array();
/** Bytes drawn after which the server is told; it lets a program wait when 512 KiB are not drawn. */
const ACK_EVERY = 128 * 1024;
const WAITING_LIMIT = 64 * 1024; // bytes of keys that wait for the history
const WAITING_MS = 10_000; // and for how long: later, nobody expects them any more

/** Answers of an emulator: DA, CPR and DSR, DECRPM, window reports, focus; DCS and OSC. */
const ANSWER =
  /^(?:\x1b\[(?:[?>=][\d;]*c|\??\d+(?:;\d+){0,2}R|\??[\d;]+n|\??[\d;]+\$y|[\d;]+t|\?\d+u|[IO])|\x1b[P\]][^\x1b\x07]*(?:\x07|\x1b\\))+$/;

function isAnswer(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1b && ANSWER.test(String.fromCharCode(...bytes.subarray(0, 1024)));
}

export class TerminalSocket {
  #socket: WebSocket | null = null;
  #backoff = new Backoff();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #live = false;
  #writable = true;
  #exited = false;
  #closed = false;
  #wanted: { cols: number; rows: number } | null = null;
  /** Numbers replays, so that the end of an older one does not open the input for a newer one. */
  #replay = 0;
  #number = 0; // the server's number of the replay
  #received = 0; // bytes since it began
  #acknowledged = 0;
  #visible = true;
  #waiting: { bytes: Uint8Array<ArrayBuffer>; at: number }[] = [];

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
    socket.onopen = () => {
      this.#sendSize();
      if (!this.#visible) this.#send({ type: 'visible', visible: false });
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (typeof event.data === 'string') this.#control(JSON.parse(event.data) as TerminalControl);
      else this.#draw(new Uint8Array(event.data));
    };
    socket.onclose = (event) => this.#dropped(socket, event.code, event.reason);
  }

  /** Sends what a person typed, or keeps it until the history is drawn; false: it went nowhere. */
  input(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (!this.#writable || this.#exited || this.#closed) return false;
    if (this.#live && this.#socket?.readyState === 1) {
      this.#socket.send(bytes);
      return true;
    }
    const kept = this.#waiting.reduce((sum, each) => sum + each.bytes.length, 0);
    if (isAnswer(bytes) || kept + bytes.length > WAITING_LIMIT) return false;
    this.#waiting.push({ bytes, at: Date.now() });
    return true;
  }

  /** Whether anybody sees this viewer: only those decide about the size. */
  visible(visible: boolean): void {
    if (visible === this.#visible) return;
    this.#visible = visible;
    this.#send({ type: 'visible', visible });
  }

  /** Takes the size for this viewer alone, or gives it back. */
  control(hold: boolean): void {
    this.#send({ type: 'control', hold });
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

  #send(message: TerminalRequest): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #draw(bytes: Uint8Array): void {
    const number = this.#number;
    this.#received += bytes.length;
    const upto = this.#received;
    this.screen.write(bytes, () => {
      if (number !== this.#number || upto - this.#acknowledged < ACK_EVERY) return;
      this.#acknowledged = upto;
      this.#send({ type: 'ack', number, bytes: upto });
    });
  }

  #flush(): void {
    const oldest = Date.now() - WAITING_MS;
    const waiting = this.#waiting.splice(0);
    if (!this.#writable || this.#socket?.readyState !== 1) return;
    for (const { bytes, at } of waiting) if (at >= oldest) this.#socket.send(bytes);
  }

  #control(control: TerminalControl): void {
    switch (control.type) {
      case 'replay':
        this.#replay += 1;
        this.#number = control.number;
        this.#received = this.#acknowledged = 0;
        this.#live = false;
        this.screen.write(NOTHING, () => {
          this.screen.reset();
          this.screen.resize(control.cols, control.rows);
        });
        return this.events.size(control.cols, control.rows);
      case 'ready': {
        const replay = this.#replay;
        this.#backoff.reset();
        this.#writable = control.writable;
        this.screen.write(NOTHING, () => {
          if (replay !== this.#replay) return;
          this.#live = true;
          this.events.writable(this.#writable);
          this.#flush();
        });
        return this.events.connected(true);
      }
      case 'resize':
        // After what was printed for the former size.
        this.screen.write(NOTHING, () => this.screen.resize(control.cols, control.rows));
        return this.events.size(control.cols, control.rows);
      case 'typing':
        this.#writable = control.writable;
        if (this.#live) this.events.writable(control.writable);
        return this.events.typing(control);
      case 'typed':
      case 'held':
        return this.events.typed(control.person, control.type === 'held');
      case 'recording':
        return this.events.recording(control.recording);
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
