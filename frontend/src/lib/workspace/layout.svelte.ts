import { remember, remembered } from '../shell/stored';

interface Sizes {
  side: number;
  panel: number;
  sideOpen: boolean;
  panelOpen: boolean;
  view: PanelView;
}

/** What the panel below the editor shows. */
export type PanelView = 'terminals' | 'tasks' | 'ports' | 'problems' | 'git';

const SIDE = { least: 150, most: 560 };
const PANEL = { least: 90, leave: 160 };

/** How the room on the page is shared out, remembered for each workspace. */
export class Layout {
  side = $state(250);
  panel = $state(260);
  sideOpen = $state(true);
  panelOpen = $state(true);
  view = $state<PanelView>('terminals');
  readonly #key: string;

  constructor(workspace: string) {
    this.#key = `layout.${workspace}`;
    const narrow = window.innerWidth < 720;
    const sizes = remembered<Partial<Sizes>>(this.#key, {});
    this.side = sizes.side ?? 250;
    this.panel = sizes.panel ?? Math.round(Math.min(300, window.innerHeight * 0.34));
    this.sideOpen = narrow ? false : (sizes.sideOpen ?? true);
    this.panelOpen = sizes.panelOpen ?? true;
    this.view = sizes.view ?? 'terminals';
  }

  resizeSide(width: number): void {
    this.side = Math.round(Math.max(SIDE.least, Math.min(SIDE.most, width, window.innerWidth * 0.6)));
    this.#remember();
  }

  resizePanel(height: number): void {
    const most = window.innerHeight - PANEL.leave;
    this.panel = Math.round(Math.max(PANEL.least, Math.min(most, height)));
    this.#remember();
  }

  toggleSide(open = !this.sideOpen): void {
    this.sideOpen = open;
    this.#remember();
  }

  togglePanel(open = !this.panelOpen): void {
    this.panelOpen = open;
    this.#remember();
  }

  /** Whether the panel is open and shows this. */
  shows(view: PanelView): boolean {
    return this.panelOpen && this.view === view;
  }

  /** Opens the panel with this in it. */
  show(view: PanelView): void {
    this.view = view;
    this.togglePanel(true);
  }

  #remember(): void {
    const { side, panel, sideOpen, panelOpen, view } = this;
    remember(this.#key, { side, panel, sideOpen, panelOpen, view } satisfies Sizes);
  }
}
