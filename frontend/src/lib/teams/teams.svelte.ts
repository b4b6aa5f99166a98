import type { Invite, Team, TeamMember, TeamRole } from '../protocol';
import { list, messageOf, request } from '../session/api';

/** Somebody's teams. All that changes something raises ApiError. */
export class Teams {
  list = $state.raw<Team[]>([]);
  loaded = $state(false);
  error = $state('');

  async load(): Promise<void> {
    this.error = '';
    try {
      this.list = await list<Team>('/api/v1/teams', 'teams');
      this.loaded = true;
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  async create(name: string): Promise<Team> {
    const team = await request<Team>('POST', '/api/v1/teams', { name });
    await this.load();
    return team;
  }

  async rename(team: Team, name: string): Promise<void> {
    const changed = await request<Team>('PATCH', path(team), { name });
    this.list = this.list.map((each) => (each.id === team.id ? changed : each));
  }

  async disband(team: Team): Promise<void> {
    await request('DELETE', path(team));
    this.list = this.list.filter((each) => each.id !== team.id);
  }
}

/** Who is in a team, and the link made last that brings more. */
export class TeamPeople {
  members = $state.raw<TeamMember[] | null>(null);
  link = $state.raw<Invite | null>(null);

  constructor(readonly team: Team) {}

  async load(): Promise<void> {
    this.members = await list<TeamMember>(`${path(this.team)}/members`, 'members');
  }

  async invite(role: TeamRole): Promise<void> {
    this.link = await request<Invite>('POST', '/api/v1/invites', { team: this.team.id, role });
  }

  async appoint(member: TeamMember, role: TeamRole): Promise<void> {
    await request('PATCH', this.#path(member.id), { role });
    await this.load();
  }

  async remove(id: string): Promise<void> {
    await request('DELETE', this.#path(id));
    this.members = this.members?.filter((each) => each.id !== id) ?? null;
  }

  #path(user: string): string {
    return `${path(this.team)}/members/${encodeURIComponent(user)}`;
  }
}

function path(team: Team): string {
  return `/api/v1/teams/${encodeURIComponent(team.id)}`;
}
