import { describe, expect, test } from 'vitest';
import { saveState, type SaveFacts } from './save-state';

const calm: SaveFacts = {
  connected: true,
  synced: true,
  readOnly: false,
  reason: '',
  unsynced: false,
  kept: true,
  disk: 'clean',
  diskDetail: '',
  refused: '',
};

describe('the save state', () => {
  test.each<[Partial<SaveFacts>, string, string]>([
    [{}, 'saved', 'Saved'],
    [{ unsynced: true }, 'saving', 'Saving…'],
    [{ unsynced: true, disk: 'failed' }, 'saving', 'Saving…'],
    [{ disk: 'failed', diskDetail: 'No space left' }, 'unsaved', 'Not saved to disk: No space left'],
    [{ disk: 'writing' }, 'saved', 'Saved'],
    [{ connected: false, unsynced: true }, 'offline', 'Offline — kept in this browser'],
    [{ connected: false, unsynced: true, kept: false }, 'offline', 'Offline — kept in this tab only'],
    [{ connected: false }, 'offline', 'Offline — reconnecting'],
    [{ readOnly: true, reason: 'you are a viewer' }, 'readonly', 'Read-only: you are a viewer'],
    [{ readOnly: true, unsynced: true }, 'unsaved', 'Not saved, kept in this browser'],
    [{ connected: false, refused: 'no access', unsynced: true }, 'unsaved', 'Not saved, kept in this browser'],
  ])('of %o is %s', (facts, state, label) => {
    expect(saveState({ ...calm, ...facts })).toMatchObject({ state, label });
  });

  test('is never "saved" while something is unacknowledged or the server is away', () => {
    for (const disk of ['clean', 'writing', 'failed', 'deleted', 'offline'] as const) {
      expect(saveState({ ...calm, disk, unsynced: true }).state).not.toBe('saved');
      expect(saveState({ ...calm, disk, connected: false }).state).not.toBe('saved');
      expect(saveState({ ...calm, disk, synced: false }).state).not.toBe('saved');
    }
  });
});
