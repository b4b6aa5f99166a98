// @vitest-environment jsdom
import { describe, expect, it } from 'vitest';
import { cleanFamily, DEFAULTS, Settings, valid } from './settings.svelte';

describe('settings', () => {
  it('takes what it kept, and nothing that cannot be', () => {
    const kept = { fontSize: 900, keyMap: 'vim', minimap: true, wordWrap: 'yes', other: 1 };
    expect(valid(kept)).toEqual({ ...DEFAULTS, keyMap: 'vim', minimap: true });
    expect(valid('{}')).toEqual(DEFAULTS);
  });

  it('lets a font do nothing but name fonts', () => {
    expect(cleanFamily("'Fira Code', monospace; } * { background: url(x)")).toBe("'Fira Code', monospace    background urlx");
  });

  it('keeps a change, within bounds, for the next visit', () => {
    const settings = new Settings();
    settings.zoom(100);
    settings.set({ keyMap: 'emacs' });
    expect(new Settings().choices).toEqual({ ...DEFAULTS, fontSize: 32, keyMap: 'emacs' });
    expect(document.documentElement.style.getPropertyValue('--code-size')).toBe('32px');
  });
});
