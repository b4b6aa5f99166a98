/**
 * Commands of an editor that ask the language servers: where something is, another name for it, a
 * better form, a mend.
 *
 * Edits are made by the server, in the rooms: one group, in the name of who asked, that is undone
 * as one. Here only what was done is told.
 */
import { LSPPlugin } from '@codemirror/lsp-client';
import { forEachDiagnostic } from '@codemirror/lint';
import { indentUnit } from '@codemirror/language';
import { EditorState, type Extension, Facet } from '@codemirror/state';
import { type Command, EditorView, keymap, showDialog } from '@codemirror/view';
import type { CodeAction, Command as ServerCommand, Diagnostic, Location, LocationLink, Position, Range } from 'vscode-languageserver-protocol';
import { chooseFrom } from './choices';
import { reportedOf } from './diagnostics';
import { rangeOf } from './positions';

/** An edit that the server has made; `id` takes it back, `files` are paths. */
export interface Edited {
  id: string;
  label: string;
  files: string[];
  edits: number;
}

export interface Place {
  uri: string;
  range: Range;
}

/** What the page does with what the servers answer. */
export interface Actions {
  /** Goes to a place; false when it lies outside of the workspace. */
  go(place: Place): Promise<boolean>;
  /** Shows a list of places. */
  list(title: string, places: readonly Place[]): void;
  /** Tells what an edit of the server did. */
  edited(what: string, answer: Edited | null): void;
  tell(message: string): void;
  failed(what: string, error: unknown): void;
}

export const actionsFacet = Facet.define<Actions, Actions | null>({ combine: (values) => values[0] ?? null });

type Ask = (view: EditorView, plugin: LSPPlugin, actions: Actions) => Promise<void>;

/** A command that asks a server that can answer, and tells of a failure. */
function command(capability: string, what: string, ask: Ask): Command {
  return (view) => {
    const plugin = LSPPlugin.get(view);
    const actions = view.state.facet(actionsFacet);
    if (!plugin || !actions) return false;
    const { serverCapabilities } = plugin.client;
    if (!(serverCapabilities as Record<string, unknown> | null)?.[capability]) {
      actions.tell(serverCapabilities ? `${what}: no language server here can do this.` : `${what}: the language server is not ready yet.`);
      return true;
    }
    plugin.client.sync();
    ask(view, plugin, actions).catch((error: unknown) => actions.failed(what, error));
    return true;
  };
}

function here(view: EditorView, plugin: LSPPlugin): { textDocument: { uri: string }; position: Position } {
  return { textDocument: { uri: plugin.uri }, position: plugin.toPosition(view.state.selection.main.head) };
}

function readOnly(view: EditorView, actions: Actions): boolean {
  if (view.state.readOnly) actions.tell('You can look at this file, but not change it.');
  return view.state.readOnly;
}

function placeOf(found: Location | LocationLink): Place {
  return 'uri' in found ? found : { uri: found.targetUri, range: found.targetSelectionRange };
}

function jump(method: string, capability: string, what: string): Command {
  return command(capability, what, async (view, plugin, actions) => {
    const answer = await plugin.client.request<unknown, Location | (Location | LocationLink)[] | null>(`textDocument/${method}`, here(view, plugin));
    const places = (Array.isArray(answer) ? answer : answer ? [answer] : []).map(placeOf);
    const [first] = places;
    if (!first) actions.tell(`${what}: nothing found in this workspace.`);
    else if (places.length > 1) actions.list(what, places);
    else if (!(await actions.go(first))) actions.tell(`${what}: it lies outside of this workspace.`);
  });
}

export const goToDefinition = jump('definition', 'definitionProvider', 'Definition');
export const goToTypeDefinition = jump('typeDefinition', 'typeDefinitionProvider', 'Type');
export const goToImplementation = jump('implementation', 'implementationProvider', 'Implementations');

export const findReferences = command('referencesProvider', 'References', async (view, plugin, actions) => {
  const params = { ...here(view, plugin), context: { includeDeclaration: true } };
  const found = await plugin.client.request<unknown, Location[] | null>('textDocument/references', params);
  const word = view.state.wordAt(view.state.selection.main.head);
  const name = word ? view.state.sliceDoc(word.from, word.to) : '';
  if (!found?.length) actions.tell('References: none found.');
  else actions.list(name ? `References to ${name}` : 'References', found);
});

export const renameSymbol: Command = command('renameProvider', 'Rename', async (view, plugin, actions) => {
  const { state } = view;
  if (readOnly(view, actions)) return;
  const word = state.wordAt(state.selection.main.head);
  if (!word) {
    actions.tell('Put the cursor on a name to give it another one.');
    return;
  }
  const before = state.sliceDoc(word.from, word.to);
  const { result, close } = showDialog(view, {
    label: `New name of ${before}`,
    input: { name: 'name', value: before, 'aria-label': 'New name', spellcheck: 'false', autocomplete: 'off' },
    focus: true,
    submitLabel: 'Rename',
    class: 'cm-rename-panel',
    top: true,
  });
  const form = await result;
  view.dispatch({ effects: close });
  view.focus();
  const name = (form?.elements.namedItem('name') as HTMLInputElement | null)?.value.trim() ?? '';
  if (!name || name === before) return;
  // The cursor may have gone elsewhere while the name was typed; the dialog was about this word.
  const again = view.state.wordAt(view.state.selection.main.head);
  if (!again || view.state.sliceDoc(again.from, again.to) !== before) {
    actions.tell('Not renamed: the text was changed meanwhile.');
    return;
  }
  const params = { textDocument: { uri: plugin.uri }, position: plugin.toPosition(again.from), newName: name };
  actions.edited(`Renamed to ${name}`, await plugin.client.request('textDocument/rename', params));
});

export const formatDocument: Command = command('documentFormattingProvider', 'Format', async (view, plugin, actions) => {
  if (readOnly(view, actions)) return;
  const unit = view.state.facet(indentUnit);
  const options = {
    tabSize: unit === '\t' ? view.state.facet(EditorState.tabSize) : unit.length,
    insertSpaces: unit !== '\t',
    trimTrailingWhitespace: true,
    insertFinalNewline: true,
  };
  const params = { textDocument: { uri: plugin.uri }, options };
  actions.edited('Formatted', await plugin.client.request('textDocument/formatting', params));
});

export const showActions: Command = command('codeActionProvider', 'Actions', async (view, plugin, actions) => {
  if (readOnly(view, actions)) return;
  const { main } = view.state.selection;
  const { doc } = view.state;
  const line = doc.lineAt(main.head);
  const diagnostics: Diagnostic[] = [];
  forEachDiagnostic(view.state, (each, from, to) => {
    const told = reportedOf(each);
    if (told && from <= Math.max(line.to, main.to) && to >= Math.min(line.from, main.from)) {
      diagnostics.push({ ...told, range: rangeOf(doc, from, to) });
    }
  });
  const params = { textDocument: { uri: plugin.uri }, range: rangeOf(doc, main.from, main.to), context: { diagnostics, triggerKind: 1 } };
  const found = await plugin.client.request<typeof params, (CodeAction | ServerCommand)[] | null>('textDocument/codeAction', params);
  // Somebody who has gone on does not want a list in their way.
  if (view.state.doc !== doc || !view.state.selection.main.eq(main) || !view.hasFocus) return;
  const possible = (found ?? []).filter((action) => !('disabled' in action && action.disabled));
  if (possible.length === 0) {
    actions.tell('There is nothing to offer here.');
    return;
  }
  possible.sort((a, b) => Number('isPreferred' in b && b.isPreferred === true) - Number('isPreferred' in a && a.isPreferred === true));
  const chosen = await chooseFrom(view, 'Actions', possible.map((action) => action.title));
  const action = possible[chosen];
  if (action) await run(plugin, actions, action);
});

/** Has the server do what an action says. */
async function run(plugin: LSPPlugin, actions: Actions, action: CodeAction | ServerCommand): Promise<void> {
  const answer = await plugin.client.request<typeof action, Edited | null>('cloudide/applyCodeAction', action);
  // What a command does is told by itself, once it does it.
  if (answer || !action.command) actions.edited(action.title, answer);
}

/** Everything that can be asked of the servers here, for those who use no keys. */
export const showMenu: Command = (view) => {
  if (!LSPPlugin.get(view)) return false;
  const entries: [string, Command][] = [
    ['Go to definition', goToDefinition],
    ['Find references', findReferences],
    ['Go to implementations', goToImplementation],
    ['Go to type definition', goToTypeDefinition],
  ];
  const edits: [string, Command][] = [
    ['Rename symbol…', renameSymbol],
    ['Code actions…', showActions],
    ['Format document', formatDocument],
  ];
  const all = view.state.readOnly ? entries : [...entries, ...edits];
  void chooseFrom(view, 'Code', all.map(([title]) => title)).then((chosen) => all[chosen]?.[1](view));
  return true;
};

const clickable = EditorView.domEventHandlers({
  mousedown(event, view) {
    if (event.button !== 0 || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return false;
    const at = view.posAtCoords({ x: event.clientX, y: event.clientY });
    if (at === null || !view.state.wordAt(at)) return false;
    event.preventDefault();
    view.dispatch({ selection: { anchor: at } });
    return goToDefinition(view);
  },
});

export const actionKeys: Extension = [
  clickable,
  keymap.of([
    { key: 'F12', run: goToDefinition, preventDefault: true },
    { key: 'Ctrl-F12', run: goToImplementation, preventDefault: true },
    { key: 'Shift-F12', run: findReferences, preventDefault: true },
    { key: 'F2', run: renameSymbol, preventDefault: true },
    { key: 'Shift-Alt-f', run: formatDocument, preventDefault: true },
    { key: 'Mod-.', run: showActions, preventDefault: true },
    { key: 'Alt-Enter', run: showMenu, preventDefault: true },
  ]),
];
