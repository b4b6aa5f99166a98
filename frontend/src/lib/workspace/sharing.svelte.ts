import type { Invite, Member, Role } from '../protocol';
import { messageOf, request, workspaceUrl } from '../session/api';

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

  async load(): Promise<void> {
    await this.#attempt(async () => {
      const query = new URLSearchParams({ workspace: this.workspace });
      const [{ members }, { invites }] = await Promise.all([
        request<{ members: Member[] }>('GET', workspaceUrl(this.workspace, '/members')),
        this.owner
          ? request<{ invites: Invite[] }>('GET', `/api/v1/invites?${query}`)
          : Promise.resolve({ invites: [] }),
      ]);
      this.members = members;
      this.invites = invites;
      this.loaded = true;
    });
  }

  async invite(role: Exclude<Role, 'owner'>): Promise<void> {
    await this.#attempt(async () => {
      this.created = await request<Invite>('POST', '/api/v1/invites', { workspace: this.workspace, role });
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

  async remove(member: Member): Promise<void> {
    await this.#attempt(async () => {
      await request('DELETE', workspaceUrl(this.workspace, `/members/${encodeURIComponent(member.id)}`));
      this.members = this.members.filter((other) => other.id !== member.id);
    });
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
