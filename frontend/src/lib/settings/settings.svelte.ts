/** How this person likes the editor; kept in this browser and told to its other tabs. */
import { remember, remembered } from '../shell/stored';

export type KeyMap = 'default' | 'vim' | 'emacs';

export interface Choices {
  /** Pixels. */
  fontSize: number;
  /** Names of font families as in CSS; "": the page's own. */
  fontFamily: string;
  ligatures: boolean;
  keyMap: KeyMap;
  wordWrap: boolean;
  minimap: boolean;
  stickyScroll: boolean;
  indentGuides: boolean;
}

export const DEFAULTS: Choices = {
  fontSize: 13.5,
  fontFamily: '',
  ligatures: false,
  keyMap: 'default',
  wordWrap: false,
  minimap: false,
  stickyScroll: true,
  indentGuides: true,
};

export const FONT_SIZE = { least: 9, most: 32 };
const KEY = 'settings';

/** What was kept, as far as it can be used; anything may lie in a browser's storage. */
export function valid(kept: unknown): Choices {
  const result = { ...DEFAULTS };
  if (typeof kept !== 'object' || kept === null) return result;
  const given = kept as Partial<Record<keyof Choices, unknown>>;
  const { fontSize, fontFamily, keyMap } = given;
  if (typeof fontSize === 'number' && fontSize >= FONT_SIZE.least && fontSize <= FONT_SIZE.most) result.fontSize = fontSize;
  if (typeof fontFamily === 'string') result.fontFamily = cleanFamily(fontFamily);
  if (keyMap === 'vim' || keyMap === 'emacs') result.keyMap = keyMap;
  for (const name of ['ligatures', 'wordWrap', 'minimap', 'stickyScroll', 'indentGuides'] as const) {
    const value = given[name];
    if (typeof value === 'boolean') result[name] = value;
  }
  return result;
}

/** Names of fonts, and nothing that could end the declaration they stand in. */
export function cleanFamily(text: string): string {
  return text.replace(/[^\p{L}\p{N} ,'"_-]/gu, '').slice(0, 200).trim();
}

export class Settings {
  choices = $state.raw<Choices>(valid(remembered<unknown>(KEY, null)));

  constructor() {
    this.#apply();
    window.addEventListener('storage', (event) => {
      if (event.key !== `cloudide.${KEY}`) return;
      this.choices = valid(remembered<unknown>(KEY, null));
      this.#apply();
    });
  }

  set(change: Partial<Choices>): void {
    this.choices = valid({ ...this.choices, ...change });
    remember(KEY, this.choices);
    this.#apply();
  }

  reset(): void {
    this.set(DEFAULTS);
  }

  zoom(by: number): void {
    const { least, most } = FONT_SIZE;
    this.set({ fontSize: Math.max(least, Math.min(most, this.choices.fontSize + by)) });
  }

  /** Sizes and fonts are tokens of the style sheet, so that every view may use them. */
  #apply(): void {
    const { style } = document.documentElement;
    const { fontSize, fontFamily, ligatures } = this.choices;
    style.setProperty('--code-size', `${fontSize}px`);
    if (fontFamily) style.setProperty('--code-font', `${fontFamily}, var(--mono)`);
    else style.removeProperty('--code-font');
    style.setProperty('--code-ligatures', ligatures ? 'normal' : 'none');
  }
}

export const settings = new Settings();
