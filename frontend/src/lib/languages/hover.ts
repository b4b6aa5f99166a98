/** What the servers know of the symbol at the cursor, for those who use no pointer (Ctrl+K Ctrl+I). */
import { LSPPlugin } from '@codemirror/lsp-client';
import { type Extension, StateEffect, StateField, Transaction } from '@codemirror/state';
import { type Command, keymap, showTooltip, type Tooltip } from '@codemirror/view';
import type { Hover, MarkedString, MarkupContent } from 'vscode-languageserver-protocol';
import { messageOf } from '../session/api';

const show = StateEffect.define<Tooltip | null>();

const shown = StateField.define<Tooltip | null>({
  create: () => null,
  update(tooltip, tr) {
    for (const effect of tr.effects) if (effect.is(show)) return effect.value;
    if (!tooltip || tr.selection || tr.annotation(Transaction.userEvent)) return null;
    return { ...tooltip, pos: tr.changes.mapPos(tooltip.pos) }; // somebody else typed
  },
  provide: (field) => showTooltip.from(field),
});

function htmlOf(plugin: LSPPlugin, contents: MarkupContent | MarkedString | MarkedString[]): string {
  if (Array.isArray(contents)) return contents.map((each) => htmlOf(plugin, each)).join('');
  if (typeof contents === 'string') return plugin.docToHTML(contents, 'markdown');
  if ('kind' in contents) return plugin.docToHTML(contents);
  return plugin.docToHTML(`\`\`\`${contents.language}\n${contents.value}\n\`\`\``, 'markdown');
}

function tooltipAt(pos: number, fill: (dom: HTMLElement) => void): Tooltip {
  const create = (): { dom: HTMLElement } => {
    const dom = document.createElement('div');
    dom.className = 'cm-lsp-hover-tooltip cm-lsp-documentation';
    dom.setAttribute('role', 'status');
    fill(dom);
    return { dom };
  };
  return { pos, above: true, create };
}

const showHover: Command = (view) => {
  const plugin = LSPPlugin.get(view);
  if (!plugin?.client.serverCapabilities?.hoverProvider) return false;
  plugin.client.sync();
  const { main } = view.state.selection;
  const params = { textDocument: { uri: plugin.uri }, position: plugin.toPosition(main.head) };
  void plugin.client.withMapping(async (mapping) => {
    const tell = (fill: (dom: HTMLElement) => void): void => {
      // Who has moved on meanwhile asks no more.
      const pos = mapping.mapPos(plugin.uri, main.head);
      if (view.state.selection.main.head === pos) view.dispatch({ effects: show.of(tooltipAt(pos, fill)) });
    };
    try {
      const hover = await plugin.client.request<typeof params, Hover | null>('textDocument/hover', params);
      tell((dom) => {
        if (hover) dom.innerHTML = htmlOf(plugin, hover.contents); // sanitized by the client
        else dom.textContent = 'Nothing is known of this.';
      });
    } catch (error) {
      tell((dom) => (dom.textContent = `The language server did not answer: ${messageOf(error)}`));
    }
  });
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
