/** Comments on the text of a workspace's files: where they are now, what is said, what is open. */
import * as Y from 'yjs';
import type { OpenDocument } from '../editor/document.svelte';
import type { PageEvent } from '../live/events.svelte';
import { messageOf, request, workspaceUrl } from '../session/api';

export interface Reply {
  author: string;
  name: string;
  color: string;
  text: string;
  at: number;
}

export interface Place {
  path: string;
  /** Relative positions of Yjs in base64. */
  start: string;
  end: string;
  /** From 1, and the words there, as they were when the comment was made. */
  line: number;
  quote: string;
}

export interface Thread {
  id: string;
  place: Place;
  replies: Reply[];
  resolved: boolean;
  resolved_by: string;
}

const QUOTE = 200;

function encoded(text: Y.Text, index: number, assoc: number): string {
  const bytes = Y.encodeRelativePosition(Y.createRelativePositionFromTypeIndex(text, index, assoc));
  return btoa(String.fromCharCode(...bytes));
}

/** The index that an anchor has now; null when it is none, or of a text that was made anew. */
function indexOf(anchor: string, text: Y.Text): number | null {
  try {
    const bytes = Uint8Array.from(atob(anchor), (letter) => letter.charCodeAt(0));
    const found = Y.createAbsolutePositionFromRelativePosition(Y.decodeRelativePosition(bytes), text.doc as Y.Doc);
    return found?.type === text ? found.index : null;
  } catch {
    return null; // somebody else's browser made it
  }
}

/** An anchor for a part of a text, which stays on it while people edit. */
export function placeOf(path: string, text: Y.Text, from: number, to: number): Place {
  const content = text.toString();
  const end = Math.max(from, to);
  return {
    path,
    start: encoded(text, from, 0),
    end: encoded(text, end, -1),
    line: content.slice(0, from).split('\n').length,
    quote: content.slice(from, Math.min(end, from + QUOTE)),
  };
}

/** Where a comment is in the text now; by its words where the anchor says nothing. */
export function rangeOf(place: Place, text: Y.Text): { from: number; to: number } | null {
  const from = indexOf(place.start, text);
  const to = indexOf(place.end, text);
  if (from !== null && to !== null) return { from, to: Math.max(from, to) };
  const at = place.quote ? text.toString().indexOf(place.quote) : -1;
  return at === -1 ? null : { from: at, to: at + place.quote.length };
}

export class Comments {
  threads = $state.raw<readonly Thread[]>([]);
  state = $state<'unknown' | 'shown' | 'failed'>('unknown');
  failure = $state('');
  /** What somebody is about to comment on. */
  draft = $state.raw<Place | null>(null);
  /** The thread that was asked for last. */
  chosen = $state<string | null>(null);
  readonly open = $derived(this.threads.filter((thread) => !thread.resolved));

  constructor(readonly workspace: string) {}

  take(event: PageEvent): void {
    if ((event.type === 'comments' && event.workspace === this.workspace) || event.type === 'reconnected') void this.load();
  }

  of(path: string): Thread[] {
    return this.open.filter((thread) => thread.place.path === path);
  }

  async load(): Promise<void> {
    try {
      const { threads } = await request<{ threads: Thread[] }>('GET', workspaceUrl(this.workspace, '/comments'));
      this.threads = threads;
      this.state = 'shown';
      this.failure = '';
    } catch (error) {
      this.failure = messageOf(error);
      if (this.state !== 'shown') this.state = 'failed';
    }
  }

  /** Prepares a comment on what is selected, or on the line of the cursor. */
  begin(document: OpenDocument): void {
    const view = document.editor?.view;
    if (!view) return;
    const { main } = view.state.selection;
    const line = view.state.doc.lineAt(main.head);
    const [from, to] = main.empty ? [line.from, line.to] : [main.from, main.to];
    this.draft = placeOf(document.path, document.provider.text, from, to);
  }

  /** Raises ApiError, as do all below. */
  async send(text: string): Promise<void> {
    if (!this.draft) return;
    const body = { place: this.draft, text };
    this.chosen = (await request<{ id: string }>('POST', workspaceUrl(this.workspace, '/comments'), body)).id;
    this.draft = null;
    await this.load();
  }

  async reply(id: string, text: string): Promise<void> {
    await request('POST', `${this.#url(id)}/replies`, { text });
    await this.load();
  }

  async resolve(id: string, resolved: boolean): Promise<void> {
    await request('PATCH', this.#url(id), { resolved });
    await this.load();
  }

  async remove(id: string): Promise<void> {
    await request('DELETE', this.#url(id));
    await this.load();
  }

  #url(id: string): string {
    return workspaceUrl(this.workspace, `/comments/${encodeURIComponent(id)}`);
  }
}
