import { live, type PageEvent } from '../live/events.svelte';
import type { NewWorkspace, Workspace } from '../protocol';
import { messageOf, request, upload, workspaceUrl } from '../session/api';
import { act } from './workspaces.svelte';

export type Source = 'empty' | 'git' | 'archive';

export interface Step {
  step: string;
  message: string;
  seconds: number | null;
  done: boolean;
  began: number;
}

/** Stands for the image that the project's cloudide.toml asks for. */
export const OF_PROJECT = '@project';

export const LOG_LINES = 500;

/** Says what is wrong with a name, or nothing. */
export function nameProblem(name: string): string {
  const trimmed = name.trim();
  if (!trimmed) return 'Give it a name.';
  if ([...trimmed].length > 80) return 'At most 80 characters.';
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(trimmed)) return 'No line breaks or control characters.';
  return '';
}

export function gitProblem(url: string): string {
  const trimmed = url.trim();
  if (!trimmed) return 'Enter the address of a repository.';
  if (!/^(https?|git|ssh):\/\/[^\s/]+\/\S+$/.test(trimmed) && !/^[\w.-]+@[\w.-]+:\S+$/.test(trimmed)) {
    return 'This does not look like a Git address, e.g. https://example.org/team/project.git';
  }
  return '';
}

export function archiveProblem(name: string): string {
  return /\.(tar\.gz|tgz|zip)$/i.test(name) ? '' : 'Choose a .tar.gz or .zip file.';
}

/** Adds or updates a step; a step that was running is finished by the next one. */
export function addStep(
  steps: Step[],
  event: { step: string; message: string; seconds?: number | null; done: boolean },
  now: number,
): Step[] {
  const next: Step = {
    step: event.step,
    message: event.message,
    seconds: event.seconds ?? null,
    done: event.done,
    began: now,
  };
  const index = steps.findIndex((step) => step.step === event.step);
  if (index === -1) return [...steps, next];
  return steps.map((step, i) => (i === index ? { ...next, began: step.began } : step));
}

/** Progress and log lines of one workspace that is being made or started. */
export class Progress {
  steps = $state.raw<Step[]>([]);
  log = $state.raw<string[]>([]);

  clear(): void {
    this.steps = [];
    this.log = [];
  }

  take(event: PageEvent, id: string): void {
    // The server tells the whole story again to a page that comes back.
    if (event.type === 'reconnected') this.clear();
    else if (event.type === 'progress' && event.workspace === id) {
      this.steps = addStep(this.steps, event, Date.now());
    } else if (event.type === 'log' && event.workspace === id) {
      this.log = [...this.log.slice(1 - LOG_LINES), event.line];
    }
  }
}

/** Making one workspace: the form, then what happens, until it runs or fails. */
export class Creation {
  name = $state('');
  image = $state('');
  /** Whose it is: a team, or "" for one's own. */
  team = $state('');
  source = $state<Source>('empty');
  gitUrl = $state('');
  gitRef = $state('');
  archive = $state.raw<File | null>(null);
  phase = $state<'form' | 'working' | 'failed' | 'done'>('form');
  error = $state('');
  workspace = $state.raw<Workspace | null>(null);
  /** Share of the archive that has been sent, 0 to 1; null when there is nothing to send. */
  sent = $state<number | null>(null);
  readonly progress = new Progress();
  #uploaded = false;
  #stop: (() => void) | null = null;

  constructor(private readonly finished: (workspace: Workspace) => void) {}

  get problems(): { name: string; git: string; archive: string } {
    return {
      name: nameProblem(this.name),
      git: this.source === 'git' ? gitProblem(this.gitUrl) : '',
      archive:
        this.source === 'archive' ? (this.archive ? archiveProblem(this.archive.name) : 'Choose a file.') : '',
    };
  }

  get valid(): boolean {
    return this.image !== '' && Object.values(this.problems).every((problem) => !problem);
  }

  async submit(): Promise<void> {
    this.phase = 'working';
    this.error = '';
    const body: NewWorkspace = { name: this.name.trim(), image: this.image === OF_PROJECT ? '' : this.image };
    if (this.team) body.team = this.team;
    if (this.source === 'git') {
      const ref = this.gitRef.trim();
      body.git = { url: this.gitUrl.trim(), ...(ref ? { ref } : {}) };
    }
    try {
      const workspace = await request<Workspace>('POST', '/api/v1/workspaces', body);
      this.#follow(workspace);
    } catch (error) {
      this.error = messageOf(error);
      this.phase = 'form';
    }
  }

  /** Tries again from where it failed. */
  async retry(): Promise<void> {
    const { workspace } = this;
    if (!workspace) return;
    this.phase = 'working';
    this.error = '';
    try {
      if (workspace.state === 'running') this.#running();
      else {
        this.progress.clear();
        this.#take(await act(workspace.id, 'start'));
      }
    } catch (error) {
      this.#fail(messageOf(error));
    }
  }

  close(): void {
    this.#stop?.();
    this.#stop = null;
  }

  #follow(workspace: Workspace): void {
    this.workspace = workspace;
    const forget = live.listen((event) => {
      this.progress.take(event, workspace.id);
      if (event.type === 'workspace' && event.workspace.id === workspace.id) this.#take(event.workspace);
    });
    const unwatch = live.watch(workspace.id);
    this.#stop = () => {
      forget();
      unwatch();
    };
    this.#take(workspace);
  }

  #take(workspace: Workspace): void {
    this.workspace = workspace;
    if (this.phase !== 'working') return;
    if (workspace.state === 'running') this.#running();
    else if (workspace.error) this.#fail(workspace.error);
  }

  #running(): void {
    if (this.archive && this.source === 'archive' && !this.#uploaded) void this.#upload(this.archive);
    else this.#finish();
  }

  async #upload(archive: File): Promise<void> {
    const { workspace } = this;
    if (!workspace || this.sent !== null) return;
    this.sent = 0;
    try {
      await upload(workspaceUrl(workspace.id, '/archive'), archive, (sent, total) => {
        this.sent = total > 0 ? sent / total : 0;
      });
      this.#uploaded = true;
      this.#finish();
    } catch (error) {
      this.#fail(`The archive was not unpacked: ${messageOf(error)}`);
    } finally {
      this.sent = null;
    }
  }

  #finish(): void {
    const { workspace } = this;
    if (!workspace || this.phase === 'done') return;
    this.phase = 'done';
    this.close();
    this.finished(workspace);
  }

  #fail(error: string): void {
    this.phase = 'failed';
    this.error = error;
  }
}
