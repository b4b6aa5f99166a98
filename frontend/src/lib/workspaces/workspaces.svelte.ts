import { live } from '../live/events.svelte';
import type { Image, Workspace, WorkspaceState } from '../protocol';
import { list, messageOf, request, workspaceUrl } from '../session/api';

/** What a state means to a person, and how to show it. */
export const STATES: Record<WorkspaceState, { label: string; tone: 'good' | 'busy' | 'idle' | 'bad' }> = {
  pending: { label: 'Waiting', tone: 'busy' },
  building: { label: 'Building the image', tone: 'busy' },
  creating: { label: 'Creating', tone: 'busy' },
  initializing: { label: 'Preparing', tone: 'busy' },
  running: { label: 'Running', tone: 'good' },
  interrupted: { label: 'Interrupted', tone: 'bad' },
  stopping: { label: 'Stopping', tone: 'busy' },
  stopped: { label: 'Stopped', tone: 'idle' },
  deleting: { label: 'Deleting', tone: 'busy' },
};

export type WorkspaceAction = 'start' | 'stop' | 'restart' | 'update';

export function act(id: string, action: WorkspaceAction): Promise<Workspace> {
  return request('POST', workspaceUrl(id, `/${action}`), action === 'update' ? { restart: true } : undefined);
}

export function remove(id: string): Promise<null> {
  return request('DELETE', workspaceUrl(id));
}

/** The list of workspaces, kept current by live events. */
export class Workspaces {
  list = $state.raw<Workspace[]>([]);
  images = $state.raw<Image[]>([]);
  loaded = $state(false);
  error = $state('');

  /** Loads the list and follows it until the answer is called. */
  open(): () => void {
    void this.load();
    const forget = live.listen((event) => {
      if (event.type === 'workspaces') this.#take(event.workspaces);
      else if (event.type === 'workspace') this.replace(event.workspace);
    });
    const unwatch = live.watchList();
    return () => {
      forget();
      unwatch();
    };
  }

  async load(): Promise<void> {
    try {
      const [workspaces, { images }] = await Promise.all([
        list<Workspace>('/api/v1/workspaces', 'workspaces'),
        request<{ images: Image[] }>('GET', '/api/v1/images'),
      ]);
      this.images = images;
      this.#take(workspaces);
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  replace(workspace: Workspace): void {
    const known = this.list.some((other) => other.id === workspace.id);
    this.#take(
      known
        ? this.list.map((other) => (other.id === workspace.id ? workspace : other))
        : [...this.list, workspace],
    );
  }

  imageTitle(id: string): string {
    return this.images.find((image) => image.id === id)?.title ?? id;
  }

  #take(list: Workspace[]): void {
    this.list = [...list].sort((a, b) => b.created_at.localeCompare(a.created_at));
    this.loaded = true;
    this.error = '';
  }
}
