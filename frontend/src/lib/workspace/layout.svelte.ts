import { session } from '../session/session.svelte';
import { remember, remembered } from '../shell/stored';

/** What the side bar shows, and what the panel below the editor shows. */
export const SIDE_VIEWS = ['files', 'search', 'git', 'together'] as const;
export const PANEL_VIEWS = ['terminals', 'tasks', 'problems', 'ports', 'resources'] as const;
export type SideView = (typeof SIDE_VIEWS)[number];
export type PanelView = (typeof PANEL_VIEWS)[number];
export type View = SideView | PanelView;

interface Sizes {
  side: number;
  panel: number;
  sideOpen: boolean;
  panelOpen: boolean;
  sideView: SideView;
  view: PanelView;
  maximized: boolean;
}

const SIDE = { least: 170, most: 640 };
const PANEL = { least: 90, leave: 160 };
const NARROW = 720;

export function isSideView(view: View): view is SideView {
  return (SIDE_VIEWS as readonly string[]).includes(view);
}

/** How the room on the page is shared out, remembered for each person and workspace. */
export class Layout {
  side = $state(260);
  panel = $state(260);
  sideOpen = $state(true);
  panelOpen = $state(true);
  sideView = $state<SideView>('files');
  view = $state<PanelView>('terminals');
  /** The panel has all the room that the editor would have. */
  maximized = $state(false);
  readonly #key: string;

  constructor(workspace: string) {
    this.#key = `layout.${session.user?.id ?? ''}.${workspace}`;
    const narrow = window.innerWidth < NARROW;
    const sizes = remembered<Partial<Sizes>>(this.#key, {});
    this.side = sizes.side ?? 260;
    this.panel = sizes.panel ?? Math.round(Math.min(300, window.innerHeight * 0.34));
    this.sideOpen = narrow ? false : (sizes.sideOpen ?? true);
    this.panelOpen = sizes.panelOpen ?? !narrow;
    this.sideView = SIDE_VIEWS.find((view) => view === sizes.sideView) ?? 'files';
    this.view = PANEL_VIEWS.find((view) => view === sizes.view) ?? 'terminals';
    this.maximized = sizes.maximized ?? false;
  }

  resizeSide(width: number): void {
    this.side = Math.round(Math.max(SIDE.least, Math.min(SIDE.most, width, window.innerWidth * 0.6)));
    this.#remember();
  }

  resizePanel(height: number): void {
    const most = window.innerHeight - PANEL.leave;
    this.panel = Math.round(Math.max(PANEL.least, Math.min(most, height)));
    this.maximized = false;
    this.#remember();
  }

  toggleSide(open = !this.sideOpen): void {
    this.sideOpen = open;
    this.#remember();
  }

  togglePanel(open = !this.panelOpen): void {
    this.panelOpen = open;
    if (!open) this.maximized = false;
    this.#remember();
  }

  toggleMaximized(): void {
    this.panelOpen = true;
    this.maximized = !this.maximized;
    this.#remember();
  }

  /** Whether this is to be seen. */
  shows(view: View): boolean {
    return isSideView(view) ? this.sideOpen && this.sideView === view : this.panelOpen && this.view === view;
  }

  /** Opens the side bar or the panel with this in it. */
  show(view: View): void {
    if (isSideView(view)) {
      this.sideView = view;
      this.toggleSide(true);
    } else {
      this.view = view;
      this.togglePanel(true);
    }
  }

  hide(view: View): void {
    if (isSideView(view)) this.toggleSide(false);
    else this.togglePanel(false);
  }

  #remember(): void {
    const { side, panel, sideOpen, panelOpen, sideView, view, maximized } = this;
    remember(this.#key, { side, panel, sideOpen, panelOpen, sideView, view, maximized } satisfies Sizes);
  }
}
