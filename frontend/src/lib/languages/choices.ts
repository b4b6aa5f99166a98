/** A short list beside the cursor to choose from: with arrows and Enter, by a click, or Escape. */
import { StateEffect, StateField } from '@codemirror/state';
import { EditorView, showTooltip, type Tooltip } from '@codemirror/view';

const open = StateEffect.define<Tooltip | null>();

const field = StateField.define<Tooltip | null>({
  create: () => null,
  update(tooltip, tr) {
    for (const effect of tr.effects) if (effect.is(open)) return effect.value;
    return tr.docChanged ? null : tooltip;
  },
  provide: (self) => showTooltip.from(self),
});

export const choices = [
  field,
  EditorView.theme({
    '.cm-choices': { minWidth: '220px', maxWidth: 'min(560px, 90vw)', maxHeight: '280px', overflow: 'auto', padding: '4px', outline: 'none' },
    '.cm-choice': {
      padding: '4px 10px',
      borderRadius: 'var(--radius-s)',
      fontFamily: 'var(--font)',
      fontSize: '13px',
      cursor: 'pointer',
      whiteSpace: 'nowrap',
      overflow: 'hidden',
      textOverflow: 'ellipsis',
    },
    '.cm-choice[aria-selected=true]': { backgroundColor: 'var(--bg-active)' },
    '@media (pointer: coarse)': { '.cm-choice': { padding: '9px 12px' } },
  }),
];

let next = 0;

/** The index of what was chosen, or -1. The list goes when it loses the focus or the text changes. */
export function chooseFrom(view: EditorView, label: string, titles: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const id = `choices-${(next += 1)}`;
    let settled = false;
    const settle = (index: number): void => {
      if (settled) return;
      settled = true;
      view.dispatch({ effects: open.of(null) });
      view.focus();
      resolve(index);
    };
    const create = (): { dom: HTMLElement; mount: () => void; destroy: () => void } => {
      const dom = document.createElement('div');
      dom.className = 'cm-choices';
      dom.setAttribute('role', 'listbox');
      dom.setAttribute('aria-label', label);
      dom.tabIndex = -1;
      let current = 0;
      const rows = titles.map((title, index) => {
        const row = dom.appendChild(document.createElement('div'));
        row.className = 'cm-choice';
        row.id = `${id}-${index}`;
        row.setAttribute('role', 'option');
        row.textContent = title;
        row.addEventListener('click', () => settle(index));
        row.addEventListener('pointermove', () => mark(index));
        return row;
      });
      const mark = (index: number): void => {
        current = (index + rows.length) % rows.length;
        rows.forEach((row, i) => row.setAttribute('aria-selected', String(i === current)));
        dom.setAttribute('aria-activedescendant', `${id}-${current}`);
        rows[current]?.scrollIntoView({ block: 'nearest' });
      };
      mark(0);
      dom.addEventListener('keydown', (event) => {
        if (event.key === 'ArrowDown') mark(current + 1);
        else if (event.key === 'ArrowUp') mark(current - 1);
        else if (event.key === 'Home') mark(0);
        else if (event.key === 'End') mark(rows.length - 1);
        else if (event.key === 'Enter') settle(current);
        else if (event.key === 'Escape' || event.key === 'Tab') settle(-1);
        else return;
        event.preventDefault();
        event.stopPropagation();
      });
      dom.addEventListener('blur', () => setTimeout(() => settle(-1)));
      return { dom, mount: () => dom.focus({ preventScroll: true }), destroy: () => void (settled ||= (resolve(-1), true)) };
    };
    view.dispatch({ effects: open.of({ pos: view.state.selection.main.head, create, above: false, arrow: false }) });
  });
}
