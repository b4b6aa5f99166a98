import { describe, expect, test } from 'vitest';
import { addStep, archiveProblem, gitProblem, nameProblem } from './creation.svelte';

describe('the form for a new workspace', () => {
  test.each(['attrs', 'Ü 😀 “x”', "it's"])('accepts the name %j', (name) => expect(nameProblem(name)).toBe(''));
  test.each(['', '  ', 'a\nb', 'x'.repeat(81)])('refuses the name %j', (name) => expect(nameProblem(name)).not.toBe(''));

  test.each(['https://example.org/a/b.git', 'ssh://git@example.org/a', 'git@example.org:a/b.git'])(
    'accepts the repository %s',
    (url) => expect(gitProblem(url)).toBe(''),
  );
  test.each(['', 'example', 'file:///etc', '--upload-pack=x', 'https://example.org'])('refuses the repository %j', (url) =>
    expect(gitProblem(url)).not.toBe(''),
  );

  test('takes archives it can unpack', () => {
    expect(['a.tar.gz', 'b.TGZ', 'c.zip'].map(archiveProblem)).toEqual(['', '', '']);
    expect(archiveProblem('d.rar')).not.toBe('');
  });
});

describe('progress', () => {
  test('updates a step in place and keeps when it began', () => {
    const first = addStep([], { step: 'clone', message: 'Cloning', done: false }, 100);
    const next = addStep(first, { step: 'clone', message: 'Cloned', seconds: 2, done: true }, 300);
    expect(next).toEqual([{ step: 'clone', message: 'Cloned', seconds: 2, done: true, began: 100 }]);
  });
});
