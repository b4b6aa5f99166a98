import { describe, expect, it, vi } from 'vitest';
import { Commands } from './commands.svelte';
import type { Pressed } from './keys';

const HERE = { terminal: false, modal: false };
const ctrl = (key: string): Pressed => ({
  key,
  code: `Key${key.toUpperCase()}`,
  ctrlKey: true,
  metaKey: false,
  shiftKey: false,
  altKey: false,
});

describe('commands', () => {
  it('a key runs its command, unless it cannot be done or the terminal has the keyboard', () => {
    const commands = new Commands();
    const run = vi.fn();
    let able = true;
    commands.add([{ id: 'open', title: 'Open a file', group: 'Go', keys: ['Mod+P'], run, enabled: () => able }]);
    expect(commands.press(ctrl('p'), { ...HERE, terminal: true })).toBe(false);
    expect(commands.press(ctrl('p'), HERE)).toBe(true);
    able = false;
    expect(commands.press(ctrl('p'), HERE)).toBe(false);
    expect(run).toHaveBeenCalledTimes(1);
  });

  it('leaves the control keys of another key map and of the editor alone', () => {
    const commands = new Commands();
    const run = vi.fn();
    commands.add([
      { id: 'side', title: 'Side bar', group: 'View', keys: ['Mod+B'], run },
      { id: 'find', title: 'Find', group: 'Edit', keys: ['Mod+F'], run, native: true },
    ]);
    expect(commands.press(ctrl('b'), { ...HERE, modal: true })).toBe(false);
    expect(commands.press(ctrl('f'), HERE)).toBe(false);
    expect(run).not.toHaveBeenCalled();
  });

  it('lists what was used last first, and by letters what fits best', () => {
    const commands = new Commands();
    const run = (): void => undefined;
    commands.add([
      { id: 'a', title: 'Toggle word wrap', group: 'Editor', run },
      { id: 'b', title: 'New terminal', group: 'Terminal', run },
      { id: 'c', title: 'Walk the tree', group: 'Files', keys: ['ArrowUp'] },
    ]);
    commands.run('b');
    expect(commands.search('').map(({ command }) => command.id)).toEqual(['b', 'a']);
    expect(commands.search('wrap').map(({ command }) => command.id)).toEqual(['a']);
    expect(commands.sheet).toEqual([['Files', [commands.get('c')]]]);
  });

  it('forgets what is taken away', () => {
    const commands = new Commands();
    commands.add([{ id: 'a', title: 'A', group: 'G', run: () => undefined }])();
    expect(commands.list).toEqual([]);
  });
});
