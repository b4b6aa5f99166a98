import { live } from '../live/events.svelte';
import type { Invite, JoinRequest, Member, Role } from '../protocol';
import { list, messageOf, request, workspaceUrl } from '../session/api';

/** What a role is called where somebody gets it. */
export const ROLES: Record<Role, string> = {
  viewer: 'Can view',
  editor: 'Can edit',
  terminal: 'Can edit and run',
  owner: 'Owner',
};

export type GivenRole = Exclude<Role, 'owner'>;

/** Lets somebody in who asked to be, or does not. */
export function answer(workspace: string, asked: JoinRequest, yes: boolean): Promise<null> {
  const path = workspaceUrl(workspace, `/requests/${encodeURIComponent(asked.id)}`);
  return request('POST', path, { answer: yes ? 'accepted' : 'denied' });
}

/** Who may enter a workspace, and the links that let more people in. */
export class Sharing {
  members = $state.raw<Member[]>([]);
  invites = $state.raw<Invite[]>([]);
  /** The link made last; its secret is shown this once. */
  created = $state.raw<Invite | null>(null);
  loaded = $state(false);
  error = $state('');
  busy = $state(false);

  constructor(
    readonly workspace: string,
    readonly owner: boolean,
  ) {}

  /** Follows who comes and goes until the answer is called. */
  open(): () => void {
    void this.load();
    return live.listen((event) => {
      const ours = 'workspace' in event && event.workspace === this.workspace;
      if (ours && (event.type === 'presence' || event.type === 'requests')) void this.load();
    });
  }

  async load(): Promise<void> {
    await this.#attempt(async () => {
      const query = new URLSearchParams({ workspace: this.workspace });
      const [members, invites] = await Promise.all([
        list<Member>(workspaceUrl(this.workspace, '/members'), 'members'),
        this.owner
          ? list<Invite>(`/api/v1/invites?${query}`, 'invites')
          : Promise.resolve([]),
      ]);
      this.members = members;
      this.invites = invites;
      this.loaded = true;
    });
  }

  async invite(role: GivenRole, approval: boolean): Promise<void> {
    await this.#attempt(async () => {
      const body = { workspace: this.workspace, role, approval };
      this.created = await request<Invite>('POST', '/api/v1/invites', body);
      await this.load();
    });
  }

  async takeBack(invite: Invite): Promise<void> {
    await this.#attempt(async () => {
      await request('DELETE', `/api/v1/invites/${encodeURIComponent(invite.id)}`);
      this.invites = this.invites.filter((other) => other.id !== invite.id);
      if (this.created?.id === invite.id) this.created = null;
    });
  }

  async change(member: Member, role: GivenRole): Promise<void> {
    await this.#attempt(async () => {
      await request('PATCH', this.#path(member), { role });
      this.members = this.members.map((other) => (other.id === member.id ? { ...other, role } : other));
    });
  }

  async remove(member: Member): Promise<void> {
    await this.#attempt(async () => {
      await request('DELETE', this.#path(member));
      this.members = this.members.filter((other) => other.id !== member.id);
    });
  }

  #path(member: Member): string {
    return workspaceUrl(this.workspace, `/members/${encodeURIComponent(member.id)}`);
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    this.busy = true;
    this.error = '';
    try {
      await work();
    } catch (error) {
      this.error = messageOf(error);
    } finally {
      this.busy = false;
    }
  }
}
