import { describe, expect, test } from 'vitest';
import type { GitQuestion } from '../protocol';
import { changesOf, GitQuestions, headlineOf } from './questions.svelte';

const QUESTION: GitQuestion = {
  id: 'q',
  workspace: 'w',
  to: 'ada',
  asker: { id: 'bo', name: 'Bo', color: '' },
  service: 'git-receive-pack',
  repository: 'github.com/team/x',
  username: 'ada',
  branch: 'main',
  commit: '0123456789abcdef',
  updates: [],
  owner: '',
  expires_at: 0,
};

describe('what is asked', () => {
  test('names who asks, unless it is oneself', () => {
    expect(headlineOf(QUESTION, 'ada')).toBe('Bo wants to push to github.com/team/x');
    expect(headlineOf({ ...QUESTION, service: 'git-upload-pack' }, 'bo')).toBe(
      'Git in your terminal wants to read github.com/team/x',
    );
  });

  test('names each reference that a push sets', () => {
    const zeros = '0'.repeat(40);
    expect(changesOf(QUESTION)).toEqual(['main → 0123456789']);
    const updates = [
      { ref: 'refs/heads/main', old: 'a'.repeat(40), new: 'b'.repeat(40) },
      { ref: 'refs/heads/old', old: 'a'.repeat(40), new: zeros },
      { ref: 'refs/tags/v1', old: zeros, new: 'b'.repeat(40) },
    ];
    expect(changesOf({ ...QUESTION, updates })).toEqual([
      'main: aaaaaaaaaa → bbbbbbbbbb',
      'old is deleted',
      'tag v1: new → bbbbbbbbbb',
    ]);
  });

  test('is there until it is over, once, and only of this workspace', () => {
    const questions = new GitQuestions('w');
    const told = { type: 'git_question', workspace: 'w', question: QUESTION } as const;
    questions.hear({ ...told, asked: true });
    questions.hear({ ...told, asked: true });
    questions.hear({ ...told, workspace: 'other', asked: true });
    expect(questions.list.map((each) => each.id)).toEqual(['q']);
    questions.hear({ ...told, asked: false });
    expect(questions.list).toEqual([]);
    questions.hear({ ...told, asked: true });
    questions.hear({ type: 'reconnected' });
    expect(questions.list).toEqual([]);
  });
});
