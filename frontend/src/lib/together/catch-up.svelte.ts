import type { ChangedFile } from '../protocol';
import { messageOf, request, workspaceUrl } from '../session/api';
import { session } from '../session/session.svelte';
import { remember, remembered } from '../shell/stored';

/** Who is away for less than this has not left. */
const AWAY = 10 * 60_000;
/** Of what is older than this, nobody is told without asking. */
const LONG_AGO = 30 * 24 * 3600_000;
/** How often it is noted that somebody is here. */
const NOTE = 60_000;

interface Seen {
  /** When the person was last here, before the present visit; 0: never. */
  left: number;
  /** When they were last here. */
  seen: number;
}

/** When the person left, told from what was noted last; a page that is loaded anew is no return. */
export function visit({ left, seen }: Seen, now: number): Seen {
  return { left: now - seen > AWAY ? seen : left, seen: now };
}

/** What others have changed since this person left. Known by this browser alone. */
export class CatchUp {
  files = $state.raw<ChangedFile[]>([]);
  truncated = $state(false);
  loading = $state(false);
  error = $state('');
  /** Since when what is shown has changed, as milliseconds of the Unix epoch. */
  since = $state(0);
  /** When the person left; 0: they were never here before, as far as this browser knows. */
  left = $state(0);
  readonly #key: string;
  #asked = 0;

  constructor(private readonly workspace: string) {
    this.#key = `seen.${session.user?.id ?? ''}.${workspace}`;
  }

  /** Notes that somebody is here until the answer is called; `told` is told of what they missed. */
  watch(told: (said: string) => void): () => void {
    const now = Date.now();
    const before = remembered<Seen>(this.#key, { left: 0, seen: 0 });
    this.left = visit(before, now).left;
    this.since = this.left || now - 24 * 3600_000;
    const note = (): void => {
      if (!document.hidden) remember(this.#key, { left: this.left, seen: Date.now() } satisfies Seen);
    };
    note();
    const returned = this.left !== before.left && now - this.left < LONG_AGO;
    if (returned) void this.load().then(() => this.files.length > 0 && told(this.said));
    const timer = setInterval(note, NOTE);
    window.addEventListener('pagehide', note);
    return () => {
      note();
      clearInterval(timer);
      window.removeEventListener('pagehide', note);
    };
  }

  /** What has changed since another moment. */
  async show(since: number): Promise<void> {
    this.since = since;
    await this.load();
  }

  async load(): Promise<void> {
    const asked = ++this.#asked;
    this.loading = true;
    this.error = '';
    try {
      const query = new URLSearchParams({ since: new Date(this.since).toISOString() });
      const found = await request<{ files: ChangedFile[]; truncated: boolean }>('GET', workspaceUrl(this.workspace, `/changes?${query}`));
      if (asked !== this.#asked) return;
      this.files = ofOthers(found.files, session.user?.id ?? '');
      this.truncated = found.truncated;
    } catch (error) {
      if (asked === this.#asked) this.error = messageOf(error);
    } finally {
      if (asked === this.#asked) this.loading = false;
    }
  }

  /** `Bo and 1 more changed 3 files.` */
  get said(): string {
    return saidOf(this.files);
  }
}

/** Files that somebody else has changed, with these others alone. */
export function ofOthers(files: readonly ChangedFile[], me: string): ChangedFile[] {
  return files.map((file) => ({ ...file, authors: file.authors.filter(({ author }) => author.id !== me) })).filter(({ authors }) => authors.length > 0);
}

export function saidOf(files: readonly ChangedFile[]): string {
  const names = [...new Map(files.flatMap(({ authors }) => authors.map(({ author }) => [author.id, author.id === 'disk' ? 'Programs' : author.name]))).values()];
  const who = names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(' and ');
  return `${who} changed ${files.length === 1 ? (files[0]?.path ?? '') : `${files.length} files`}.`;
}
