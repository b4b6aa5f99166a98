import 'fake-indexeddb/auto';
import { beforeEach, describe, expect, test } from 'vitest';
import * as Y from 'yjs';
import { fakeStorage } from './fake-room';
import { type KeyValue, OfflineStore } from './offline';

let storage: KeyValue;
let path: string;
let number = 0;

beforeEach(() => {
  storage = fakeStorage();
  path = `file-${(number += 1)}`;
});

function store(at = path): OfflineStore {
  return new OfflineStore('ada', 'w', at, storage);
}

/** A document with `text`, kept in the store of `epoch`. */
async function keep(offline: OfflineStore, epoch: string, text: string): Promise<Y.Doc> {
  const doc = new Y.Doc();
  await offline.attach(doc, epoch);
  doc.getText('content').insert(0, text);
  offline.markUnsynced(doc.clientID);
  await written();
  return doc;
}

/** IndexedDB has taken what was given to it before. */
function written(): Promise<void> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('written');
    opening.onsuccess = () => {
      opening.result.close();
      resolve();
    };
    opening.onerror = () => reject(new Error('IndexedDB is not there.'));
  });
}

async function kept(offline: OfflineStore, epoch: string): Promise<string> {
  const doc = new Y.Doc();
  await offline.attach(doc, epoch);
  const text = doc.getText('content').toString();
  offline.detach();
  return text;
}

describe('the offline store', () => {
  test('gives a later tab what was kept, and whose edits are not acknowledged', async () => {
    const first = store();
    const { clientID } = await keep(first, 'e1', 'text');
    first.detach();
    const doc = new Y.Doc();
    expect(await store().attach(doc, 'e1')).toEqual([clientID]);
    expect(doc.getText('content').toString()).toBe('text');
  });

  test('keeps what one person typed from the next one in this browser', async () => {
    (await keep(store(), 'e1', 'mine')).destroy();
    expect(await kept(new OfflineStore('bo', 'w', path, storage), 'e1')).toBe('');
    expect(await kept(store(), 'e1')).toBe('mine');
  });

  test('begins empty in another epoch', async () => {
    const first = store();
    await keep(first, 'e1', 'text');
    await first.retire(true);
    expect(await kept(store(), 'e2')).toBe('');
    expect(await store().orphanedText()).toBe('text');
  });

  test('goes along when the file moves, in every tab', async () => {
    const [one, two] = [store(), store()];
    const doc = await keep(one, 'e1', 'text');
    await two.attach(new Y.Doc(), 'e1');
    await one.move(`${path}-moved`);
    await two.move(`${path}-moved`);
    doc.getText('content').insert(4, ', and more');
    await written();
    one.detach();
    two.detach();
    expect(store().record.epoch).toBeNull();
    expect(store(`${path}-moved`).record.unsynced).toEqual([doc.clientID]);
    expect(await kept(store(`${path}-moved`), 'e1')).toBe('text, and more');
  });

  test('keeps unsynced text of the file that was at the new path before', async () => {
    const before = store(`${path}-moved`);
    await keep(before, 'e0', 'what was there');
    before.detach();
    const mine = store();
    await keep(mine, 'e1', 'mine');
    await mine.move(`${path}-moved`);
    expect(await mine.orphanedText()).toBe('what was there');
    mine.detach();
    expect(await kept(store(`${path}-moved`), 'e1')).toBe('mine');
  });

  test('lets nothing into a new document that was given up in the same epoch', async () => {
    const first = store();
    await keep(first, 'e1', 'gone wrong');
    await first.retire(true);
    expect(await kept(first, 'e1')).toBe('');
    expect(await first.orphanedText()).toBe('gone wrong');
    await first.dropOrphans();
    expect(await first.orphanedText()).toBeNull();
  });
});
