import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LiveEvents, type PageEvent } from './events.svelte';

class FakeSocket {
  readyState = 0;
  sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  accept(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  drop(code: number): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: '' });
  }

  close(): void {
    this.readyState = 3;
  }
}

let sockets: FakeSocket[];
let live: LiveEvents;

function latest(): FakeSocket {
  const socket = sockets.at(-1);
  if (!socket) throw new Error('nothing connected');
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('window', { location: { protocol: 'http:', host: 'host' } });
  vi.stubGlobal('WebSocket', { OPEN: 1 });
  sockets = [];
  live = new LiveEvents(() => {
    const socket = new FakeSocket();
    sockets.push(socket);
    return socket as unknown as WebSocket;
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('live events', () => {
  test('asks again for everything watched after a reconnect', async () => {
    live.watch('w');
    latest().accept();
    live.here('w', 'a.py');
    latest().drop(1012);
    await vi.advanceTimersByTimeAsync(400);
    expect(sockets).toHaveLength(2);
    latest().accept();
    expect(latest().sent).toEqual([
      { type: 'watch', workspace: 'w' },
      { type: 'here', workspace: 'w', path: 'a.py' },
    ]);
    expect(live.connected).toBe(true);
  });

  test('tells its listeners that it starts over, then what the server says', () => {
    const heard: PageEvent[] = [];
    live.listen((event) => heard.push(event));
    live.watchList();
    latest().accept();
    latest().onmessage?.({ data: '{"type":"workspaces","workspaces":[]}' });
    expect(heard.map((event) => event.type)).toEqual(['reconnected', 'workspaces']);
  });

  test('does not try again after a final close code', async () => {
    live.watch('w');
    latest().accept();
    latest().drop(4401);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets).toHaveLength(1);
    expect(live.refused?.code).toBe(4401);
  });

  test('drops a connection that went silent', async () => {
    live.watch('w');
    latest().accept();
    await vi.advanceTimersByTimeAsync(46_000);
    expect(sockets.length).toBeGreaterThan(1);
  });

  test('lets go of the socket when nothing is watched any more', () => {
    const unwatch = live.watch('w');
    latest().accept();
    unwatch();
    expect(latest().readyState).toBe(3);
  });
});
