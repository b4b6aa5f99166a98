import { remember, remembered } from './stored';

export type ThemeChoice = 'system' | 'light' | 'dark';

/** Light or dark: what the person chose, else what their system prefers. */
class Theme {
  choice = $state<ThemeChoice>(remembered<ThemeChoice>('theme', 'system'));
  #system = $state(false);
  readonly dark = $derived(this.choice === 'system' ? this.#system : this.choice === 'dark');

  constructor() {
    const query = window.matchMedia('(prefers-color-scheme: dark)');
    this.#system = query.matches;
    query.addEventListener('change', () => (this.#system = query.matches));
    this.#apply();
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
    if (this.choice === 'system') delete dataset['theme'];
    else dataset['theme'] = this.choice;
  }
}

export const theme = new Theme();
