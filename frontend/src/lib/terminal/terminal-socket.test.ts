import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { TerminalControl } from '../protocol';
import { TerminalSocket, type Screen } from './terminal-socket';

class FakeSocket {
  readyState = 1;
  binaryType = '';
  sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer | string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  send(data: unknown): void {
    this.sent.push(data);
  }

  control(control: TerminalControl): void {
    this.onmessage?.({ data: JSON.stringify(control) });
  }

  bytes(text: string): void {
    this.onmessage?.({ data: new TextEncoder().encode(text).buffer });
  }

  close(): void {
    this.readyState = 3;
  }
}

let sockets: FakeSocket[];
let log: string[];
/** Drawing is asynchronous in the emulator: these wait until the test lets them run. */
let pending: (() => void)[];

const screen: Screen = {
  reset: () => log.push('reset'),
  resize: (cols, rows) => log.push(`resize ${cols}x${rows}`),
  write: (bytes, drawn) => {
    if (bytes.length > 0) log.push(`write ${new TextDecoder().decode(bytes)}`);
    if (drawn) pending.push(drawn);
  },
};

function attach(): TerminalSocket {
  return new TerminalSocket(
    'ws://host/t',
    screen,
    {
      connected: (yes) => log.push(yes ? 'connected' : 'disconnected'),
      writable: (yes) => log.push(yes ? 'writable' : 'view only'),
      size: () => undefined,
      viewers: (people) => log.push(`viewers ${people.length}`),
      title: (title) => log.push(`title ${title}`),
      typing: ({ mode }) => log.push(`typing ${mode}`),
      typed: (person, held) => log.push(`${held ? 'held' : 'typed'} ${person.name}`),
      recording: (recording) => log.push(`recording ${recording?.running}`),
      exit: (exit) => log.push(`exit ${exit.code}`),
      gone: (code) => log.push(`gone ${code}`),
    },
    () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket as unknown as WebSocket;
    },
  );
}

function latest(): FakeSocket {
  const socket = sockets.at(-1);
  if (!socket) throw new Error('nothing connected');
  return socket;
}

function drawAll(): void {
  pending.splice(0).forEach((drawn) => drawn());
}

const typed = new TextEncoder().encode('ls\n');

beforeEach(() => {
  sockets = [];
  log = [];
  pending = [];
});

describe('a terminal socket', () => {
  test('starts the screen over for a replay', () => {
    attach();
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 1 });
    latest().bytes('hello');
    // Starting over waits its turn: the emulator still has to draw what came before.
    expect(log).toEqual(['write hello']);
    drawAll();
    expect(log).toEqual(['write hello', 'reset', 'resize 80x24']);
  });

  test('acknowledges what was drawn, not what was received', () => {
    attach();
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 7 });
    latest().bytes('x'.repeat(100_000));
    latest().bytes('y'.repeat(100_000));
    expect(latest().sent).toEqual([]);
    drawAll();
    expect(latest().sent).toEqual(['{"type":"ack","number":7,"bytes":200000}']);
    latest().bytes('z'.repeat(200_000));
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 8 });
    drawAll();
    expect(latest().sent).toHaveLength(1);
  });

  test('keeps keys that are typed before the history was drawn, but no answers', () => {
    const terminal = attach();
    const answer = new TextEncoder().encode('\x1b[?1;2c');
    expect(terminal.input(typed)).toBe(true);
    expect(terminal.input(answer)).toBe(false);
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 1 });
    latest().control({ type: 'ready', writable: true });
    expect(latest().sent).toEqual([]);
    drawAll();
    expect(latest().sent).toEqual([typed]);
    expect(terminal.input(answer)).toBe(true);
  });

  test('forgets keys that nobody expects any more', () => {
    vi.useFakeTimers();
    const terminal = attach();
    terminal.input(typed);
    vi.advanceTimersByTime(11_000);
    latest().control({ type: 'ready', writable: true });
    drawAll();
    expect(latest().sent).toEqual([]);
    vi.useRealTimers();
  });

  test('tells when nobody sees it, on every connection', () => {
    const terminal = attach();
    terminal.visible(false);
    terminal.visible(false);
    expect(latest().sent).toEqual(['{"type":"visible","visible":false}']);
  });

  test('says who types, and whose Enter waits', () => {
    attach();
    const person = { id: 'a', name: 'Ann', color: '#123' };
    latest().control({ type: 'typed', person });
    latest().control({ type: 'held', person });
    latest().control({ type: 'typing', mode: 'owner', owner: person, control: null, writable: false });
    expect(log).toEqual(['typed Ann', 'held Ann', 'typing owner']);
  });

  test('lets input through only after the history was drawn', () => {
    const terminal = attach();
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 1 });
    latest().control({ type: 'ready', writable: true });
    terminal.input(typed);
    expect(latest().sent).toEqual([]);
    drawAll();
    expect(latest().sent).toEqual([typed]);
  });

  test('closes the input again when the server resynchronises', () => {
    const terminal = attach();
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 1 });
    latest().control({ type: 'ready', writable: true });
    latest().control({ type: 'replay', cols: 80, rows: 24, number: 1 });
    terminal.input(typed);
    pending.splice(0, 2).forEach((drawn) => drawn());
    expect(latest().sent).toEqual([]);
  });

  test('sends nothing of a viewer without the right to type', () => {
    const terminal = attach();
    latest().control({ type: 'ready', writable: false });
    drawAll();
    expect(terminal.input(typed)).toBe(false);
  });

  test('tells its size on every connection, and only when it changed', () => {
    const terminal = attach();
    terminal.room(100, 30);
    terminal.room(100, 30);
    expect(latest().sent).toEqual(['{"type":"resize","cols":100,"rows":30}']);
  });

  test('connects again after a restart, but not once the shell has exited', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    attach();
    latest().onclose?.({ code: 1012, reason: '' });
    await vi.waitFor(() => expect(sockets).toHaveLength(2));
    latest().control({ type: 'exit', code: 3 });
    latest().onclose?.({ code: 1000, reason: '' });
    await new Promise((done) => setTimeout(done, 10));
    expect(sockets).toHaveLength(2);
    expect(log).toContain('exit 3');
  });

  test('gives up on a final close code', () => {
    attach();
    latest().onclose?.({ code: 4404, reason: '' });
    expect(log).toContain('gone 4404');
  });
});
