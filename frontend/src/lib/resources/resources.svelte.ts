import type { Activity, Resources as Figures } from '../protocol';
import { messageOf, request, workspaceUrl } from '../session/api';

const PAUSE = 3000; // ms between looks
const SLOW = 15_000; // after a failure

/** What a workspace uses, asked for while somebody looks. */
export class Resources {
  figures = $state.raw<Figures | null>(null);
  activity = $state.raw<Activity | null>(null);
  error = $state('');

  constructor(private readonly workspace: string) {}

  /** Asks again and again until the answer is called. */
  watch(): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const look = async (): Promise<void> => {
      if (!document.hidden) await this.load();
      if (!over) timer = setTimeout(() => void look(), this.error ? SLOW : PAUSE);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }

  async load(): Promise<void> {
    try {
      const [figures, activity] = await Promise.all([
        request<Figures>('GET', workspaceUrl(this.workspace, '/resources')),
        request<Activity>('GET', workspaceUrl(this.workspace, '/activity')),
      ]);
      [this.figures, this.activity, this.error] = [figures, activity, ''];
    } catch (error) {
      this.error = messageOf(error);
    }
  }

  /** Somebody is there: the time without use begins anew. Raises ApiError. */
  async keep(): Promise<void> {
    this.activity = await request<Activity>('POST', workspaceUrl(this.workspace, '/activity'));
  }
}
