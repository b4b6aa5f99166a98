import { describe, expect, test } from 'vitest';
import { readersOf, tasksOf } from './secrets.svelte';

describe('readers', () => {
  const nameOf = (id: string): string => (id === 'w1' ? 'Shop' : id);

  test.each([
    ['', []],
    ['deploy', ['deploy']],
    [' deploy, test  deploy,\ne2e:all ', ['deploy', 'test', 'e2e:all']],
    ['*', ['*']],
  ])('tasks %j', (text, tasks) => {
    expect(tasksOf(text)).toEqual(tasks);
  });

  test('in a few words', () => {
    const readers = [
      { workspace: 'w1', tasks: ['deploy', 'test'], programs: true },
      { workspace: 'w2', tasks: ['*'], programs: false },
      { workspace: 'w3', tasks: [], programs: false },
    ];
    expect(readersOf(readers, nameOf, false)).toBe(
      'Shop: tasks deploy, test; terminals and programs that ask · w2: all tasks',
    );
    expect(readersOf([{ workspace: 'w1', tasks: ['deploy'], programs: false }], nameOf, true)).toBe('task deploy');
    expect(readersOf([], nameOf, true)).toBe('Nothing may read it yet');
  });
});
