import type { Image, ImageBuild, ImageSource, ImageVersion } from '../protocol';
import { ApiError, messageOf, request, send, upload } from '../session/api';

export const LOG_LIMIT = 400_000; // characters of a log that are kept in the page
const RETRY = 2000;

/** The images somebody may use. */
export class Images {
  list = $state.raw<Image[]>([]);
  loaded = $state(false);
  error = $state('');

  async load(): Promise<void> {
    this.error = '';
    try {
      this.list = (await request<{ images: Image[] }>('GET', '/api/v1/images')).images;
      this.loaded = true;
    } catch (error) {
      this.error = messageOf(error);
    }
  }
}

export interface NewImage {
  name: string;
  title: string;
  description: string;
  team: string;
  kind: 'dockerfile' | 'devcontainer' | 'reference';
  source: ImageSource;
  archive: File | null;
}

/** Defines an image, and uploads its build context if there is one. Raises ApiError. */
export async function define(wanted: NewImage): Promise<Image> {
  const { archive, ...body } = wanted;
  const image = await request<Image>('POST', '/api/v1/images', body);
  if (archive) await uploadContext(image.id, archive, () => undefined);
  return image;
}

export async function uploadContext(id: string, archive: File, progress: (share: number) => void): Promise<Image> {
  const sent = await upload(imageUrl(id, '/context'), archive, (done, total) => progress(total ? done / total : 0));
  return sent as Image;
}

export function imageUrl(id: string, rest = ''): string {
  return `/api/v1/images/${encodeURIComponent(id)}${rest}`;
}

/** One image: its versions, its builds, and the build that is watched. What changes raises ApiError. */
export class OpenImage {
  image = $state.raw<Image | null>(null);
  versions = $state.raw<ImageVersion[]>([]);
  builds = $state.raw<ImageBuild[]>([]);
  watched = $state.raw<BuildWatch | null>(null);
  error = $state('');

  constructor(readonly id: string) {}

  get mayBuild(): boolean {
    return this.image?.may?.includes('build') ?? false;
  }

  get mayConfigure(): boolean {
    return this.image?.may?.includes('configure') ?? false;
  }

  async load(): Promise<void> {
    this.error = '';
    try {
      this.image = await request<Image>('GET', imageUrl(this.id));
      await this.refresh();
      const newest = this.builds[0];
      if (newest && !this.watched && isUnderWay(newest)) this.watch(newest);
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  async refresh(): Promise<void> {
    const [versions, builds] = await Promise.all([
      request<{ versions: ImageVersion[] }>('GET', imageUrl(this.id, '/versions')),
      request<{ builds: ImageBuild[] }>('GET', imageUrl(this.id, '/builds')),
    ]);
    this.versions = versions.versions;
    this.builds = builds.builds;
  }

  async build(fresh = false): Promise<ImageBuild> {
    const build = await request<ImageBuild>('POST', imageUrl(this.id, '/builds'), { fresh });
    this.watch(build);
    await this.refresh();
    return build;
  }

  watch(build: ImageBuild): void {
    this.watched?.close();
    this.watched = new BuildWatch(build, () => void this.refresh().catch(() => undefined));
  }

  async cancel(build: ImageBuild): Promise<void> {
    await request('POST', `/api/v1/builds/${build.id}/cancel`);
    await this.refresh();
  }

  /** Puts a version in use for `percent` of the new workspaces; 0 ends a trial. */
  async promote(version: ImageVersion, percent: number): Promise<void> {
    this.image = await request<Image>('POST', this.#version(version, '/promote'), { percent });
    await this.refresh();
  }

  async rollBack(): Promise<void> {
    this.image = await request<Image>('POST', imageUrl(this.id, '/rollback'));
    await this.refresh();
  }

  async retire(version: ImageVersion): Promise<void> {
    await request('POST', this.#version(version, '/retire'));
    await this.refresh();
  }

  async setUpdates(updates: 'restart' | 'ask'): Promise<void> {
    this.image = await request<Image>('PATCH', imageUrl(this.id), { updates });
  }

  async upload(archive: File): Promise<void> {
    this.image = await uploadContext(this.id, archive, () => undefined);
  }

  async delete(): Promise<void> {
    await request('DELETE', imageUrl(this.id));
  }

  close(): void {
    this.watched?.close();
  }

  #version(version: ImageVersion, rest: string): string {
    return imageUrl(this.id, `/versions/${version.number}${rest}`);
  }
}

export function isUnderWay(build: ImageBuild): boolean {
  return build.state === 'queued' || build.state === 'running';
}

/** Adds to a log; of a long one the end is kept. */
export function appended(log: string, more: string): string {
  const all = log + more;
  return all.length > LOG_LIMIT ? `…${all.slice(1 - LOG_LIMIT)}` : all;
}

/** Splits off whole server-sent events (HTML Living Standard, 9.2.6), and what is left. */
export function eventsOf(text: string): { events: { type: string; data: string; id: string }[]; rest: string } {
  const parts = text.split('\n\n');
  const rest = parts.pop() ?? '';
  const events = parts.map((part) => {
    const fields = { event: '', data: '', id: '' };
    for (const line of part.split('\n')) {
      const colon = line.indexOf(': ');
      const name = line.slice(0, colon);
      if (colon > 0 && name in fields) fields[name as keyof typeof fields] = line.slice(colon + 2);
    }
    return { type: fields.event, data: fields.data, id: fields.id };
  });
  return { events: events.filter((event) => event.type), rest };
}

/** A build that somebody looks at: its steps and its log as they come, resumed after an interruption. */
export class BuildWatch {
  build = $state.raw<ImageBuild>(null as unknown as ImageBuild);
  log = $state.raw('');
  lost = $state(false);
  #offset = 0;
  #stop = new AbortController();

  constructor(
    build: ImageBuild,
    private readonly ended: () => void,
  ) {
    this.build = build;
    void this.#follow();
  }

  close(): void {
    this.#stop.abort();
  }

  async #follow(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#read();
        this.lost = false;
        if (!isUnderWay(this.build)) {
          this.ended();
          return;
        }
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof ApiError && error.status >= 400 && error.status < 500) return;
        this.lost = true;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  async #read(): Promise<void> {
    const response = await send(`/api/v1/builds/${this.build.id}/log`, {
      headers: { Accept: 'text/event-stream', 'Last-Event-ID': String(this.#offset) },
      signal: this.#stop.signal,
    });
    if (!response.body) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.lost = false;
      const { events, rest } = eventsOf(held + value);
      held = rest;
      for (const event of events) {
        if (event.type === 'build') this.build = JSON.parse(event.data) as ImageBuild;
        else if (event.type === 'log') {
          this.log = appended(this.log, JSON.parse(event.data) as string);
          this.#offset = Number(event.id);
        }
      }
    }
  }
}

export function sizeOf(bytes: number): string {
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

export function secondsOf(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
