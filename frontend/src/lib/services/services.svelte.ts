import type { ServiceInfo, ServiceList } from '../protocol';
import { request, workspaceUrl } from '../session/api';

/** What runs beside one workspace, as `cloudide.toml` declares it. */
export class Services {
  list = $state.raw<ServiceInfo[]>([]);
  problems = $state.raw<ServiceList['problems']>([]);
  outdated = $state(false);
  image = $state('');
  secrets = $state.raw<string[]>([]);
  /** Whether there is anything to show of them. */
  readonly any = $derived(this.list.length > 0 || this.problems.length > 0 || this.outdated || this.secrets.length > 0 || this.image !== '');
  /** Services that somebody has to look at. */
  readonly ailing = $derived(this.list.filter((each) => each.state === 'unhealthy' || each.state === 'failed'));

  constructor(readonly workspace: string) {}

  take(told: ServiceList): void {
    this.list = told.services;
    this.problems = told.problems;
    this.outdated = told.outdated;
    this.image = told.image ?? '';
    this.secrets = told.secrets ?? [];
  }

  /** Runs what the file says now. Raises ApiError. */
  async apply(): Promise<void> {
    this.take(await request<ServiceList>('POST', workspaceUrl(this.workspace, '/services')));
  }

  /** Makes the workspace from another image; it restarts. Raises ApiError. */
  async changeImage(image: string): Promise<void> {
    await request('PATCH', workspaceUrl(this.workspace), { image });
  }

  /** Begins one anew; its volume stays. Raises ApiError. */
  async restart(name: string): Promise<void> {
    this.take(await request<ServiceList>('POST', workspaceUrl(this.workspace, `/services/${name}/restart`)));
  }

  /** The end of what one printed. Raises ApiError. */
  async log(name: string): Promise<string> {
    return (await request<{ log: string }>('GET', workspaceUrl(this.workspace, `/services/${name}/log`))).log;
  }
}
