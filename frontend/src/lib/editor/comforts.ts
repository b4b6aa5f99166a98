/** What people may want in their editor or not; each part is loaded when somebody wants it. */
import { type Extension, Facet } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import type { Choices, KeyMap } from '../settings/settings.svelte';

/** What undoes and redoes here. The key maps know CodeMirror's own history, which is not in use. */
export interface UndoRedo {
  undo: () => void;
  redo: () => void;
}
export const undoRedo = Facet.define<UndoRedo>();

function takeBack(view: EditorView, what: keyof UndoRedo): void {
  for (const each of view.state.facet(undoRedo)) each[what]();
}

export async function keyMapOf(keyMap: KeyMap): Promise<Extension> {
  if (keyMap === 'vim') {
    const { CodeMirror, vim } = await import('@replit/codemirror-vim');
    CodeMirror.commands.undo = (cm) => takeBack(cm.cm6, 'undo');
    CodeMirror.commands.redo = (cm) => takeBack(cm.cm6, 'redo');
    return vim({ status: true });
  }
  if (keyMap === 'emacs') {
    const { emacs, EmacsHandler } = await import('@replit/codemirror-emacs');
    EmacsHandler.bindKey('C-/|C-x u|S-C--|C-z', (view: EditorView) => takeBack(view, 'undo'));
    EmacsHandler.bindKey('S-C-/', (view: EditorView) => takeBack(view, 'redo'));
    return emacs();
  }
  return [];
}

export async function comfortsOf(choices: Choices): Promise<Extension> {
  return Promise.all([
    choices.wordWrap ? EditorView.lineWrapping : [],
    choices.indentGuides ? indentGuides() : [],
    choices.stickyScroll ? import('./sticky').then(({ stickyScroll }) => stickyScroll) : [],
    choices.minimap ? minimap() : [],
  ]);
}

async function indentGuides(): Promise<Extension> {
  const { indentationMarkers } = await import('@replit/codemirror-indentation-markers');
  return indentationMarkers({
    hideFirstIndent: true,
    thickness: 1,
    colors: {
      light: 'var(--line)',
      dark: 'var(--line)',
      activeLight: 'var(--line-strong)',
      activeDark: 'var(--line-strong)',
    },
  });
}

async function minimap(): Promise<Extension> {
  const { showMinimap } = await import('@replit/codemirror-minimap');
  return showMinimap.compute([], () => ({
    create: () => {
      const dom = document.createElement('div');
      dom.setAttribute('aria-hidden', 'true');
      return { dom };
    },
    displayText: 'blocks',
    showOverlay: 'always',
  }));
}
