import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { TaskRun } from '../protocol';
import { RunSocket } from './run-socket';

class FakeSocket {
  static all: FakeSocket[] = [];
  binaryType = '';
  closed = false;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  close(): void {
    this.closed = true;
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  print(text: string): void {
    this.onmessage?.({ data: new TextEncoder().encode(text).buffer });
  }
}

const heard: string[] = [];

function look(): RunSocket {
  return new RunSocket(
    '/run',
    {
      replay: (lost) => heard.push(`replay ${lost}`),
      bytes: (data) => heard.push(new TextDecoder().decode(data)),
      ended: (run) => heard.push(`ended ${run.state}`),
      gone: (reason) => heard.push(`gone ${reason}`),
    },
    (url) => new FakeSocket(url) as unknown as WebSocket,
  );
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  heard.length = 0;
});
afterEach(() => vi.useRealTimers());

test('a run from its beginning to its end', () => {
  look();
  const [socket] = FakeSocket.all;
  socket?.say({ type: 'replay', lost: 3 });
  socket?.print('one');
  socket?.say({ type: 'ready' });
  socket?.print('two');
  socket?.say({ type: 'ended', run: { state: 'passed' } as TaskRun });
  socket?.onclose?.({ code: 1000, reason: '' });
  vi.runAllTimers();
  expect(heard).toEqual(['replay 3', 'one', 'two', 'ended passed']);
  expect(FakeSocket.all).toHaveLength(1);
});

test('a lost connection is made again, a final close is not', () => {
  look();
  FakeSocket.all[0]?.onclose?.({ code: 1006, reason: '' });
  vi.runAllTimers();
  expect(FakeSocket.all).toHaveLength(2);
  FakeSocket.all[1]?.onclose?.({ code: 4404, reason: 'not kept' });
  vi.runAllTimers();
  expect(FakeSocket.all).toHaveLength(2);
  expect(heard).toEqual(['gone not kept']);
});

test('who has left hears nothing', () => {
  const run = look();
  run.close();
  FakeSocket.all[0]?.print('late');
  FakeSocket.all[0]?.onclose?.({ code: 1006, reason: '' });
  vi.runAllTimers();
  expect(heard).toEqual([]);
  expect(FakeSocket.all).toHaveLength(1);
});
