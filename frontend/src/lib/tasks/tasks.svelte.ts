import { ApiError, fileUrl, messageOf, request, send, workspaceUrl } from '../session/api';
import type { FilesEvent, Task, TaskList, TaskProblem, TaskRun } from '../protocol';
import { isActive } from './measures';

/** The files in a workspace's root from which its tasks come, and those that tell how they run. */
const SOURCES = new Set([
  'cloudide.toml',
  'package.json',
  'pyproject.toml',
  'Makefile',
  'makefile',
  'GNUmakefile',
  'pnpm-lock.yaml',
  'yarn.lock',
  'bun.lock',
  'bun.lockb',
  'package-lock.json',
  'uv.lock',
  'poetry.lock',
  'pdm.lock',
]);

export const CONFIGURATION = 'cloudide.toml';

/** What a first `cloudide.toml` looks like. */
export const EXAMPLE = `# Tasks of this project; see "Tasks" in the README of CloudIDE.

[tasks.hello]
command = "echo hello"

# [tasks.test]
# command = "pytest -q"
# depends_on = ["build"]
# inputs = ["src/**/*.py", "tests/**/*.py"]   # skipped while these have not changed

# [tasks.dev]
# command = "npm run dev"
# background = true
# ready_when = 5173                           # a port, or a regular expression for its output
`;

const OUTPUT_SIZE = { cols: 120, rows: 30 };

/** The tasks of a workspace, and how their runs go. */
export class Tasks {
  list = $state.raw<Task[]>([]);
  problems = $state.raw<TaskProblem[]>([]);
  state = $state<'empty' | 'loading' | 'shown' | 'failed'>('empty');
  failure = $state('');
  chosenName = $state<string | null>(null);
  /** Tasks for which an answer is waited for. */
  busy = $state.raw<ReadonlySet<string>>(new Set());
  readonly chosen = $derived(this.list.find((task) => task.name === this.chosenName) ?? null);
  readonly active = $derived(this.list.filter((task) => isActive(task.last)));
  #mine = new Set<string>();
  #asked = 0;

  constructor(readonly workspace: string) {}

  /** Asks what there is; an answer that was overtaken by a newer question is dropped. */
  async load(): Promise<void> {
    const asked = ++this.#asked;
    if (this.state !== 'shown') this.state = 'loading';
    try {
      const found = await request<TaskList>('GET', workspaceUrl(this.workspace, '/tasks'));
      if (asked !== this.#asked) return;
      const known = new Map(this.list.map((task) => [task.name, task.last]));
      // What events told meanwhile may be newer than the answer.
      this.list = found.tasks.map((task) => (task.last ? { ...task, last: newer(known.get(task.name), task.last) } : task));
      this.problems = found.problems;
      this.state = 'shown';
      if (this.chosen === null) this.chosenName = (this.active[0] ?? this.list[0])?.name ?? null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.failure = messageOf(error);
      this.state = 'failed';
    }
  }

  /** Files changed: look again when it may matter. */
  files(event: FilesEvent): void {
    if (event.overflow || event.changes.some((change) => SOURCES.has(change.path))) void this.load();
  }

  /** Runs changed. */
  take(runs: TaskRun[]): void {
    for (const run of runs) {
      this.list = this.list.map((task) => (task.name === run.task ? { ...task, last: newer(task.last, run) } : task));
    }
  }

  /** Whether a task tells, or may soon tell, that this port is its own. */
  serves(port: number): boolean {
    return this.active.some((task) => task.background && (!task.last?.ready || task.last.port === port));
  }

  /** Whether this page has started the task that is running under this name. */
  isMine(name: string): boolean {
    return this.#mine.has(name);
  }

  /** Runs a task; one that runs is stopped first. Raises ApiError. */
  async run(name: string, force = false): Promise<void> {
    this.chosenName = name;
    await this.#while(name, async () => {
      const last = this.list.find((task) => task.name === name)?.last;
      if (last && isActive(last)) await this.#end(last);
      this.#mine.add(name);
      const url = workspaceUrl(this.workspace, `/tasks/${encodeURIComponent(name)}/runs`);
      this.take([await request<TaskRun>('POST', url, { force, ...OUTPUT_SIZE })]);
    });
  }

  /** Stops a task that runs. Raises ApiError. */
  async stop(name: string): Promise<void> {
    const last = this.list.find((task) => task.name === name)?.last;
    if (last) await this.#while(name, () => this.#end(last));
  }

  /** Writes an example where there is no configuration yet. Raises ApiError. */
  async createConfiguration(): Promise<void> {
    try {
      await send(fileUrl(this.workspace, CONFIGURATION), {
        method: 'PUT',
        headers: { 'If-None-Match': '*' },
        body: EXAMPLE,
      });
    } catch (error) {
      // Somebody was quicker: what they wrote is opened.
      if (!(error instanceof ApiError && error.status === 412)) throw error;
    }
  }

  step(by: number): void {
    const at = this.list.findIndex((task) => task.name === this.chosenName);
    this.chosenName = this.list[Math.max(0, Math.min(this.list.length - 1, at + by))]?.name ?? null;
  }

  async #end(run: TaskRun): Promise<void> {
    try {
      const url = workspaceUrl(this.workspace, `/task-runs/${encodeURIComponent(run.id)}`);
      this.take([await request<TaskRun>('DELETE', url)]);
    } catch (error) {
      // It ended by itself, which is what was wanted.
      if (!(error instanceof ApiError && [404, 409].includes(error.status))) throw error;
    }
  }

  async #while(name: string, work: () => Promise<void>): Promise<void> {
    this.busy = new Set([...this.busy, name]);
    try {
      await work();
    } finally {
      this.busy = new Set([...this.busy].filter((each) => each !== name));
    }
  }
}

/** The later of two runs; of the same one, what has ended has. An answer may come after an event. */
function newer(known: TaskRun | null | undefined, run: TaskRun): TaskRun {
  if (!known) return run;
  if (known.id === run.id) return isActive(known) && !(known.state === 'running' && run.state === 'waiting') ? run : known;
  return known.created_at > run.created_at ? known : run;
}
