/**
 * What is on top of each person's page, told to the others of a room so that they can follow.
 *
 * It is the field `view` of an awareness state: a relative position, as those of the cursor.
 */
import type { Extension } from '@codemirror/state';
import { ViewPlugin } from '@codemirror/view';
import type { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';

const PAUSE = 150; // ms between two tellings

export function sharedView(awareness: Awareness, text: Y.Text): Extension {
  return ViewPlugin.define((view) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tell = (): void => {
      timer = undefined;
      if (awareness.getLocalState() === null || !view.dom.isConnected) return;
      const top = view.lineBlockAtHeight(Math.max(0, view.scrollDOM.scrollTop - view.documentPadding.top)).from;
      awareness.setLocalStateField('view', Y.createRelativePositionFromTypeIndex(text, Math.min(top, text.length)));
    };
    const scrolled = (): void => {
      timer ??= setTimeout(tell, PAUSE);
    };
    view.scrollDOM.addEventListener('scroll', scrolled, { passive: true });
    return {
      destroy() {
        clearTimeout(timer);
        view.scrollDOM.removeEventListener('scroll', scrolled);
      },
    };
  });
}

function indexOf(json: unknown, text: Y.Text): number | null {
  if (json === null || typeof json !== 'object' || !text.doc) return null;
  try {
    const found = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(json), text.doc);
    return found?.type === text ? found.index : null;
  } catch {
    return null; // another client's state is not to be trusted
  }
}

/** Where a person is in a text: what is on top of their page, or their cursor. */
export function placeOf(awareness: Awareness, text: Y.Text, person: string): number | null {
  for (const [client, state] of awareness.getStates()) {
    if (client === awareness.clientID || (state['user'] as { id?: unknown } | undefined)?.id !== person) continue;
    const cursor = state['cursor'] as { head?: unknown } | null | undefined;
    const place = indexOf(state['view'], text) ?? indexOf(cursor?.head, text);
    if (place !== null) return place;
  }
  return null;
}
