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
  dialog(name: 'share' | 'secrets' | 'help' | 'servers' | 'settings' | 'palette' | 'branches'): void;
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

  const compared = (): boolean => documents.active?.committed != null;
  const compare = (): void => documents.active?.compare(!documents.active.comparing);

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
    { id: 'go.commands', group: 'Go', title: 'Command palette', keys: ['Mod+Shift+P', 'F1'], run: () => page.dialog('palette') },
    { id: 'go.file', group: 'Go', title: 'Open a file by name', keys: ['Mod+P'], run: () => page.quickOpen() },
    { id: 'go.symbol', group: 'Go', title: 'To symbol in this file', keys: ['Mod+Shift+O'], run: () => page.quickOpen('@'), enabled: editor },
    { id: 'go.everywhere', group: 'Go', title: 'To symbol in the workspace', keys: ['Alt+O'], run: () => page.quickOpen('#') },
    { id: 'go.line', group: 'Go', title: 'To line', keys: ['Ctrl+G'], run: () => page.quickOpen(':'), enabled: editor },
    { id: 'go.part', group: 'Go', title: 'To the next part of the page', keys: ['F6'], run: () => page.nextPart(false), inTerminal: true },
    { id: 'go.part.back', group: 'Go', title: 'To the part before', keys: ['Shift+F6'], run: () => page.nextPart(true), inTerminal: true },

    ...VIEWS.map(({ view, title, keys }): Command => ({
      id: `view.${view}`,
      group: 'View',
      title: `${title}: show or hide`,
      keys: [keys],
      run: () => page.toggle(view),
      inTerminal: view === 'terminals',
    })),
    { id: 'view.side', group: 'View', title: 'Toggle side bar', keys: ['Mod+B'], run: () => layout.toggleSide() },
    { id: 'view.panel', group: 'View', title: 'Toggle panel', keys: ['Mod+J'], run: () => layout.togglePanel() },
    { id: 'view.panel.max', group: 'View', title: 'Maximize panel, or restore it', run: () => layout.toggleMaximized() },
    ...THEMES.map(([choice, title]): Command => ({ id: `view.theme.${choice}`, group: 'View', title, run: () => theme.choose(choice), enabled: () => theme.choice !== choice })),
    { id: 'view.settings', group: 'View', title: 'Settings', keys: ['Mod+,'], run: () => page.dialog('settings') },
    { id: 'view.wrap', group: 'View', title: 'Toggle word wrap', keys: ['Alt+Z'], run: () => settings.set({ wordWrap: !settings.choices.wordWrap }) },
    { id: 'view.minimap', group: 'View', title: 'Toggle minimap', run: () => settings.set({ minimap: !settings.choices.minimap }) },
    { id: 'view.sticky', group: 'View', title: 'Toggle sticky scroll', run: () => settings.set({ stickyScroll: !settings.choices.stickyScroll }) },
    { id: 'view.guides', group: 'View', title: 'Toggle indent guides', run: () => settings.set({ indentGuides: !settings.choices.indentGuides }) },
    { id: 'view.larger', group: 'View', title: 'Larger font', run: () => settings.zoom(1) },
    { id: 'view.smaller', group: 'View', title: 'Smaller font', run: () => settings.zoom(-1) },
    ...KEY_MAPS.map(([keyMap, title]): Command => ({ id: `view.keys.${keyMap}`, group: 'View', title, run: () => settings.set({ keyMap }), enabled: () => settings.choices.keyMap !== keyMap })),

    { id: 'tab.close', group: 'Tabs', title: 'Close tab', keys: ['Alt+W', 'Mod+W'], run: () => documents.activePath !== null && documents.close(documents.activePath), enabled: active },
    { id: 'tab.reopen', group: 'Tabs', title: 'Reopen closed tab', keys: ['Alt+Shift+W'], run: () => documents.reopen(), enabled: () => documents.canReopen },
    { id: 'tab.others', group: 'Tabs', title: 'Close other tabs', run: () => documents.activePath !== null && documents.closeOthers(documents.activePath), enabled: manyTabs },
    { id: 'tab.left', group: 'Tabs', title: 'Previous tab', keys: ['Alt+PageUp'], run: () => documents.step(-1), enabled: manyTabs, inTerminal: true },
    { id: 'tab.right', group: 'Tabs', title: 'Next tab', keys: ['Alt+PageDown'], run: () => documents.step(1), enabled: manyTabs, inTerminal: true },
    ...Array.from({ length: 9 }, (_, i): Command => {
      const tab = (): string | undefined => documents.current.list[i]?.path;
      const run = (): void => void (tab() !== undefined && documents.activate(tab() as string));
      return { id: `tab.${i + 1}`, group: 'Tabs', title: `Go to tab ${i + 1}`, keys: [`Alt+${i + 1}`], run, enabled: () => tab() !== undefined };
    }).slice(0, 9),
    { id: 'pane.split', group: 'Panes', title: 'Split: move this tab to a new pane', keys: ['Mod+\\'], run: () => (manyTabs() ? documents.split() : toasts.info('Open another file first: each pane shows tabs of its own.')), enabled: () => active() && documents.canSplit },
    { id: 'pane.right', group: 'Panes', title: 'Move this tab to the pane on the right', keys: ['Alt+Shift+ArrowRight'], run: () => documents.moveToGroup(1), enabled: () => manyTabs() || manyGroups() },
    { id: 'pane.left', group: 'Panes', title: 'Move this tab to the pane on the left', keys: ['Alt+Shift+ArrowLeft'], run: () => documents.moveToGroup(-1), enabled: () => manyTabs() || manyGroups() },
    { id: 'pane.next', group: 'Panes', title: 'Next pane', keys: ['Alt+Shift+PageDown'], run: () => documents.stepGroup(1), enabled: manyGroups },

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
      title: 'Search for the selection in all files',
      run: () => {
        const view = documents.active?.editor?.view;
        if (view) page.searchFor(view.state.sliceDoc(view.state.selection.main.from, view.state.selection.main.to).split('\n')[0] ?? '');
      },
      enabled: editor,
    },
    inEditor('edit.next', 'Add next occurrence to the selection', ['Mod+D'], selectNextOccurrence),
    told('edit.cursor', 'Editor', 'Alt+Click', 'Add a cursor'),
    inEditor('edit.comment', 'Toggle line comment', ['Mod+/'], toggleComment, 'Editor', editable),
    inEditor('edit.comment.block', 'Toggle block comment', ['Shift+Alt+A'], toggleBlockComment, 'Editor', editable),
    inEditor('edit.line.up', 'Move line up', ['Alt+ArrowUp'], moveLineUp, 'Editor', editable),
    inEditor('edit.line.down', 'Move line down', ['Alt+ArrowDown'], moveLineDown, 'Editor', editable),
    inEditor('edit.copy.up', 'Copy line up', ['Shift+Alt+ArrowUp'], copyLineUp, 'Editor', editable),
    inEditor('edit.copy.down', 'Copy line down', ['Shift+Alt+ArrowDown'], copyLineDown, 'Editor', editable),
    inEditor('edit.delete', 'Delete line', ['Shift+Mod+K'], deleteLine, 'Editor', editable),
    inEditor('edit.fold', 'Fold all', [], foldAll),
    inEditor('edit.unfold', 'Unfold all', [], unfoldAll),
    told('edit.undo', 'Editor', 'Mod+Z', 'Undo my last edit'),
    { id: 'edit.history', group: 'Editor', title: 'History of this file', keys: ['Alt+H'], run: () => documents.active?.toggleHistory(), enabled: editor },
    { id: 'edit.blame', group: 'Editor', title: 'Toggle blame: who wrote each line', keys: ['Alt+A'], run: () => documents.active?.toggleBlame(), enabled: editor },
    { id: 'edit.preview', group: 'Editor', title: 'Toggle Markdown preview', keys: ['Mod+Shift+V'], run: () => documents.active && (documents.active.previewed = !documents.active.previewed), enabled: () => editor() && (documents.active?.isMarkdown ?? false) },
    told('edit.leave', 'Editor', 'Escape Tab', 'Leave the editor'),

    told('code.complete', 'Code', 'Ctrl+Space', 'Trigger completion'),
    told('code.hover', 'Code', 'Mod+K Mod+I', 'Show hover'),
    told('code.signature', 'Code', 'Mod+Shift+Space', 'Parameter hints'),
    inEditor('code.definition', 'Go to definition', ['F12'], goToDefinition, 'Code'),
    inEditor('code.references', 'Find references', ['Shift+F12'], findReferences, 'Code'),
    inEditor('code.rename', 'Rename symbol', ['F2'], renameSymbol, 'Code', editable),
    told('code.actions', 'Code', 'Mod+.', 'Quick fix and code actions'),
    inEditor('code.format', 'Format document', ['Shift+Alt+F'], formatDocument, 'Code', editable),
    told('code.next', 'Code', 'F8', 'Next problem'),
    inEditor('code.menu', 'Menu of the code at the cursor', ['Alt+Enter'], showMenu, 'Code'),
    { id: 'code.servers', group: 'Code', title: 'Language servers', run: () => page.dialog('servers') },

    { id: 'git.compare', group: 'Git', title: 'Compare this file with the last commit', run: () => compare(), enabled: compared },
    { id: 'git.next', group: 'Git', title: 'Next change', keys: ['Alt+F5'], run: () => documents.active?.editor?.goToChange(1), enabled: compared },
    { id: 'git.previous', group: 'Git', title: 'Previous change', keys: ['Alt+Shift+F5'], run: () => documents.active?.editor?.goToChange(-1), enabled: compared },
    { id: 'git.branch', group: 'Git', title: 'Go to another branch, or make one', run: () => page.dialog('branches'), enabled: () => runnable() && open.git.status !== null },

    { id: 'files.new', group: 'Files', title: 'New file', keys: ['Alt+N'], run: () => (layout.show('files'), void tree.startNew('file')), enabled: writable },
    { id: 'files.folder', group: 'Files', title: 'New folder', run: () => (layout.show('files'), void tree.startNew('directory')), enabled: writable },
    { id: 'files.reveal', group: 'Files', title: 'Reveal this file in the tree', run: () => documents.activePath !== null && (layout.show('files'), void tree.reveal(documents.activePath)), enabled: active },
    { id: 'files.collapse', group: 'Files', title: 'Collapse all folders', run: () => tree.collapseAll() },
    { id: 'files.reload', group: 'Files', title: 'Refresh', run: () => void tree.reload() },
    told('files.walk', 'Files', 'ArrowUp ArrowDown ArrowLeft ArrowRight', 'Walk the tree'),
    told('files.open', 'Files', 'Enter', 'Open and go there'),
    told('files.look', 'Files', 'Space', 'Open and stay'),
    told('files.rename', 'Files', 'F2', 'Rename'),
    told('files.delete', 'Files', 'Delete', 'Delete'),
    told('files.menu', 'Files', 'Shift+F10', 'All actions'),

    { id: 'terminal.new', group: 'Terminal', title: 'New terminal', keys: ['Ctrl+Shift+`'], run: () => page.newTerminal(), enabled: runnable, inTerminal: true },
    { id: 'terminal.next', group: 'Terminal', title: 'Next terminal', run: () => (layout.show('terminals'), terminals.step(1)), enabled: () => terminals.tabs.length > 1 },

    {
      id: 'together.comment',
      group: 'Together',
      title: 'Comment on the selection',
      keys: ['Mod+Alt+M'],
      run: () => {
        if (!documents.active) return;
        open.comments.begin(documents.active);
        open.talk = 'comments';
        layout.show('together');
      },
      enabled: () => open.writable && editor(),
    },
    { id: 'together.chat', group: 'Together', title: 'Chat', run: () => ((open.talk = 'chat'), page.toggle('together')), enabled: () => !layout.shows('together') },
    { id: 'together.news', group: 'Together', title: 'Catch up: what others have changed', run: () => ((open.talk = 'news'), layout.show('together')) },
    { id: 'together.stop', group: 'Together', title: 'Stop following', run: () => open.following.stop(), enabled: () => open.following.person !== null },

    { id: 'workspace.share', group: 'Workspace', title: 'Share', run: () => page.dialog('share') },
    { id: 'workspace.secrets', group: 'Workspace', title: 'Secrets', run: () => page.dialog('secrets'), enabled: owner },
    { id: 'workspace.setup', group: 'Workspace', title: 'Show how it was set up', run: () => (open.setupShown = true), enabled: () => open.running && open.workspace?.setup != null },
    { id: 'workspace.start', group: 'Workspace', title: 'Start', run: () => void open.act('start'), enabled: () => open.writable && !open.running },
    { id: 'workspace.stop', group: 'Workspace', title: 'Stop', run: () => void open.act('stop'), enabled: writable },
    { id: 'workspace.restart', group: 'Workspace', title: 'Restart', run: () => void open.act('restart'), enabled: writable },

    { id: 'help.keys', group: 'Help', title: 'Keyboard shortcuts', keys: ['Mod+Shift+/'], run: () => page.dialog('help') },
  ];
}
