import type { Secret, SecretReader, SecretUse, Workspace } from '../protocol';
import { list, messageOf, request } from '../session/api';
import { ageOf } from '../shell/times';

/** Whose secrets are shown: those of a workspace, of a team or, with neither, one's own. */
export interface Scope {
  workspace?: string;
  team?: string;
}

/** The secrets of one person, team or workspace. Values go in and are not kept here. */
export class Secrets {
  list = $state.raw<Secret[]>([]);
  /** Those that can be named as readers; one, where the secrets are a workspace's. */
  workspaces = $state.raw<Pick<Workspace, 'id' | 'name'>[]>([]);
  loaded = $state(false);
  error = $state('');

  constructor(readonly scope: Scope) {}

  async load(): Promise<void> {
    this.error = '';
    try {
      const [secrets, workspaces] = await Promise.all([
        list<Secret>(`/api/v1/secrets?${new URLSearchParams({ ...this.scope })}`, 'secrets'),
        list<Workspace>('/api/v1/workspaces', 'workspaces'),
      ]);
      const { workspace, team } = this.scope;
      this.workspaces = workspaces.filter(
        (each) => (!workspace || each.id === workspace) && (!team || each.team === team),
      );
      this.list = secrets;
      this.loaded = true;
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  /** Raises ApiError, as do all below. */
  async create(name: string, value: string, description: string, readers: SecretReader[]): Promise<void> {
    const made = await request<Secret>('POST', '/api/v1/secrets', { ...this.scope, name, value, description, readers });
    this.list = [...this.list, made].sort((one, other) => one.name.localeCompare(other.name));
  }

  async addVersion(secret: Secret, value: string): Promise<void> {
    this.#put(await request<Secret>('POST', `${url(secret)}/versions`, { value }));
  }

  async deleteVersion(secret: Secret, version: number): Promise<void> {
    this.#put(await request<Secret>('DELETE', `${url(secret)}/versions/${version}`));
  }

  async setReaders(secret: Secret, readers: SecretReader[]): Promise<void> {
    this.#put(await request<Secret>('PATCH', url(secret), { readers }));
  }

  async remove(secret: Secret): Promise<void> {
    await request('DELETE', url(secret));
    this.list = this.list.filter((each) => each.id !== secret.id);
  }

  async uses(secret: Secret): Promise<SecretUse[]> {
    return (await request<{ uses: SecretUse[] }>('GET', `${url(secret)}/uses`)).uses;
  }

  nameOf(workspace: string): string {
    return this.workspaces.find((each) => each.id === workspace)?.name ?? workspace;
  }

  #put(secret: Secret): void {
    this.list = this.list.map((each) => (each.id === secret.id ? secret : each));
  }
}

function url(secret: Secret): string {
  return `/api/v1/secrets/${encodeURIComponent(secret.id)}`;
}

/** How long ago a moment was. */
export function agoOf(time: string): string {
  const age = ageOf(time);
  return age === 'now' ? 'just now' : `${age} ago`;
}

/** Task names as somebody writes them: between commas or spaces; "*" is all. */
export function tasksOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** Who may have a secret, in a few words. */
export function readersOf(readers: SecretReader[], nameOf: (workspace: string) => string, one: boolean): string {
  const parts = readers.flatMap((reader) => {
    const what = [
      ...(reader.tasks.includes('*')
        ? ['all tasks']
        : reader.tasks.length
          ? [`${reader.tasks.length > 1 ? 'tasks' : 'task'} ${reader.tasks.join(', ')}`]
          : []),
      ...(reader.programs ? ['terminals and programs that ask'] : []),
    ].join('; ');
    if (!what) return [];
    return [one ? what : `${nameOf(reader.workspace)}: ${what}`];
  });
  return parts.join(' · ') || 'Nothing may read it yet';
}
