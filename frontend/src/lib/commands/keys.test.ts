import { describe, expect, it } from 'vitest';
import { matches, type Pressed, shown } from './keys';

const press = (key: string, code: string, held: Partial<Pressed> = {}): Pressed => ({
  key,
  code,
  ctrlKey: false,
  metaKey: false,
  shiftKey: false,
  altKey: false,
  ...held,
});

describe('keys', () => {
  it('takes Mod for the key of the platform, and no other', () => {
    expect(matches(press('p', 'KeyP', { ctrlKey: true }), 'Mod+P', false)).toBe(true);
    expect(matches(press('p', 'KeyP', { ctrlKey: true }), 'Mod+P', true)).toBe(false);
    expect(matches(press('p', 'KeyP', { metaKey: true }), 'Mod+P', true)).toBe(true);
  });

  it('tells combinations apart by every key that is held', () => {
    const event = press('P', 'KeyP', { ctrlKey: true, shiftKey: true });
    expect(matches(event, 'Mod+Shift+P', false)).toBe(true);
    expect(matches(event, 'Mod+P', false)).toBe(false);
    expect(matches(event, 'Mod+Alt+Shift+P', false)).toBe(false);
  });

  it('goes by the letter where there is one, else by the place', () => {
    expect(matches(press('a', 'KeyQ', { ctrlKey: true }), 'Mod+A', false)).toBe(true);
    expect(matches(press('з', 'KeyP', { ctrlKey: true }), 'Mod+P', false)).toBe(true);
    expect(matches(press('ß', 'KeyS', { altKey: true }), 'Alt+S', true)).toBe(true);
  });

  it('shows chords key by key', () => {
    expect(shown('Mod+K Mod+I', false)).toEqual(['Ctrl', 'K', 'Ctrl', 'I']);
    expect(shown('Alt+ArrowUp', false)).toEqual(['Alt', '↑']);
  });
});
