import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Task, TaskRun } from '../protocol';
import { Tasks } from './tasks.svelte';

const RUN: TaskRun = {
  id: 'r1',
  task: 'test',
  batch: 'r1',
  state: 'waiting',
  person: 'Ada',
  background: false,
  created_at: '2025-01-01T00:00:00Z',
  lost: 0,
};
const TASK: Task = {
  name: 'test',
  source: 'cloudide.toml',
  command: 'x',
  cwd: '',
  depends_on: [],
  inputs: [],
  background: false,
};

let answers: (() => Response)[] = [];
const asked: string[] = [];

function json(value: unknown, status = 200): () => Response {
  return () => new Response(JSON.stringify(value), { status, headers: { 'Content-Type': 'application/problem+json' } });
}

beforeEach(() => {
  answers = [];
  asked.length = 0;
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    asked.push(`${init.method} ${url}`);
    const answer = answers.shift();
    if (!answer) throw new TypeError('offline');
    return answer();
  });
});
afterEach(() => vi.unstubAllGlobals());

async function loaded(): Promise<Tasks> {
  const tasks = new Tasks('w1');
  answers.push(json({ tasks: [TASK], problems: [] }));
  await tasks.load();
  return tasks;
}

describe('tasks', () => {
  test('are listed, the first one chosen', async () => {
    const tasks = await loaded();
    expect(tasks.state).toBe('shown');
    expect(tasks.chosen?.name).toBe('test');
  });

  test('a failure is told', async () => {
    const tasks = new Tasks('w1');
    await tasks.load();
    expect(tasks.state).toBe('failed');
    expect(tasks.failure).toContain('cannot be reached');
  });

  test('an event that overtakes the answer is not undone by it', async () => {
    const tasks = await loaded();
    answers.push(() => {
      tasks.take([{ ...RUN, state: 'running' }]);
      tasks.take([{ ...RUN, state: 'passed' }]);
      return json(RUN, 201)();
    });
    await tasks.run('test');
    expect(tasks.chosen?.last?.state).toBe('passed');
    expect(tasks.busy.size).toBe(0);
  });

  test('an event that overtakes the list is not undone by it', async () => {
    const tasks = await loaded();
    answers.push(() => {
      tasks.take([{ ...RUN, state: 'passed' }]);
      return json({ tasks: [{ ...TASK, last: { ...RUN, state: 'waiting' } }], problems: [] })();
    });
    await tasks.load();
    expect(tasks.chosen?.last?.state).toBe('passed');
  });

  test('running again stops what runs', async () => {
    const tasks = await loaded();
    tasks.take([{ ...RUN, state: 'running' }]);
    answers.push(json({ ...RUN, state: 'stopped' }), json({ ...RUN, id: 'r2', created_at: '2025-01-01T00:01:00Z' }, 201));
    await tasks.run('test');
    expect(asked.slice(1)).toEqual(['DELETE /api/v1/workspaces/w1/task-runs/r1', 'POST /api/v1/workspaces/w1/tasks/test/runs']);
    expect(tasks.chosen?.last?.id).toBe('r2');
  });

  test('one that ended meanwhile counts as stopped', async () => {
    const tasks = await loaded();
    tasks.take([{ ...RUN, state: 'running' }]);
    answers.push(json({ detail: 'ended already' }, 409));
    await tasks.stop('test');
    expect(tasks.busy.size).toBe(0);
  });

  test('only files that matter are a reason to look again', async () => {
    const tasks = await loaded();
    const event = { type: 'files' as const, workspace: 'w1', overflow: false };
    tasks.files({ ...event, changes: [{ path: 'src/package.json', kind: 'modified' }] });
    expect(asked).toHaveLength(1);
    answers.push(json({ tasks: [], problems: [] }));
    tasks.files({ ...event, changes: [{ path: 'package.json', kind: 'modified' }] });
    expect(asked).toHaveLength(2);
  });

  test('an example that somebody else has written already is no failure', async () => {
    const tasks = await loaded();
    answers.push(json({ detail: 'it is there' }, 412));
    await tasks.createConfiguration();
    answers.push(json({ detail: 'no' }, 403));
    await expect(tasks.createConfiguration()).rejects.toThrow('no');
  });
});
