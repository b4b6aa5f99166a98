import 'fake-indexeddb/auto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { Backoff } from '../live/backoff';
import { FakeRoom, fakeStorage } from './fake-room';
import { OfflineStore, type KeyValue } from './offline';
import { Provider, SILENCE_LIMIT } from './provider';

/** A person's page: the provider, and what it told its owner. */
class Page {
  docs: Y.Doc[] = [];
  orphans: string[] = [];
  notices: string[] = [];
  moves: string[] = [];
  resets = 0;
  readonly provider: Provider;

  constructor(
    room: FakeRoom,
    readonly storage: KeyValue,
    path = 'a.txt',
  ) {
    this.provider = new Provider({
      url: 'ws://host/collab/a.txt',
      offline: new OfflineStore('ada', 'w', path, storage),
      backoff: new Backoff(1, 1),
      connect: room.connect,
      events: {
        changed: () => undefined,
        ready: (doc: Y.Doc, _awareness: Awareness) => void this.docs.push(doc),
        reset: () => (this.resets += 1),
        orphaned: (text) => void this.orphans.push(text),
        moved: (to) => void this.moves.push(to),
        notice: (detail) => void this.notices.push(detail),
      },
    });
    void this.provider.start();
  }

  get text(): string {
    return this.provider.text.toString();
  }

  type(text: string): void {
    this.provider.text.insert(this.provider.text.length, text);
  }

  synced(): Promise<void> {
    return vi.waitFor(() => expect([this.provider.synced, this.provider.unsynced]).toEqual([true, false]));
  }
}

let storage: KeyValue;
let pages: Page[] = [];
let path = 0;

function open(room: FakeRoom, name = `file-${path}`): Page {
  const page = new Page(room, storage, name);
  pages.push(page);
  return page;
}

beforeEach(() => {
  storage = fakeStorage();
  path += 1;
});

afterEach(() => {
  for (const page of pages) page.provider.destroy();
  pages = [];
  vi.useRealTimers();
});

describe('a provider', () => {
  test('shows the text of the room and merges edits of both sides', async () => {
    const room = new FakeRoom('hello');
    const page = open(room);
    await page.synced();
    page.type(' world');
    room.write('> ');
    expect(page.text).toBe('> hello world');
    expect(room.text).toBe('> hello world');
  });

  test('is synced only once the server acknowledged everything, its step 2 included', async () => {
    const room = new FakeRoom('x');
    room.acknowledges = false;
    const page = open(room);
    await vi.waitFor(() => expect(page.provider.synced).toBe(true));
    expect(page.provider.unsynced).toBe(true);
    page.type('y');
    room.sockets[0]?.control({ type: 'ack', count: 1 });
    expect(page.provider.unsynced).toBe(true);
    room.sockets[0]?.control({ type: 'ack', count: 2 });
    expect(page.provider.unsynced).toBe(false);
  });

  test('asks for our subprotocol and names its epoch when it connects again', async () => {
    const room = new FakeRoom('x');
    const page = open(room);
    await page.synced();
    room.sockets[0]?.fail(1012, 'restarting');
    await vi.waitFor(() => expect(room.urls).toHaveLength(2));
    expect(room.urls[1]).toContain('?epoch=e1');
  });

  test('sends what was typed while the server was away', async () => {
    const room = new FakeRoom('base');
    const page = open(room);
    await page.synced();
    room.up = false;
    room.sockets[0]?.fail(1006, '');
    page.type('+offline');
    expect(page.provider.unsynced).toBe(true);
    room.write('server+');
    room.up = true;
    await page.synced();
    expect(room.text).toBe('server+base+offline');
  });

  test('keeps unacknowledged edits over a reload without a server', async () => {
    const room = new FakeRoom('base');
    const page = open(room);
    await page.synced();
    room.up = false;
    room.sockets[0]?.fail(1006, '');
    page.type('+kept');
    await new Promise((done) => setTimeout(done, 20));
    page.provider.destroy();

    const reloaded = open(room);
    await vi.waitFor(() => expect(reloaded.docs).toHaveLength(1));
    expect(reloaded.text).toBe('base+kept');
    expect(reloaded.provider.unsynced).toBe(true);
    room.up = true;
    await reloaded.synced();
    expect(room.text).toBe('base+kept');
    expect(new OfflineStore('ada', 'w', `file-${path}`, storage).record.unsynced).toEqual([]);
  });

  test('gives unsynced text back when the server began another epoch', async () => {
    const room = new FakeRoom('old');
    const page = open(room);
    await page.synced();
    room.acknowledges = false;
    page.type(' mine');
    room.acknowledges = true;
    room.begin('e2', 'new');
    await page.synced();
    expect(page.text).toBe('new');
    expect(room.text).toBe('new');
    expect(page.orphans).toEqual(['old mine']);
    expect(page.docs).toHaveLength(2);
    expect(page.resets).toBe(1);
  });

  test('still offers the unsynced text after a reload, until it is dropped', async () => {
    const room = new FakeRoom('old');
    const page = open(room);
    await page.synced();
    room.up = false;
    room.sockets[0]?.fail(1006, '');
    page.type(' mine');
    await new Promise((done) => setTimeout(done, 20));
    page.provider.destroy();
    room.begin('e2', 'new');
    room.up = true;

    const second = open(room);
    await vi.waitFor(() => expect(second.orphans).toEqual(['old mine']));
    await second.synced();
    expect(second.text).toBe('new');
    second.provider.destroy();

    const third = open(room);
    await vi.waitFor(() => expect(third.orphans).toEqual(['old mine']));
    const store = new OfflineStore('ada', 'w', `file-${path}`, storage);
    await store.dropOrphans();
    expect(store.record.orphans).toEqual([]);
  });

  test('forgets an old epoch in which nothing was unsynced', async () => {
    const room = new FakeRoom('old');
    const page = open(room);
    await page.synced();
    room.begin('e2', 'new');
    await vi.waitFor(() => expect(page.text).toBe('new'));
    await page.synced();
    expect(page.orphans).toEqual([]);
    expect(new OfflineStore('ada', 'w', `file-${path}`, storage).record).toMatchObject({
      epoch: 'e2',
      unsynced: [],
      orphans: [],
    });
  });

  test('gives a document up that contradicts the server, in the same epoch, and offers its text', async () => {
    const room = new FakeRoom('base');
    const page = open(room);
    await page.synced();
    room.acknowledges = false;
    page.type(' mine');
    room.acknowledges = true;
    const [first] = page.docs;
    // What the server has under this client's id is something else.
    room.begin('e1', 'theirs');
    await page.synced();
    expect(page.text).toBe('theirs');
    expect(room.text).toBe('theirs');
    expect(page.orphans).toEqual(['base mine']);
    expect(page.docs[1]).not.toBe(first);
    expect(page.docs[1]?.clientID).not.toBe(first?.clientID);
    page.provider.destroy();

    // A reload must not bring the given-up document back into the new one.
    const reloaded = open(room);
    await reloaded.synced();
    expect(reloaded.text).toBe('theirs');
    expect(room.text).toBe('theirs');
    expect(reloaded.orphans).toEqual(['base mine']);
  });

  test('waits before it comes back from a document that was given up', async () => {
    const room = new FakeRoom('x');
    const page = open(room);
    await page.synced();
    vi.useFakeTimers();
    for (const socket of room.sockets) socket.fail(4409, 'again');
    expect(room.urls).toHaveLength(1);
    vi.useRealTimers();
  });

  test('follows a file that moves: the socket stays, the next one is opened there', async () => {
    const room = new FakeRoom('text');
    const page = open(room);
    await page.synced();
    const [doc] = page.docs;
    room.move('b.txt');
    expect(page.moves).toEqual(['b.txt']);
    page.provider.url = 'ws://host/collab/b.txt';
    page.type('!');
    await page.synced();
    room.cut();
    await vi.waitFor(() => expect(room.urls).toHaveLength(2));
    expect(room.urls[1]).toContain('/b.txt?epoch=e1');
    await page.synced();
    expect(page.provider.doc).toBe(doc);
    expect(page.docs).toHaveLength(1);
    expect(room.text).toBe('text!');
  });

  test('stays one document however often the server goes and comes', async () => {
    const room = new FakeRoom('.');
    const page = open(room);
    await page.synced();
    for (let n = 0; n < 5; n += 1) {
      room.up = false;
      room.cut();
      page.type(`${n}`);
      room.write('-');
      room.up = true;
      await page.synced();
    }
    expect(page.docs).toHaveLength(1);
    expect(page.resets).toBe(0);
    expect(page.text).toBe('-----.01234');
    expect(room.text).toBe(page.text);
  });

  test('shares what is kept with the other tabs of the browser', async () => {
    const room = new FakeRoom('base');
    const one = open(room);
    await one.synced();
    const two = open(room);
    await two.synced();
    room.up = false;
    room.cut();
    one.type(' one');
    two.type(' two');
    await new Promise((done) => setTimeout(done, 20));
    one.provider.destroy();
    two.provider.destroy();
    room.up = true;

    const later = open(room);
    await later.synced();
    expect(room.text).toContain(' one');
    expect(room.text).toContain(' two');
    expect(room.text).toHaveLength('base one two'.length);
  });

  test('sends no edit of a viewer, not even an empty step 2', async () => {
    const room = new FakeRoom('look');
    room.readOnly = true;
    const page = open(room);
    await vi.waitFor(() => expect(page.provider.synced).toBe(true));
    expect(page.text).toBe('look');
    expect(page.provider.readOnly).toBe(true);
    expect(room.sockets[0]?.received).toBe(0);
  });

  test.each([4401, 4403, 4404, 4413, 4415])('stops after close code %i', async (code) => {
    const room = new FakeRoom('x');
    const page = open(room);
    await page.synced();
    room.sockets[0]?.fail(code, 'because');
    await new Promise((done) => setTimeout(done, 20));
    expect(room.urls).toHaveLength(1);
    expect(page.provider.refused).toEqual({ code, reason: 'because' });
  });

  test('connects again after a silence', async () => {
    const room = new FakeRoom('x');
    const page = open(room);
    await page.synced();
    vi.useFakeTimers();
    room.sockets[0]?.control({ type: 'disk', state: 'clean' });
    vi.advanceTimersByTime(SILENCE_LIMIT - 1);
    expect(page.provider.connected).toBe(true);
    vi.advanceTimersByTime(1);
    expect(page.provider.connected).toBe(false);
    await vi.advanceTimersByTimeAsync(5);
    expect(page.provider.connected).toBe(true);
  });

  test('reports the state of the file on disk', async () => {
    const room = new FakeRoom('x');
    const page = open(room);
    await page.synced();
    room.sockets[0]?.control({ type: 'disk', state: 'failed', detail: 'No space left' });
    expect([page.provider.disk, page.provider.diskDetail]).toEqual(['failed', 'No space left']);
  });

  test('works without a database, and says that nothing is kept', async () => {
    const database = globalThis.indexedDB;
    Reflect.deleteProperty(globalThis, 'indexedDB');
    try {
      const room = new FakeRoom('x');
      const page = open(room);
      await page.synced();
      expect(page.provider.kept).toBe(false);
    } finally {
      globalThis.indexedDB = database;
    }
  });
});
