import type { Accepted, DeviceRequest, InvitePreview, Provider, TokenScope, User } from '../protocol';
import { forgetAll, remember, remembered } from '../shell/stored';
import { ApiError, isPassing, messageOf, request } from './api';

/** How long until the server is asked again who is signed in, in ms. */
const AGAIN = 5000;

/** Who is signed in here. */
class Session {
  user = $state.raw<User | null>(null);
  /** `unknown` until the server was asked; `unreachable` keeps what it said. */
  status = $state<'unknown' | 'in' | 'out' | 'unreachable'>('unknown');
  error = $state('');

  /** How often somebody was signed in or out; what was asked before that says nothing of it. */
  #turns = 0;

  async load(): Promise<void> {
    const turn = this.#turns;
    try {
      const { user } = await request<{ user: User }>('GET', '/api/v1/session');
      if (turn === this.#turns) this.#adopt(user);
    } catch (error) {
      if (turn !== this.#turns) return;
      const signedOut = error instanceof ApiError && (error.status === 401 || error.status === 403);
      if (signedOut) this.#forget();
      // Without a connection a workspace shows what this browser has of it to whoever was signed in.
      const here = window.location.pathname.startsWith('/w/') ? remembered<User | null>('person', null) : null;
      const last = isPassing(error) ? (this.user ?? here) : null;
      if (last) {
        this.user = last;
        this.status = 'in';
        setTimeout(() => void this.load(), AGAIN);
      } else {
        this.status = signedOut ? 'out' : 'unreachable';
        this.error = messageOf(error);
      }
    }
  }

  /** Signs in with a one-time token; answers false when a name has to be chosen first. */
  async signIn(token: string, name?: string): Promise<boolean> {
    const answer = await request<{ user?: User; needs_name?: boolean }>('POST', '/api/v1/session', {
      token,
      ...(name ? { name } : {}),
    });
    if (answer.user) this.#adopt(answer.user);
    return Boolean(answer.user);
  }

  async signInWithPassword(email: string, password: string): Promise<void> {
    this.#adopt((await request<{ user: User }>('POST', '/api/v1/session', { email, password })).user);
  }

  async providers(): Promise<Provider[]> {
    return (await request<{ providers: Provider[] }>('GET', '/api/v1/providers')).providers;
  }

  /** Goes to a provider, which sends back to `path`; `link`: to add it to this account. */
  async leaveFor(provider: string, path: string, link = false): Promise<void> {
    const url = `/api/v1/providers/${encodeURIComponent(provider)}/begin`;
    const way = await request<{ url: string }>('POST', url, { path, link });
    window.location.assign(way.url);
  }

  /** The program that waits with this code. */
  deviceRequest(code: string): Promise<DeviceRequest> {
    return request('GET', `/api/v1/device/requests/${encodeURIComponent(code)}`);
  }

  /** Answers it: null refuses. */
  async answerDevice(
    code: string,
    token: { name: string; scopes: TokenScope[]; days: number | null } | null,
  ): Promise<void> {
    const url = `/api/v1/device/requests/${encodeURIComponent(code)}`;
    await request('POST', url, { allow: token !== null, ...token });
  }

  async signOut(): Promise<void> {
    await request('DELETE', '/api/v1/session');
    this.#turns += 1;
    this.#forget();
    this.status = 'out';
  }

  /** What this browser remembers of the person; edits that never reached the server stay. */
  #forget(): void {
    this.user = null;
    forgetAll('person', 'workspace.');
  }

  previewInvite(token: string): Promise<InvitePreview> {
    return request('POST', '/api/v1/invites/preview', { token });
  }

  /** Follows an invitation; what it needs approval for is only asked for. */
  async acceptInvite(token: string, name?: string): Promise<Accepted> {
    const body = { token, ...(name ? { name } : {}) };
    const answer = await request<Accepted>('POST', '/api/v1/invites/accept', body);
    this.#adopt(answer.user);
    return answer;
  }

  /** Waits until somebody has answered a request to be let in. */
  async untilAnswered(id: string, signal: AbortSignal): Promise<'accepted' | 'denied'> {
    for (;;) {
      const path = `/api/v1/requests/${encodeURIComponent(id)}?wait=1`;
      const { answer } = await request<{ answer: 'waiting' | 'accepted' | 'denied' }>('GET', path);
      if (answer !== 'waiting') return answer;
      signal.throwIfAborted();
    }
  }

  #adopt(user: User): void {
    this.#turns += 1;
    if (this.user && this.user.id !== user.id) forgetAll('workspace.');
    this.user = user;
    remember('person', user);
    this.status = 'in';
    this.error = '';
  }
}

export const session = new Session();
