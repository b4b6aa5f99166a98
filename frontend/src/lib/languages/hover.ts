/** What the servers know of the symbol at the cursor, for those who use no pointer (Ctrl+K Ctrl+I). */
import { LSPPlugin } from '@codemirror/lsp-client';
import { type Extension, StateEffect, StateField } from '@codemirror/state';
import { type Command, keymap, showTooltip, type Tooltip } from '@codemirror/view';
import type { Hover, MarkedString, MarkupContent } from 'vscode-languageserver-protocol';

const show = StateEffect.define<Tooltip | null>();

const shown = StateField.define<Tooltip | null>({
  create: () => null,
  update(tooltip, tr) {
    for (const effect of tr.effects) if (effect.is(show)) return effect.value;
    return tr.docChanged || tr.selection ? null : tooltip;
  },
  provide: (field) => showTooltip.from(field),
});

function htmlOf(plugin: LSPPlugin, contents: MarkupContent | MarkedString | MarkedString[]): string {
  if (Array.isArray(contents)) return contents.map((each) => htmlOf(plugin, each)).join('');
  if (typeof contents === 'string') return plugin.docToHTML(contents, 'markdown');
  if ('kind' in contents) return plugin.docToHTML(contents);
  return plugin.docToHTML(`\`\`\`${contents.language}\n${contents.value}\n\`\`\``, 'markdown');
}

const showHover: Command = (view) => {
  const plugin = LSPPlugin.get(view);
  if (!plugin?.client.serverCapabilities?.hoverProvider) return false;
  plugin.client.sync();
  const { doc, selection } = view.state;
  const params = { textDocument: { uri: plugin.uri }, position: plugin.toPosition(selection.main.head) };
  plugin.client.request<typeof params, Hover | null>('textDocument/hover', params).then(
    (hover) => {
      if (!hover || view.state.doc !== doc) return;
      const create = (): { dom: HTMLElement } => {
        const dom = document.createElement('div');
        dom.className = 'cm-lsp-hover-tooltip cm-lsp-documentation';
        dom.setAttribute('role', 'status');
        dom.innerHTML = htmlOf(plugin, hover.contents); // sanitized by the client
        return { dom };
      };
      view.dispatch({ effects: show.of({ pos: selection.main.head, above: true, create }) });
    },
    () => undefined, // nothing is known: nothing shows
  );
  return true;
};

const hide: Command = (view) => {
  if (!view.state.field(shown, false)) return false;
  view.dispatch({ effects: show.of(null) });
  return true;
};

export const keyboardHover: Extension = [
  shown,
  keymap.of([
    { key: 'Mod-k Mod-i', run: showHover, preventDefault: true },
    { key: 'Escape', run: hide },
  ]),
];
