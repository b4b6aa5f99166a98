/**
 * What the indicator says about a document, decided in one place so that it cannot lie.
 *
 * "Saved" needs every edit acknowledged by the server, which acknowledges only what its journal
 * holds; whether the file in the container has the text already is a second, separate answer.
 */
import type { DiskState } from '../protocol';

export type SaveStateName = 'saving' | 'saved' | 'offline' | 'unsaved' | 'readonly';

export interface SaveFacts {
  /** The socket is open and the server has said hello. */
  connected: boolean;
  /** The server's text has arrived at least once since the socket opened. */
  synced: boolean;
  readOnly: boolean;
  reason: string;
  /** Something typed here has not been acknowledged. */
  unsynced: boolean;
  /** Typed text survives a reload of this page (the browser's database works). */
  kept: boolean;
  disk: DiskState;
  diskDetail: string;
  /** The server refused for good: the document will not reconnect by itself. */
  refused: string;
}

export interface SaveState {
  state: SaveStateName;
  disk: DiskState;
  label: string;
  detail: string;
}

export function saveState(facts: SaveFacts): SaveState {
  const { disk } = facts;
  const say = (state: SaveStateName, label: string, detail = ''): SaveState => ({
    state,
    disk,
    label,
    detail,
  });
  const kept = facts.kept ? 'kept in this browser' : 'kept in this tab only';
  if (facts.refused) {
    return facts.unsynced ? say('unsaved', `Not saved, ${kept}`, facts.refused) : say('offline', 'Closed', facts.refused);
  }
  if (!facts.connected) {
    if (facts.unsynced) {
      return say('offline', `Offline — ${kept}`, 'Your edits are sent as soon as the server answers.');
    }
    return say('offline', 'Offline — reconnecting', `What you type is ${kept} until then.`);
  }
  if (facts.readOnly) {
    const reason = facts.reason || 'you may look, not edit';
    if (facts.unsynced) return say('unsaved', `Not saved, ${kept}`, `Read-only: ${reason}`);
    return say('readonly', `Read-only: ${reason}`);
  }
  if (!facts.synced) return say('saving', 'Connecting…');
  if (facts.unsynced) return say('saving', 'Saving…');
  switch (disk) {
    case 'failed':
      return say(
        'unsaved',
        `Not saved to disk: ${facts.diskDetail || 'the file could not be written'}`,
        'The text is safe on the server, which keeps trying to write the file.',
      );
    case 'deleted':
      return say(
        'unsaved',
        `Not on disk: ${facts.diskDetail || 'the file was deleted'}`,
        'The text is safe on the server as long as this tab is open.',
      );
    case 'offline':
      return say('saved', 'Saved', 'The file is written when the workspace starts.');
    case 'writing':
      return say('saved', 'Saved', 'On the server; the file in the workspace is being written.');
    case 'clean':
      return say('saved', 'Saved', 'On the server and in the file.');
  }
}
