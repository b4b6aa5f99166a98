import type { GitCredential, GitProfile } from '../protocol';
import { messageOf, request } from '../session/api';

const ADDRESS = '/api/v1/git-credentials';
const PROFILE = '/api/v1/git-profile';

/** What somebody signs in to Git hosts with. Secrets go to the server and never come back. */
export class GitCredentials {
  list = $state.raw<GitCredential[]>([]);
  profile = $state.raw<GitProfile | null>(null);
  loaded = $state(false);
  error = $state('');

  async load(): Promise<void> {
    this.error = '';
    try {
      const [found, profile] = await Promise.all([
        request<{ credentials: GitCredential[] }>('GET', ADDRESS),
        request<GitProfile>('GET', PROFILE),
      ]);
      this.list = found.credentials;
      this.profile = profile;
      this.loaded = true;
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  /** Raises ApiError, as do all below. */
  async sign(email: string, dotfiles: string): Promise<void> {
    this.profile = await request<GitProfile>('PUT', PROFILE, { email, dotfiles });
  }

  async add(address: string, username: string, secret: string): Promise<void> {
    const made = await request<GitCredential>('POST', ADDRESS, { address, username, secret });
    this.list = [...this.list, made].sort((a, b) => placeOf(a).localeCompare(placeOf(b)));
  }

  async remove(id: string): Promise<void> {
    await request('DELETE', `${ADDRESS}/${encodeURIComponent(id)}`);
    this.list = this.list.filter((each) => each.id !== id);
  }
}

/** Where it is used. */
export function placeOf(credential: GitCredential): string {
  return credential.path ? `${credential.host}/${credential.path}` : credential.host;
}
