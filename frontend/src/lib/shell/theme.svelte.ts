import { remember, remembered } from './stored';

export const THEMES = ['system', 'light', 'dark', 'contrast'] as const;
export type ThemeChoice = (typeof THEMES)[number];

/** What the person chose, else what their system prefers: light or dark, or high contrast. */
class Theme {
  choice = $state<ThemeChoice>('system');
  #systemDark = $state(false);
  #systemContrast = $state(false);
  readonly contrast = $derived(this.choice === 'contrast' || (this.choice === 'system' && this.#systemContrast));
  readonly dark = $derived(this.contrast || (this.choice === 'system' ? this.#systemDark : this.choice === 'dark'));

  constructor() {
    const kept = remembered<ThemeChoice>('theme', 'system');
    this.choice = THEMES.includes(kept) ? kept : 'system';
    const dark = window.matchMedia('(prefers-color-scheme: dark)');
    const contrast = window.matchMedia('(prefers-contrast: more)');
    const look = (): void => {
      this.#systemDark = dark.matches;
      this.#systemContrast = contrast.matches;
      this.#apply();
    };
    dark.addEventListener('change', look);
    contrast.addEventListener('change', look);
    look();
  }

  toggle(): void {
    this.choose(this.dark ? 'light' : 'dark');
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    remember('theme', choice);
    this.#apply();
  }

  #apply(): void {
    const { dataset } = document.documentElement;
    if (this.contrast) dataset['theme'] = 'contrast';
    else if (this.choice === 'system') delete dataset['theme'];
    else dataset['theme'] = this.choice;
  }
}

export const theme = new Theme();
