import type {
  AccountOfSite,
  AccountProfile,
  ApiToken,
  BrowserSession,
  LinkedIdentity,
  Provider,
  TokenScope,
} from '../protocol';
import { list, messageOf, request } from '../session/api';
import { session } from '../session/session.svelte';

/** What somebody sets of their own: name, password, browsers that are signed in, linked accounts, API tokens. */
export class Account {
  profile = $state.raw<AccountProfile | null>(null);
  sessions = $state.raw<BrowserSession[]>([]);
  tokens = $state.raw<ApiToken[]>([]);
  identities = $state.raw<LinkedIdentity[]>([]);
  providers = $state.raw<Provider[]>([]);
  /** Everybody here; for administrators. */
  people = $state.raw<AccountOfSite[]>([]);
  /** A token that was just made: it is shown this once. */
  created = $state.raw<ApiToken | null>(null);
  error = $state('');

  async load(): Promise<void> {
    this.error = '';
    try {
      const [profile, sessions, tokens, identities, providers] = await Promise.all([
        request<AccountProfile>('GET', '/api/v1/account'),
        list<BrowserSession>('/api/v1/sessions', 'sessions'),
        list<ApiToken>('/api/v1/tokens', 'tokens'),
        request<{ identities: LinkedIdentity[] }>('GET', '/api/v1/identities'),
        session.providers(),
      ]);
      this.identities = identities.identities;
      this.providers = providers;
      this.sessions = sessions;
      this.tokens = tokens;
      if (session.user?.admin) await this.#loadPeople();
      this.profile = profile;
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  /** Raises ApiError, as do all below. */
  async rename(name: string): Promise<void> {
    this.profile = await request<AccountProfile>('PATCH', '/api/v1/account', { name });
    if (session.user) session.user = { ...session.user, name: this.profile.name };
  }

  async setPassword(email: string, password: string, current: string): Promise<void> {
    const body = { email, password, current };
    this.profile = await request<AccountProfile>('PUT', '/api/v1/account/password', body);
    this.sessions = this.sessions.filter((each) => each.current);
  }

  async signOut(id: string): Promise<void> {
    await request('DELETE', `/api/v1/sessions/${encodeURIComponent(id)}`);
    this.sessions = this.sessions.filter((each) => each.id !== id);
  }

  async signOutOthers(): Promise<void> {
    await request('DELETE', '/api/v1/sessions');
    this.sessions = this.sessions.filter((each) => each.current);
  }

  async createToken(name: string, scopes: TokenScope[], days: number | null): Promise<void> {
    this.created = await request<ApiToken>('POST', '/api/v1/tokens', { name, scopes, days });
    this.tokens = [this.created, ...this.tokens];
  }

  async revokeToken(id: string): Promise<void> {
    await request('DELETE', `/api/v1/tokens/${encodeURIComponent(id)}`);
    this.tokens = this.tokens.filter((each) => each.id !== id);
    if (this.created?.id === id) this.created = null;
  }

  async unlink(id: string): Promise<void> {
    await request('DELETE', `/api/v1/identities/${encodeURIComponent(id)}`);
    this.identities = this.identities.filter((each) => each.id !== id);
  }

  async changePerson(id: string, change: { admin?: boolean; active?: boolean; guest?: boolean }): Promise<void> {
    const changed = await request<AccountOfSite>('PATCH', `/api/v1/users/${encodeURIComponent(id)}`, change);
    this.people = this.people.map((each) => (each.id === id ? changed : each));
  }

  async #loadPeople(): Promise<void> {
    this.people = await list<AccountOfSite>('/api/v1/users', 'users');
  }
}

/** A browser and its system, as far as a User-Agent tells; it is only there to be recognised. */
export function browserOf(agent: string): string {
  // Edge and Opera name Chrome too, and Chrome names Safari.
  const browser = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari'].find((each) => agent.includes(`${each}/`));
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera' };
  const system = /Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux/.exec(agent)?.[0];
  if (!browser) return agent.slice(0, 60) || 'Unknown browser';
  const name = names[browser] ?? browser;
  return system ? `${name} on ${system === 'Mac OS X' ? 'macOS' : system === 'CrOS' ? 'ChromeOS' : system}` : name;
}
