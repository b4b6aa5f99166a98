import type { PortInfo, PortVisibility } from '../protocol';
import { request, workspaceUrl } from '../session/api';

/** The ports of one workspace: what listens there, and who may see it. */
export class Ports {
  list = $state.raw<PortInfo[]>([]);
  /** Whether the server has told of them at all. */
  known = $state(false);
  /** Public links that were made in this page; the server shows each only once. */
  links = $state.raw<Record<number, string>>({});
  readonly open = $derived(this.list.filter((port) => port.open));
  #told = new Set<number>();

  constructor(readonly workspace: string) {}

  /** Adopts what the server tells; answers the ports that opened for the first time in this page. */
  take(list: PortInfo[]): PortInfo[] {
    const first = !this.known;
    this.known = true;
    this.list = list;
    const opened = list.filter((port) => port.open && !this.#told.has(port.port));
    for (const { port } of opened) this.#told.add(port);
    // What listened before this page was there is no news.
    return first ? [] : opened;
  }

  /** Says who may see a port. Raises ApiError. */
  async share(port: number, visibility: PortVisibility): Promise<PortInfo> {
    const changed = await request<PortInfo>('PATCH', workspaceUrl(this.workspace, `/ports/${port}`), { visibility });
    const links = { ...this.links };
    if (changed.link) links[port] = changed.link;
    else delete links[port];
    this.links = links;
    return changed;
  }

  /** Where a preview opens: through this site, which signs the browser in there. */
  entrance(port: number): string {
    return workspaceUrl(this.workspace, `/ports/${port}/open`);
  }

  /** What to give to somebody else. */
  address(port: PortInfo): string {
    return this.links[port.port] ?? port.url;
  }
}
