/** The looks of tooltips, lists and dialogs that language servers bring. */
import { EditorView } from '@codemirror/view';

export const look = EditorView.theme({
  '.cm-tooltip': { boxShadow: 'var(--shadow)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '13px', maxHeight: '15em', minWidth: '220px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px 3px 4px', lineHeight: '1.5' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--bg-active)', color: 'var(--text)' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700', color: 'var(--accent)' },
  '.cm-completionDetail': { color: 'var(--text-faint)', fontStyle: 'normal', marginLeft: '10px' },
  '.cm-completionIcon': { opacity: '0.75', width: '1.1em' },
  '.cm-tooltip.cm-completionInfo': { padding: '8px 10px', maxWidth: '440px', maxHeight: '300px', overflow: 'auto' },
  '.cm-lsp-documentation': { fontFamily: 'var(--font)', fontSize: '13px', lineHeight: '1.5', overflowWrap: 'anywhere', whiteSpace: 'normal' },
  '.cm-lsp-hover-tooltip': { padding: '6px 10px', maxWidth: 'min(620px, 90vw)', maxHeight: '320px', overflow: 'auto' },
  '.cm-lsp-documentation pre': {
    margin: '4px 0',
    padding: '0',
    whiteSpace: 'pre-wrap',
    fontFamily: 'var(--mono)',
    fontSize: '12.5px',
  },
  '.cm-lsp-documentation pre br:last-child': { display: 'none' },
  '.cm-lsp-documentation code': { fontFamily: 'var(--mono)', fontSize: '12.5px' },
  '.cm-lsp-documentation p': { margin: '4px 0' },
  '.cm-lsp-documentation ul, .cm-lsp-documentation ol': { margin: '4px 0', paddingLeft: '18px', listStyle: 'initial' },
  '.cm-lsp-documentation h1, .cm-lsp-documentation h2, .cm-lsp-documentation h3': { fontSize: '13.5px', margin: '6px 0 2px' },
  '.cm-lsp-documentation hr': { border: '0', borderTop: '1px solid var(--line)', margin: '6px 0' },
  '.cm-lsp-signature-tooltip': { padding: '5px 10px', maxWidth: 'min(620px, 90vw)', maxHeight: '200px', overflow: 'auto', fontSize: '13px' },
  '.cm-lsp-signature-tooltip .cm-lsp-active-parameter': { color: 'var(--accent)', fontWeight: '700' },
  '.cm-panel.cm-rename-panel': { padding: '8px 40px 8px 12px', fontFamily: 'var(--font)', fontSize: '13px' },
  '.cm-panel.cm-rename-panel, .cm-rename-panel form': { display: 'flex', flexWrap: 'wrap', alignItems: 'center', gap: '8px' },
  '.cm-rename-panel label': { display: 'flex', alignItems: 'center', gap: '8px', fontSize: '13px' },
  '.cm-rename-panel .cm-dialog-close': { color: 'var(--text-muted)', fontSize: '18px', right: '8px' },
});
