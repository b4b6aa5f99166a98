/** The commands of an open workspace: what the palette lists, what keys do, what the sheet tells. */
import { copyLineDown, copyLineUp, deleteLine, moveLineDown, moveLineUp, toggleBlockComment, toggleComment } from '@codemirror/commands';
import { foldAll, unfoldAll } from '@codemirror/language';
import { openSearchPanel, selectNextOccurrence } from '@codemirror/search';
import type { Command as EditorCommand } from '@codemirror/view';
import type { Command } from '../commands/commands.svelte';
import { findReferences, formatDocument, goToDefinition, renameSymbol, showMenu } from '../languages/actions';
import { type KeyMap, settings } from '../settings/settings.svelte';
import { theme, type ThemeChoice } from '../shell/theme.svelte';
import { toasts } from '../shell/toasts.svelte';
import type { Layout, View } from './layout.svelte';
import { VIEWS } from './views';
import type { OpenWorkspace } from './workspace.svelte';

/** What the page does for commands that show something of its own. */
export interface Page {
  open: OpenWorkspace;
  layout: Layout;
  /** Shows a view and gives it the keyboard, or hides it when it has that. */
  toggle(view: View): void;
  quickOpen(start?: string): void;
  dialog(name: 'share' | 'secrets' | 'help' | 'servers' | 'settings' | 'palette'): void;
  nextPart(back: boolean): void;
  newTerminal(): void;
  searchFor(text: string): void;
}

const THEMES: [ThemeChoice, string][] = [
  ['light', 'Light theme'],
  ['dark', 'Dark theme'],
  ['contrast', 'High contrast theme'],
  ['system', 'Theme of the system'],
];
const KEY_MAPS: [KeyMap, string][] = [
  ['default', 'Usual keys'],
  ['vim', 'Vim keys'],
  ['emacs', 'Emacs keys'],
];

export function commandsOf(page: Page): Command[] {
  const { open, layout } = page;
  const { documents, terminals, tree } = open;
  const active = (): boolean => documents.active !== null;
  const editor = (): boolean => documents.active?.editor != null;
  const editable = (): boolean => documents.active?.editable ?? false;
  const manyTabs = (): boolean => documents.current.list.length > 1;
  const manyGroups = (): boolean => documents.groups.length > 1;
  const writable = (): boolean => open.writable && open.running;
  const runnable = (): boolean => open.runnable && open.running;
  const owner = (): boolean => open.workspace?.role === 'owner';

  /** A command of the editor, which the palette can run there, too. */
  function inEditor(id: string, title: string, keys: string[], command: EditorCommand, group = 'Editor', enabled = editor): Command {
    const run = (): void => {
      const view = documents.active?.editor?.view;
      if (!view) return;
      view.focus();
      command(view);
    };
    return { id, title, group, keys, run, enabled, native: true };
  }
  const told = (id: string, group: string, keys: string, title: string): Command => ({ id, group, keys: [keys], title });

  return [
    { id: 'go.commands', group: 'Go', title: 'All commands', keys: ['Mod+Shift+P', 'F1'], run: () => page.dialog('palette') },
    { id: 'go.file', group: 'Go', title: 'Open a file by name', keys: ['Mod+P'], run: () => page.quickOpen() },
    { id: 'go.symbol', group: 'Go', title: 'To a symbol of this file', keys: ['Mod+Shift+O'], run: () => page.quickOpen('@'), enabled: editor },
    { id: 'go.everywhere', group: 'Go', title: 'To a symbol of the workspace', keys: ['Alt+O'], run: () => page.quickOpen('#') },
    { id: 'go.line', group: 'Go', title: 'To a line', keys: ['Ctrl+G'], run: () => page.quickOpen(':'), enabled: editor },
    { id: 'go.part', group: 'Go', title: 'To the next part of the page', keys: ['F6'], run: () => page.nextPart(false), inTerminal: true },
    { id: 'go.part.back', group: 'Go', title: 'To the part before', keys: ['Shift+F6'], run: () => page.nextPart(true), inTerminal: true },

    ...VIEWS.map(({ view, title, keys }): Command => ({
      id: `view.${view}`,
      group: 'View',
      title: `${title}: show, go to or hide`,
      keys: [keys],
      run: () => page.toggle(view),
      inTerminal: view === 'terminals',
    })),
    { id: 'view.side', group: 'View', title: 'Show or hide the side bar', keys: ['Mod+B'], run: () => layout.toggleSide() },
    { id: 'view.panel', group: 'View', title: 'Show or hide the panel below', keys: ['Mod+J'], run: () => layout.togglePanel() },
    { id: 'view.panel.max', group: 'View', title: 'Give the panel all the room, or take it back', run: () => layout.toggleMaximized() },
    ...THEMES.map(([choice, title]): Command => ({ id: `view.theme.${choice}`, group: 'View', title, run: () => theme.choose(choice), enabled: () => theme.choice !== choice })),
    { id: 'view.settings', group: 'View', title: 'Settings', keys: ['Mod+,'], run: () => page.dialog('settings') },
    { id: 'view.wrap', group: 'View', title: 'Word wrap on or off', keys: ['Alt+Z'], run: () => settings.set({ wordWrap: !settings.choices.wordWrap }) },
    { id: 'view.minimap', group: 'View', title: 'Minimap on or off', run: () => settings.set({ minimap: !settings.choices.minimap }) },
    { id: 'view.sticky', group: 'View', title: 'Sticky scroll on or off', run: () => settings.set({ stickyScroll: !settings.choices.stickyScroll }) },
    { id: 'view.guides', group: 'View', title: 'Indent guides on or off', run: () => settings.set({ indentGuides: !settings.choices.indentGuides }) },
    { id: 'view.larger', group: 'View', title: 'Larger text of code', run: () => settings.zoom(1) },
    { id: 'view.smaller', group: 'View', title: 'Smaller text of code', run: () => settings.zoom(-1) },
    ...KEY_MAPS.map(([keyMap, title]): Command => ({ id: `view.keys.${keyMap}`, group: 'View', title, run: () => settings.set({ keyMap }), enabled: () => settings.choices.keyMap !== keyMap })),

    { id: 'tab.close', group: 'Tabs', title: 'Close', keys: ['Alt+W', 'Mod+W'], run: () => documents.activePath !== null && documents.close(documents.activePath), enabled: active },
    { id: 'tab.reopen', group: 'Tabs', title: 'Open the last closed one again', keys: ['Alt+Shift+W'], run: () => documents.reopen(), enabled: () => documents.canReopen },
    { id: 'tab.others', group: 'Tabs', title: 'Close the others', run: () => documents.activePath !== null && documents.closeOthers(documents.activePath), enabled: manyTabs },
    { id: 'tab.left', group: 'Tabs', title: 'To the left one', keys: ['Alt+PageUp'], run: () => documents.step(-1), enabled: manyTabs, inTerminal: true },
    { id: 'tab.right', group: 'Tabs', title: 'To the right one', keys: ['Alt+PageDown'], run: () => documents.step(1), enabled: manyTabs, inTerminal: true },
    ...Array.from({ length: 9 }, (_, i): Command => {
      const tab = (): string | undefined => documents.current.list[i]?.path;
      const run = (): void => void (tab() !== undefined && documents.activate(tab() as string));
      return { id: `tab.${i + 1}`, group: 'Tabs', title: `Number ${i + 1}`, keys: [`Alt+${i + 1}`], run, enabled: () => tab() !== undefined };
    }).slice(0, 9),
    { id: 'pane.split', group: 'Panes', title: 'Put the tab into a pane of its own', keys: ['Mod+\\'], run: () => documents.split(), enabled: () => manyTabs() && documents.canSplit },
    { id: 'pane.right', group: 'Panes', title: 'Move the tab to the right', keys: ['Alt+Shift+ArrowRight'], run: () => documents.moveToGroup(1), enabled: () => manyTabs() || manyGroups() },
    { id: 'pane.left', group: 'Panes', title: 'Move the tab to the left', keys: ['Alt+Shift+ArrowLeft'], run: () => documents.moveToGroup(-1), enabled: () => manyTabs() || manyGroups() },
    { id: 'pane.next', group: 'Panes', title: 'Go to the next one', keys: ['Alt+Shift+PageDown'], run: () => documents.stepGroup(1), enabled: manyGroups },

    {
      id: 'edit.save',
      group: 'Editor',
      title: 'Save',
      keys: ['Mod+S'],
      run: () => toasts.info('Everything you type is saved at once: there is no need for a key.'),
    },
    inEditor('edit.find', 'Find and replace in this file', ['Mod+F'], openSearchPanel),
    {
      id: 'edit.find.everywhere',
      group: 'Editor',
      title: 'Search for what is selected in all files',
      run: () => {
        const view = documents.active?.editor?.view;
        if (view) page.searchFor(view.state.sliceDoc(view.state.selection.main.from, view.state.selection.main.to).split('\n')[0] ?? '');
      },
      enabled: editor,
    },
    inEditor('edit.next', 'Select the next same text too', ['Mod+D'], selectNextOccurrence),
    told('edit.cursor', 'Editor', 'Alt+Click', 'One more cursor'),
    inEditor('edit.comment', 'Comment or uncomment', ['Mod+/'], toggleComment, 'Editor', editable),
    inEditor('edit.comment.block', 'Comment the selection as a block', ['Shift+Alt+A'], toggleBlockComment, 'Editor', editable),
    inEditor('edit.line.up', 'Move the line up', ['Alt+ArrowUp'], moveLineUp, 'Editor', editable),
    inEditor('edit.line.down', 'Move the line down', ['Alt+ArrowDown'], moveLineDown, 'Editor', editable),
    inEditor('edit.copy.up', 'Copy the line up', ['Shift+Alt+ArrowUp'], copyLineUp, 'Editor', editable),
    inEditor('edit.copy.down', 'Copy the line down', ['Shift+Alt+ArrowDown'], copyLineDown, 'Editor', editable),
    inEditor('edit.delete', 'Delete the line', ['Shift+Mod+K'], deleteLine, 'Editor', editable),
    inEditor('edit.fold', 'Fold everything', [], foldAll),
    inEditor('edit.unfold', 'Unfold everything', [], unfoldAll),
    told('edit.undo', 'Editor', 'Mod+Z', 'Undo my own last edit'),
    { id: 'edit.history', group: 'Editor', title: 'Earlier versions of this file', keys: ['Alt+H'], run: () => documents.active?.toggleHistory(), enabled: editor },
    { id: 'edit.blame', group: 'Editor', title: 'Who wrote each line', keys: ['Alt+A'], run: () => documents.active?.toggleBlame(), enabled: editor },
    told('edit.leave', 'Editor', 'Escape Tab', 'Leave the editor'),

    told('code.complete', 'Code', 'Ctrl+Space', 'Complete'),
    told('code.hover', 'Code', 'Mod+K Mod+I', 'What the symbol is'),
    told('code.signature', 'Code', 'Mod+Shift+Space', 'The parameters of the call'),
    inEditor('code.definition', 'Go to the definition', ['F12'], goToDefinition, 'Code'),
    inEditor('code.references', 'Where it is used', ['Shift+F12'], findReferences, 'Code'),
    inEditor('code.rename', 'Rename everywhere', ['F2'], renameSymbol, 'Code', editable),
    told('code.actions', 'Code', 'Mod+.', 'What can be mended or changed here'),
    inEditor('code.format', 'Format the file', ['Shift+Alt+F'], formatDocument, 'Code', editable),
    told('code.next', 'Code', 'F8', 'Next problem'),
    inEditor('code.menu', 'All that can be asked here', ['Alt+Enter'], showMenu, 'Code'),
    { id: 'code.servers', group: 'Code', title: 'Language servers', run: () => page.dialog('servers') },

    { id: 'files.new', group: 'Files', title: 'New file', keys: ['Alt+N'], run: () => (layout.show('files'), void tree.startNew('file')), enabled: writable },
    { id: 'files.folder', group: 'Files', title: 'New folder', run: () => (layout.show('files'), void tree.startNew('directory')), enabled: writable },
    { id: 'files.reveal', group: 'Files', title: 'Show this file in the tree', run: () => documents.activePath !== null && (layout.show('files'), void tree.reveal(documents.activePath)), enabled: active },
    { id: 'files.collapse', group: 'Files', title: 'Close all folders', run: () => tree.collapseAll() },
    { id: 'files.reload', group: 'Files', title: 'Load the tree again', run: () => void tree.reload() },
    told('files.walk', 'Files', 'ArrowUp ArrowDown ArrowLeft ArrowRight', 'Walk the tree'),
    told('files.open', 'Files', 'Enter', 'Open and go there'),
    told('files.look', 'Files', 'Space', 'Open and stay'),
    told('files.rename', 'Files', 'F2', 'Rename'),
    told('files.delete', 'Files', 'Delete', 'Delete'),
    told('files.menu', 'Files', 'Shift+F10', 'All actions'),

    { id: 'terminal.new', group: 'Terminal', title: 'New terminal', keys: ['Ctrl+Shift+`'], run: () => page.newTerminal(), enabled: runnable, inTerminal: true },
    { id: 'terminal.next', group: 'Terminal', title: 'The next terminal', run: () => (layout.show('terminals'), terminals.step(1)), enabled: () => terminals.tabs.length > 1 },

    {
      id: 'together.comment',
      group: 'Together',
      title: 'Comment on what is selected',
      keys: ['Mod+Alt+M'],
      run: () => {
        if (!documents.active) return;
        open.comments.begin(documents.active);
        open.talk = 'comments';
        layout.show('together');
      },
      enabled: () => open.writable && editor(),
    },
    { id: 'together.chat', group: 'Together', title: 'Say something to everybody here', run: () => ((open.talk = 'chat'), page.toggle('together')), enabled: () => !layout.shows('together') },
    { id: 'together.stop', group: 'Together', title: 'Stop following', run: () => open.following.stop(), enabled: () => open.following.person !== null },

    { id: 'workspace.share', group: 'Workspace', title: 'Share', run: () => page.dialog('share') },
    { id: 'workspace.secrets', group: 'Workspace', title: 'Secrets', run: () => page.dialog('secrets'), enabled: owner },
    { id: 'workspace.start', group: 'Workspace', title: 'Start', run: () => void open.act('start'), enabled: () => open.writable && !open.running },
    { id: 'workspace.stop', group: 'Workspace', title: 'Stop', run: () => void open.act('stop'), enabled: writable },
    { id: 'workspace.restart', group: 'Workspace', title: 'Restart', run: () => void open.act('restart'), enabled: writable },

    { id: 'help.keys', group: 'Help', title: 'All keys', keys: ['Mod+Shift+/'], run: () => page.dialog('help') },
  ];
}
