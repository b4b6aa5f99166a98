/**
 * Other people's cursors, selections and names, from the awareness states of a room.
 *
 * The states have the shape that y-codemirror.next uses (`cursor: {anchor, head}` as relative
 * positions, `user` written by the server), so its clients and ours see each other. Every state
 * comes from elsewhere and is checked before use; a name shows for a while after its cursor moved.
 */
import { type Extension, type Range, RangeSet, StateEffect } from '@codemirror/state';
import {
  Decoration,
  type DecorationSet,
  EditorView,
  type PluginValue,
  ViewPlugin,
  type ViewUpdate,
  WidgetType,
} from '@codemirror/view';
import type { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { readableOn, safeColor } from '../shell/colors';

const NAME_SHOWS = 4000;
/** After a change of the text, in ms; until then cursors move with it. To find their places in the
 * shared text takes time that grows with its history, which no key should wait for. */
const SETTLES = 200;

const redraw = StateEffect.define<null>();

interface RemoteCursor {
  client: number;
  name: string;
  color: string;
  anchor: number;
  head: number;
}

/** The position a stored relative position has now; null when it means nothing here. */
function indexOf(json: unknown, text: Y.Text, doc: Y.Doc): number | null {
  if (json === null || typeof json !== 'object') return null;
  try {
    const relative = Y.createRelativePositionFromJSON(json);
    const absolute = Y.createAbsolutePositionFromRelativePosition(relative, doc);
    return absolute?.type === text ? absolute.index : null;
  } catch {
    // Another client's state is not to be trusted; a malformed cursor is shown nowhere.
    return null;
  }
}

export function remoteCursors(awareness: Awareness, text: Y.Text, length: number): RemoteCursor[] {
  const doc = text.doc;
  if (!doc) return [];
  const cursors: RemoteCursor[] = [];
  for (const [client, state] of awareness.getStates()) {
    if (client === doc.clientID) continue;
    const cursor = state['cursor'] as { anchor?: unknown; head?: unknown } | null | undefined;
    const user = state['user'] as { name?: unknown; color?: unknown } | undefined;
    const anchor = indexOf(cursor?.anchor, text, doc);
    const head = indexOf(cursor?.head, text, doc);
    if (anchor === null || head === null) continue;
    cursors.push({
      client,
      name: typeof user?.name === 'string' ? user.name : 'Someone',
      color: safeColor(user?.color),
      anchor: Math.min(anchor, length),
      head: Math.min(head, length),
    });
  }
  return cursors;
}

class Caret extends WidgetType {
  constructor(
    readonly cursor: RemoteCursor,
    readonly fresh: boolean,
  ) {
    super();
  }

  override eq(other: Caret): boolean {
    const [a, b] = [this.cursor, other.cursor];
    return a.client === b.client && a.name === b.name && a.color === b.color && this.fresh === other.fresh;
  }

  override toDOM(): HTMLElement {
    const { name, color } = this.cursor;
    const caret = document.createElement('span');
    caret.className = this.fresh ? 'cm-remote-caret cm-remote-fresh' : 'cm-remote-caret';
    caret.style.setProperty('--person', color);
    caret.style.setProperty('--on-person', readableOn(color));
    caret.setAttribute('aria-hidden', 'true');
    caret.dataset['person'] = name;
    const label = document.createElement('span');
    label.className = 'cm-remote-name';
    label.textContent = name;
    // The word joiners keep the caret from being a place where a line may break.
    caret.append('\u2060', label, '\u2060');
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

class RemoteCursorsPlugin implements PluginValue {
  decorations: DecorationSet = RangeSet.empty;
  #moved = new Map<number, { at: number; key: string }>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #destroyed = false;

  constructor(
    private readonly view: EditorView,
    private readonly awareness: Awareness,
    private readonly text: Y.Text,
  ) {
    awareness.on('change', this.#refresh);
    this.decorations = this.#draw();
  }

  #refresh = (change: Record<'added' | 'updated' | 'removed', number[]>): void => {
    const own = this.awareness.clientID;
    const others = [...change.added, ...change.updated, ...change.removed].some((id) => id !== own);
    if (others) this.#redraw();
  };

  #redraw = (): void => {
    this.#settling = undefined;
    if (!this.#destroyed) this.view.dispatch({ effects: redraw.of(null) });
  };

  update(update: ViewUpdate): void {
    this.#publish(update);
    if (update.transactions.some((tr) => tr.effects.some((effect) => effect.is(redraw)))) {
      this.decorations = this.#draw();
    } else if (update.docChanged) {
      this.decorations = this.decorations.map(update.changes);
      this.#settling ??= setTimeout(this.#redraw, SETTLES);
    }
  }

  destroy(): void {
    this.#destroyed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#settling);
    this.awareness.off('change', this.#refresh);
  }

  /** Tells the others where this person's cursor is, while the editor has the focus. */
  #publish(update: ViewUpdate): void {
    const local = this.awareness.getLocalState();
    if (local === null || !update.view.hasFocus) return;
    if (!update.selectionSet && !update.focusChanged && !update.docChanged && local['cursor']) return;
    const { anchor, head } = update.state.selection.main;
    const next = {
      anchor: Y.createRelativePositionFromTypeIndex(this.text, anchor),
      head: Y.createRelativePositionFromTypeIndex(this.text, head),
    };
    const now = local['cursor'] as { anchor: Y.RelativePosition; head: Y.RelativePosition } | undefined;
    const same =
      now &&
      Y.compareRelativePositions(now.anchor, next.anchor) &&
      Y.compareRelativePositions(now.head, next.head);
    if (!same) this.awareness.setLocalStateField('cursor', next);
  }

  #draw(): DecorationSet {
    const { doc } = this.view.state;
    const ranges: Range<Decoration>[] = [];
    const now = Date.now();
    let nextChange = Infinity;
    for (const cursor of remoteCursors(this.awareness, this.text, doc.length)) {
      const key = `${cursor.anchor}:${cursor.head}`;
      const last = this.#moved.get(cursor.client);
      const at = last && last.key === key ? last.at : now;
      this.#moved.set(cursor.client, { at, key });
      const fresh = now - at < NAME_SHOWS;
      if (fresh) nextChange = Math.min(nextChange, at + NAME_SHOWS - now);
      const [from, to] = [Math.min(cursor.anchor, cursor.head), Math.max(cursor.anchor, cursor.head)];
      if (from < to) {
        const style = `background-color: color-mix(in srgb, ${cursor.color} 28%, transparent)`;
        ranges.push(Decoration.mark({ class: 'cm-remote-selection', attributes: { style } }).range(from, to));
      }
      const side = cursor.head > cursor.anchor ? -1 : 1;
      ranges.push(Decoration.widget({ side, widget: new Caret(cursor, fresh) }).range(cursor.head));
    }
    clearTimeout(this.#timer);
    if (nextChange < Infinity) {
      this.#timer = setTimeout(this.#redraw, nextChange + 20);
    }
    return Decoration.set(ranges, true);
  }
}

const appearance = EditorView.baseTheme({
  '.cm-remote-caret': {
    position: 'relative',
    display: 'inline',
    marginLeft: '-1px',
    marginRight: '-1px',
    borderLeft: '2px solid var(--person)',
    wordBreak: 'normal',
  },
  '.cm-remote-name': {
    position: 'absolute',
    left: '-2px',
    top: '-1.5em',
    zIndex: '20',
    padding: '1px 6px',
    borderRadius: '4px 4px 4px 0',
    background: 'var(--person)',
    color: 'var(--on-person)',
    fontFamily: 'var(--font)',
    fontSize: '11px',
    fontWeight: '600',
    lineHeight: '1.4',
    whiteSpace: 'nowrap',
    userSelect: 'none',
    pointerEvents: 'none',
    opacity: '0',
    transition: 'opacity 160ms ease-out',
  },
  // There is no room above the first line.
  '.cm-line:first-child .cm-remote-name': { top: '1.35em', borderRadius: '0 4px 4px 4px' },
  '.cm-remote-fresh .cm-remote-name, .cm-remote-caret:hover .cm-remote-name': { opacity: '1' },
});

export function remoteCursorsOf(awareness: Awareness, text: Y.Text): Extension {
  return [
    ViewPlugin.define((view) => new RemoteCursorsPlugin(view, awareness, text), {
      decorations: (plugin) => plugin.decorations,
    }),
    appearance,
  ];
}
