// @vitest-environment jsdom
import type { EditorView } from '@codemirror/view';
import { EditorState } from '@codemirror/state';
import { describe, expect, it, vi } from 'vitest';
import { Backoff } from '../live/backoff';
import { Disconnected, LanguageConnection } from './connection';

class FakeSocket {
  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  send(message: string): void {
    this.sent.push(JSON.parse(message) as Record<string, unknown>);
  }

  close(): void {
    this.onclose?.({ code: 1006, reason: '' });
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  tell(message: object): void {
    this.onmessage?.({ data: JSON.stringify({ jsonrpc: '2.0', ...message }) });
  }

  methods(): unknown[] {
    return this.sent.map((message) => message['method']);
  }

  answer(method: string, result: unknown): void {
    const asked = this.sent.findLast((message) => message['method'] === method);
    this.tell({ id: asked?.['id'], result });
  }
}

function begin(): { sockets: FakeSocket[]; connection: LanguageConnection; refresh: ReturnType<typeof vi.fn>; opened: () => Promise<FakeSocket>; unused: { value: boolean } } {
  const sockets: FakeSocket[] = [];
  const refresh = vi.fn();
  const unused = { value: false };
  const connection = new LanguageConnection({
    url: 'ws://here/lsp/python',
    rootUri: 'file:///workspace',
    extensions: [],
    sanitizeHTML: (html) => html,
    stamp: (uri) => ({ cloudide: { uri } }),
    show: () => Promise.resolve(null),
    refresh,
    changed: () => undefined,
    unused: () => void (unused.value = true),
    backoff: new Backoff(0, 0),
    connect: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket as unknown as WebSocket;
    },
  });
  const opened = async (): Promise<FakeSocket> => {
    const count = sockets.length;
    const socket = sockets.at(-1);
    if (!socket) throw new Error('no socket');
    socket.open();
    socket.answer('initialize', { capabilities: {} });
    await vi.waitFor(() => expect(connection.ready).toBe(true));
    expect(sockets.length).toBe(count);
    return socket;
  };
  return { sockets, connection, refresh, opened, unused };
}

const uri = 'file:///workspace/a.py';

function view(): EditorView {
  return { state: EditorState.create({ doc: 'secret text' }) } as EditorView;
}

describe('the connection to language servers', () => {
  it('opens documents without their text, and anew on each socket', async () => {
    const { sockets, connection, opened } = begin();
    const editor = view();
    connection.client.workspace.openFile(uri, 'python', editor);
    connection.client.workspace.openFile(uri, 'python', view()); // a second editor of it
    const first = await opened();
    await vi.waitFor(() => expect(first.methods()).toContain('textDocument/didOpen'));
    expect(first.methods().filter((method) => method === 'textDocument/didOpen')).toHaveLength(1);
    expect(JSON.stringify(first.sent)).not.toContain('secret');
    first.close();
    await vi.waitFor(() => expect(sockets).toHaveLength(2));
    const second = await opened();
    await vi.waitFor(() => expect(second.methods()).toEqual(['initialize', 'initialized', 'textDocument/didOpen']));
    connection.client.workspace.closeFile(uri, editor);
    expect(second.methods()).not.toContain('textDocument/didClose'); // one editor is left
    connection.close();
  });

  it('says in each request what it was made after, and fails what a lost socket cannot answer', async () => {
    const { connection, opened } = begin();
    await expect(connection.client.request('textDocument/hover', {})).rejects.toBeInstanceOf(Disconnected);
    const socket = await opened();
    const params = { textDocument: { uri }, position: { line: 0, character: 1 } };
    const answer = connection.client.request('textDocument/hover', params);
    await vi.waitFor(() => expect(socket.methods()).toContain('textDocument/hover'));
    expect(socket.sent.at(-1)?.['params']).toEqual({ ...params, cloudide: { uri } });
    // The object itself: it is what the request is cancelled by.
    connection.client.cancelRequest(params);
    await vi.waitFor(() => expect(socket.methods()).toContain('$/cancelRequest'));
    socket.close();
    await expect(answer).rejects.toBeInstanceOf(Disconnected);
    connection.close();
  });

  it('has no signature to show where a server refuses one', async () => {
    const { connection, opened } = begin();
    const socket = await opened();
    const answer = connection.client.request('textDocument/signatureHelp', { textDocument: { uri } });
    await vi.waitFor(() => expect(socket.methods()).toContain('textDocument/signatureHelp'));
    socket.tell({ id: socket.sent.at(-1)?.['id'], error: { code: -32801, message: 'The text has changed.' } });
    await expect(answer).resolves.toBeNull();
    connection.close();
  });

  it('answers the questions of servers, each once', async () => {
    const { connection, opened, refresh } = begin();
    const socket = await opened();
    socket.tell({ id: 7, method: 'workspace/semanticTokens/refresh' });
    socket.tell({ id: 8, method: 'workspace/unheardOf', params: {} });
    const answers = socket.sent.filter((message) => !('method' in message));
    expect(answers.map((message) => message['id'])).toEqual([7, 8]);
    expect(refresh).toHaveBeenCalledTimes(1);
    connection.close();
  });

  it('ends a while after the last file is closed', () => {
    vi.useFakeTimers();
    const { connection, unused } = begin();
    const editor = view();
    connection.client.workspace.openFile(uri, 'python', editor);
    connection.client.workspace.closeFile(uri, editor);
    vi.advanceTimersByTime(59_000);
    connection.client.workspace.openFile(uri, 'python', editor); // back in time
    vi.advanceTimersByTime(120_000);
    expect(unused.value).toBe(false);
    connection.client.workspace.closeFile(uri, editor);
    vi.advanceTimersByTime(61_000);
    expect(unused.value).toBe(true);
    vi.useRealTimers();
  });

  it('stays away when it is refused', () => {
    const { sockets, connection } = begin();
    sockets[0]?.onclose?.({ code: 4403, reason: 'You may not.' });
    expect(connection.refused).toBe('You may not.');
    expect(sockets).toHaveLength(1);
    connection.connect();
    expect(sockets).toHaveLength(2);
    connection.close();
  });
});
