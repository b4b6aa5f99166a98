// @vitest-environment jsdom
import 'fake-indexeddb/auto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FakeRoom, fakeStorage } from '../collab/fake-room';
import { OfflineStore } from '../collab/offline';
import { Provider } from '../collab/provider';
import { Backoff } from '../live/backoff';
import { Editor } from './setup';

// jsdom lays nothing out, and says so by leaving this away.
Range.prototype.getClientRects = () => [] as unknown as DOMRectList;

/** A person at a real editor, in the room over a provider. */
class Tab {
  editors: Editor[] = [];
  orphans: string[] = [];
  readonly provider: Provider;

  constructor(room: FakeRoom, path: string) {
    this.provider = new Provider({
      url: 'ws://host/collab/a.txt',
      offline: new OfflineStore('ada', 'w', path, fakeStorage()),
      backoff: new Backoff(1, 1),
      connect: room.connect,
      events: {
        changed: () => undefined,
        ready: (doc, awareness) => {
          this.editors.push(
            new Editor({ path, text: doc.getText('content'), awareness, readOnly: false, dark: false, moved: ignore, commented: ignore, touched: ignore }),
          );
        },
        reset: () => this.editor.destroy(),
        orphaned: (text) => void this.orphans.push(text),
        moved: () => undefined,
        notice: () => undefined,
      },
    });
    void this.provider.start();
  }

  get editor(): Editor {
    const editor = this.editors.at(-1);
    if (!editor) throw new Error('There is no editor yet.');
    return editor;
  }

  get text(): string {
    return this.editor.view.state.doc.toString();
  }

  /** Types at `at`, as a step of undo of its own. */
  type(text: string, at = this.text.length): void {
    this.editor.undo.stopCapturing();
    this.editor.view.dispatch({ changes: { from: at, insert: text }, userEvent: 'input.type' });
  }

  remove(text: string): void {
    const from = this.text.indexOf(text);
    this.editor.undo.stopCapturing();
    this.editor.view.dispatch({ changes: { from, to: from + text.length }, userEvent: 'delete' });
  }

  undo(): void {
    this.editor.undo.undo();
  }

  synced(): Promise<void> {
    return vi.waitFor(() => expect([this.provider.synced, this.provider.unsynced]).toEqual([true, false]));
  }

  destroy(): void {
    this.provider.destroy();
    for (const editor of this.editors) editor.destroy();
  }
}

let tabs: Tab[] = [];
let path = 0;

async function join(room: FakeRoom): Promise<Tab> {
  const tab = new Tab(room, `file-${path}-${tabs.length}.txt`);
  tabs.push(tab);
  await tab.synced();
  return tab;
}

beforeEach(() => void (path += 1));

afterEach(() => {
  for (const tab of tabs) tab.destroy();
  tabs = [];
});

const ignore = (): void => undefined;

describe('undo', () => {
  test('takes back only what this person did', async () => {
    const room = new FakeRoom('base\n');
    const [ada, bo] = [await join(room), await join(room)];
    ada.type('ada\n');
    bo.type('bo\n');
    ada.type('ada again\n');
    bo.remove('base');
    ada.undo();
    ada.undo();
    ada.undo();
    expect(ada.text).toBe('\nbo\n');
    expect(bo.text).toBe(ada.text);
    bo.undo();
    expect(room.text).toBe('base\nbo\n');
  });

  test('reaches back over a reconnect, and leaves what others did meanwhile', async () => {
    const room = new FakeRoom('top\nbase\n');
    const ada = await join(room);
    ada.type('before\n');
    ada.remove('base');
    await ada.synced();
    room.up = false;
    room.cut();
    ada.type('offline\n');
    room.write('partner\n');
    room.up = true;
    await ada.synced();
    expect(ada.editors).toHaveLength(1);
    expect(ada.text).toBe('partner\ntop\n\nbefore\noffline\n');
    ada.undo();
    expect(ada.text).toBe('partner\ntop\n\nbefore\n');
    ada.undo();
    expect(ada.text).toBe('partner\ntop\nbase\nbefore\n');
    ada.undo();
    await ada.synced();
    expect(room.text).toBe('partner\ntop\nbase\n');
    ada.editor.undo.redo();
    expect(room.text).toBe('partner\ntop\nbase\nbefore\n');
  });

  test('takes back what was typed offline, without a server', async () => {
    const room = new FakeRoom('x');
    const ada = await join(room);
    room.up = false;
    room.cut();
    ada.type('y');
    ada.undo();
    room.up = true;
    await ada.synced();
    expect(room.text).toBe('x');
  });

  test('does not take a resync of much that others did for an own edit', async () => {
    const room = new FakeRoom('start\n');
    const ada = await join(room);
    ada.type('mine\n');
    // A reader that fell behind gets one diff for everything it missed.
    room.cut();
    for (let n = 0; n < 300; n += 1) room.write(`line ${n}\n`);
    await ada.synced();
    ada.undo();
    expect(ada.text).toBe(room.text);
    expect(ada.text).not.toContain('mine');
    expect(ada.text).toContain('line 299');
    expect(ada.text).toContain('start');
    ada.undo();
    expect(ada.text).toContain('line 0\nstart');
  });
});

describe('a restored text', () => {
  const THEN = 'one\ntwo\nthree 😀\nfour\n';
  const NOW = 'one\nTWO\nthree 😁\nfour\nfive\n';

  test('is one edit that the editor takes back at once', async () => {
    const room = new FakeRoom(NOW);
    const ada = await join(room);
    ada.type('# ', 0);
    const takeBack = ada.editor.replaceText(THEN);
    await ada.synced();
    expect(room.text).toBe(THEN);
    expect(takeBack()).toBe(true);
    expect(room.text).toBe(`# ${NOW}`);
    expect(takeBack()).toBe(false);
    ada.undo();
    expect(room.text).toBe(NOW);
  });

  test('is undone by the key like any edit, with typing before and after it', async () => {
    const room = new FakeRoom(NOW);
    const ada = await join(room);
    const takeBack = ada.editor.replaceText(THEN);
    ada.type('later\n');
    expect(takeBack()).toBe(false);
    ada.undo();
    expect(room.text).toBe(THEN);
    ada.undo();
    expect(room.text).toBe(NOW);
    ada.editor.undo.redo();
    expect(room.text).toBe(THEN);
  });

  test('keeps what a partner types meanwhile, and so does taking it back', async () => {
    const room = new FakeRoom(NOW);
    const [ada, bo] = [await join(room), await join(room)];
    const takeBack = ada.editor.replaceText(THEN);
    bo.type('bo was here\n', bo.text.indexOf('four'));
    expect(ada.text).toBe('one\ntwo\nthree 😀\nbo was here\nfour\n');
    expect(takeBack()).toBe(true);
    expect(bo.text).toBe('one\nTWO\nthree 😁\nbo was here\nfour\nfive\n');
  });

  test('leaves the cursor with its line', async () => {
    const room = new FakeRoom(NOW);
    const ada = await join(room);
    const at = NOW.indexOf('our\n');
    ada.editor.view.dispatch({ selection: { anchor: at } });
    ada.editor.replaceText(`new first line\n${THEN}`);
    expect(ada.text.slice(ada.editor.view.state.selection.main.head)).toMatch(/^our\n/);
  });

  test('that is the same changes nothing', async () => {
    const room = new FakeRoom(NOW);
    const ada = await join(room);
    ada.editor.replaceText(NOW);
    expect(ada.editor.undo.undoStack).toEqual([]);
  });
});

describe('the authors beside the lines', () => {
  const ADA = { id: 'a', name: 'Ada', color: '#4054d6' };
  const BO = { id: 'b', name: 'Bo', color: '#c22f3d' };
  const ANSWER = {
    lines: [
      { from: 1, to: 2, author: ADA, time: '2025-05-01T12:00:00Z' },
      { from: 3, to: 4, author: BO, time: '2025-05-01T12:00:00Z' },
    ],
  };

  /** Who is told for each line. */
  function authors(tab: Tab): (string | null)[] {
    const { view } = tab.editor;
    const found: (string | null)[] = [];
    for (let line = 1; line <= view.state.doc.lines; line += 1) {
      view.dispatch({ selection: { anchor: view.state.doc.line(line).from } });
      found.push(tab.editor.blame.author?.name ?? null);
    }
    return found;
  }

  test('move with their lines and go from a line that changes', async () => {
    const ada = await join(new FakeRoom('one\ntwo\nthree\nfour'));
    ada.editor.showBlame(ANSWER);
    expect(authors(ada)).toEqual(['Ada', 'Ada', 'Bo', 'Bo']);
    expect(ada.editor.blame.stale).toBe(false);
    ada.type('\nnew', 'one'.length);
    expect(authors(ada)).toEqual([null, null, 'Ada', 'Bo', 'Bo']);
    expect(ada.editor.blame.stale).toBe(true);
    ada.remove('two\nth');
    expect(authors(ada)).toEqual([null, null, null, 'Bo']);
    ada.editor.showBlame(ANSWER);
    expect(ada.editor.blame.stale).toBe(false);
    ada.editor.showBlame(null);
    expect(authors(ada)).toEqual([null, null, null, null]);
  });

  test('that do not fit the text do no harm', async () => {
    const ada = await join(new FakeRoom('one'));
    ada.editor.showBlame({ lines: [{ from: 0, to: 9, author: ADA, time: 'never' }, { from: 2, to: 1, author: BO, time: '' }] });
    expect(authors(ada)).toEqual(['Ada']);
  });
});

describe('An edit that the server made for this person', () => {
  function undo(tab: Tab): void {
    const key = new KeyboardEvent('keydown', { key: 'z', code: 'KeyZ', ctrlKey: true, bubbles: true, cancelable: true });
    tab.editor.view.contentDOM.dispatchEvent(key);
  }

  test('is undone in its turn, once', async () => {
    const ada = await join(new FakeRoom('start'));
    const taken: string[] = [];
    ada.type(' one');
    ada.editor.made('rename', () => taken.push('rename'));
    ada.type(' two');
    undo(ada);
    expect([ada.text, taken]).toEqual(['start one', []]);
    undo(ada);
    expect([ada.text, taken]).toEqual(['start one', ['rename']]);
    undo(ada);
    expect([ada.text, taken]).toEqual(['start', ['rename']]);
    ada.editor.made('gone', () => taken.push('gone'));
    ada.editor.unmade('gone');
    undo(ada);
    expect(taken).toEqual(['rename']);
  });
});
