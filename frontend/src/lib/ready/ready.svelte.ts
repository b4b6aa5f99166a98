import type { Pool, Prebuild } from '../protocol';
import { messageOf, request } from '../session/api';

const POOLS = '/api/v1/pools';
const PREBUILDS = '/api/v1/prebuilds';
const LOOK_MS = 2000;

export interface NewPrebuild {
  url: string;
  ref: string;
  image: string;
  every_hours: number;
  ready: number;
}

/** What is kept ready for a team, or ('') for everybody: pools of workspaces, and prebuilds. */
export class Ready {
  pools = $state.raw<Pool[]>([]);
  prebuilds = $state.raw<Prebuild[]>([]);
  /** How many workspaces all pools of the team hold; 0: no limit. */
  limit = $state(0);
  loaded = $state(false);
  error = $state('');
  /** The prebuild whose log is shown. */
  shown = $state('');
  log = $state('');
  /** The webhook that was just made: its secret is shown this once. */
  hook = $state.raw<{ prebuild: string; url: string; secret: string } | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `image`: only what is made of that one. */
  constructor(
    readonly team: string,
    readonly image = '',
  ) {}

  /** Those that are told by hand; what prebuilds keep ready is told with them. */
  readonly plain = $derived(this.pools.filter((pool) => !pool.prebuild && pool.size > 0 && this.#mine(pool.image)));
  readonly made = $derived(this.prebuilds.filter((prebuild) => this.#mine(prebuild.image)));
  readonly total = $derived(this.pools.reduce((sum, pool) => sum + pool.size, 0));

  /** Whether something is on its way, so that it is worth looking again. */
  get busy(): boolean {
    return (
      this.prebuilds.some((prebuild) => prebuild.state === 'queued' || prebuild.state === 'building') ||
      this.pools.some((pool) => pool.ready < pool.size && !pool.error)
    );
  }

  /** How many of those are ready that a prebuild fills. */
  filled(prebuild: Prebuild): number {
    return this.pools.find((pool) => pool.prebuild === prebuild.id)?.ready ?? 0;
  }

  async load(): Promise<void> {
    const query = this.team ? `?team=${encodeURIComponent(this.team)}` : '';
    try {
      const [pools, prebuilds] = await Promise.all([
        request<{ pools: Pool[]; limit: number }>('GET', POOLS + query),
        request<{ prebuilds: Prebuild[] }>('GET', PREBUILDS + query),
      ]);
      this.pools = pools.pools;
      this.limit = pools.limit;
      this.prebuilds = prebuilds.prebuilds;
      if (this.shown) await this.#readLog();
      this.loaded = true;
      this.error = '';
    } catch (error) {
      this.error = messageOf(error);
    }
    clearTimeout(this.#timer);
    if (!this.#closed && this.busy) this.#timer = setTimeout(() => void this.load(), LOOK_MS);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Raises ApiError, as those below. */
  async resize(image: string, size: number): Promise<void> {
    await request('PUT', POOLS, { image, size, team: this.team });
    await this.load();
  }

  /** Declares a prebuild, or says another schedule or number of one. */
  async declare(wanted: NewPrebuild): Promise<void> {
    const { url, ref, ...rest } = wanted;
    await request('POST', PREBUILDS, { ...rest, git: { url, ref }, team: this.team });
    await this.load();
  }

  async keepReady(prebuild: Prebuild, ready: number): Promise<void> {
    await this.declare({ ...prebuild.git, image: prebuild.image, every_hours: prebuild.every_hours, ready });
  }

  async run(prebuild: Prebuild): Promise<void> {
    await request('POST', `${PREBUILDS}/${prebuild.id}/runs`);
    await this.load();
  }

  async remove(prebuild: Prebuild): Promise<void> {
    await request('DELETE', `${PREBUILDS}/${prebuild.id}`);
    await this.load();
  }

  async makeHook(prebuild: Prebuild): Promise<void> {
    const made = await request<{ url: string; secret: string }>('POST', `${PREBUILDS}/${prebuild.id}/hook-secret`);
    this.hook = { prebuild: prebuild.id, ...made };
    await this.load();
  }

  async show(prebuild: Prebuild): Promise<void> {
    if (this.shown === prebuild.id) {
      this.shown = '';
      return;
    }
    this.log = '';
    this.shown = prebuild.id;
    await this.#readLog();
  }

  async #readLog(): Promise<void> {
    const id = this.shown;
    if (!this.prebuilds.some((prebuild) => prebuild.id === id)) this.shown = '';
    else {
      const { log } = await request<{ log: string }>('GET', `${PREBUILDS}/${id}/log`);
      if (this.shown === id) this.log = log;
    }
  }

  #mine(image: string): boolean {
    return !this.image || image === this.image || image.startsWith(`${this.image}@`);
  }
}

/** What a prebuild's state means to somebody who reads it. */
export function stateOf(prebuild: Prebuild): string {
  switch (prebuild.state) {
    case 'queued':
      return 'Waits';
    case 'building':
      return 'Is being made';
    case 'failed':
      return prebuild.commit ? 'Failed; the one before is used' : 'Failed';
    default:
      return 'Ready';
  }
}
