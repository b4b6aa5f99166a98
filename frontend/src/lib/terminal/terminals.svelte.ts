import type { TerminalExit, TerminalInfo, TerminalRecording, TerminalTyping, TypingMode, Viewer } from '../protocol';
import { request, websocketUrl, workspaceUrl } from '../session/api';
import { theme } from '../shell/theme.svelte';
import { TerminalSocket } from './terminal-socket';
import { type Emulator, openEmulator } from './emulator';

/** What usually ends programs; signal(7). */
const SIGNALS: Record<number, string> = {
  1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 6: 'SIGABRT', 9: 'SIGKILL', 11: 'SIGSEGV', 13: 'SIGPIPE', 15: 'SIGTERM',
};
const TYPIST_MS = 2500; // how long somebody is shown as typing

/** How a shell ended, in words. */
export function exitText(exit: TerminalExit): string {
  if (exit.signal !== null && exit.signal !== undefined && exit.signal !== 0) {
    const name = SIGNALS[Number(exit.signal)];
    return name ? `Ended by ${name} (signal ${exit.signal})` : `Ended by signal ${exit.signal}`;
  }
  if (exit.code === null || exit.code === undefined) return 'Ended';
  return exit.code === 0 ? 'Ended' : `Ended with code ${exit.code}`;
}

/** One terminal as this page sees it; the emulator lives as long as its tab. */
export class TerminalTab {
  title = $state('');
  exit = $state.raw<TerminalExit | null>(null);
  viewers = $state.raw<Viewer[]>([]);
  connected = $state(false);
  writable = $state(true);
  /** The size all viewers share, and the room this one has; the shared one may be smaller. */
  shared = $state.raw<{ cols: number; rows: number } | null>(null);
  room = $state.raw<{ cols: number; rows: number } | null>(null);
  problem = $state('');
  typing = $state.raw<TerminalTyping>({ mode: 'everyone', owner: null, control: null });
  /** Who types right now; `held`: their Enter waits for the owner's. */
  typist = $state.raw<{ person: Viewer; held: boolean } | null>(null);
  recording = $state.raw<TerminalRecording | null>(null);
  /** It rang while nobody looked. */
  rang = $state(false);
  directory = $state('');
  foreground = $state('');
  ready = $state(false);
  readonly id: string;
  readonly info: TerminalInfo;
  #emulator: Emulator | null = null;
  #socket: TerminalSocket | null = null;
  #wantsFocus = false;
  #closed = false;
  #visible = false;
  #bells: number;
  #typistGone: ReturnType<typeof setTimeout> | undefined;

  constructor(workspace: string, info: TerminalInfo) {
    this.#bells = info.bells;
    this.#learn(info);
    this.id = info.id;
    this.info = info;
    this.title = info.title;
    this.exit = info.exit ?? null;
    void this.#start(workspace, info);
  }

  async #start(workspace: string, info: TerminalInfo): Promise<void> {
    const emulator = await openEmulator({
      dark: theme.dark,
      cols: info.cols,
      rows: info.rows,
      typed: (bytes) => this.#socket?.input(bytes),
    }).catch(() => null);
    if (emulator === null) {
      this.problem = 'The terminal did not load. Reload the page to try again.';
      return;
    }
    if (this.#closed) return emulator.dispose();
    this.#emulator = emulator;
    this.#socket = new TerminalSocket(
      websocketUrl(workspaceUrl(workspace, `/terminals/${encodeURIComponent(info.id)}`)),
      emulator,
      {
        connected: (connected) => (this.connected = connected),
        writable: (writable) => {
          this.writable = writable;
          emulator.setWritable(writable && this.exit === null);
        },
        size: (cols, rows) => (this.shared = { cols, rows }),
        viewers: (people) => (this.viewers = people),
        title: (title) => (this.title = title),
        typing: (typing) => (this.typing = typing),
        typed: (person, held) => this.#typed(person, held),
        recording: (recording) => (this.recording = recording),
        exit: (exit) => {
          this.exit = exit;
          emulator.setWritable(false);
        },
        gone: (_code, reason) => (this.problem = reason || 'This terminal is gone.'),
      },
    );
    this.#socket.visible(this.#visible);
    this.ready = true;
  }

  #typed(person: Viewer, held: boolean): void {
    this.typist = { person, held };
    clearTimeout(this.#typistGone);
    this.#typistGone = setTimeout(() => (this.typist = null), TYPIST_MS);
  }

  #learn(info: TerminalInfo): void {
    this.directory = info.directory;
    this.foreground = info.foreground;
    this.recording = info.recording;
    this.typing = { ...this.typing, mode: info.typing, owner: info.owner };
  }

  get element(): HTMLElement | null {
    return this.#emulator?.element ?? null;
  }

  /** Takes what the list of terminals says, for what this tab's own socket does not tell. */
  take(info: TerminalInfo): void {
    if (!this.connected) this.title = info.title || this.title;
    if (info.exit && !this.exit) this.exit = info.exit;
    this.#learn(info);
    if (info.bells > this.#bells && !this.#visible) this.rang = true;
    this.#bells = info.bells;
  }

  /** Measures the room there is and asks for it. */
  fit(): void {
    const room = this.#emulator?.fits();
    if (!room) return;
    this.room = room;
    // Nobody shares the size of a terminal that has ended: it may fill this window.
    if (this.exit) this.#emulator?.resize(room.cols, room.rows);
    else this.#socket?.room(room.cols, room.rows);
  }

  /** Moves the keyboard here, now or as soon as the terminal is on the page. */
  focus(): void {
    if (this.#emulator?.element.isConnected) this.#emulator.focus();
    else this.#wantsFocus = true;
  }

  /** The emulator was put on the page. Only who asked for the keyboard gets it: a terminal that
   * another person opened, or that came back after a lost connection, must not take it away from
   * somebody who types in the editor. */
  shown(): void {
    if (!this.#wantsFocus) return;
    this.#wantsFocus = false;
    this.#emulator?.focus();
  }

  /** Whether anybody sees it in this page. */
  see(visible: boolean): void {
    this.#visible = visible;
    if (visible) this.rang = false;
    this.#socket?.visible(visible);
  }

  /** Takes the size for this window alone, or gives it back. */
  hold(hold: boolean): void {
    this.#socket?.control(hold);
  }

  setDark(dark: boolean): void {
    this.#emulator?.setDark(dark);
  }

  reconnect(): void {
    this.#socket?.connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#typistGone);
    this.#socket?.close();
    this.#emulator?.dispose();
    this.#emulator = null;
  }
}

/** The terminals of a workspace, as the server lists them. */
export class Terminals {
  tabs = $state.raw<TerminalTab[]>([]);
  activeId = $state<string | null>(null);
  opening = $state(false);
  readonly active = $derived(this.tabs.find((tab) => tab.id === this.activeId) ?? null);

  constructor(readonly workspace: string) {}

  /**
   * Makes the tabs agree with the server's list, where an ended terminal stays until it is closed.
   *
   * With `whole` false the list may lack terminals that are still there, because the server has
   * not heard from the workspace yet: then nothing is taken away from whoever types in one.
   */
  take(list: TerminalInfo[], whole = true): void {
    const listed = new Map(list.map((info) => [info.id, info]));
    const kept = this.tabs.filter((tab) => {
      const info = listed.get(tab.id);
      if (info && !tab.problem) tab.take(info);
      else if (info || whole) tab.close();
      else return true;
      // One that was given up and is listed again gets a new tab.
      return info !== undefined && !tab.problem;
    });
    const known = new Set(kept.map((tab) => tab.id));
    const added = list.filter((info) => !known.has(info.id)).map((info) => new TerminalTab(this.workspace, info));
    if (added.length > 0 || kept.length !== this.tabs.length) this.tabs = [...kept, ...added];
    this.#keepActive();
  }

  /** Opens a terminal for everybody and shows it. Raises ApiError. */
  async create(like?: TerminalInfo): Promise<void> {
    this.opening = true;
    try {
      const room = this.active?.room ?? { cols: 80, rows: 24 };
      const info = await request<TerminalInfo>('POST', workspaceUrl(this.workspace, '/terminals'), {
        ...room,
        ...(like ? { command: like.command, cwd: like.cwd } : {}),
      });
      // The live event may have brought it already.
      if (!this.tabs.some((tab) => tab.id === info.id)) {
        this.tabs = [...this.tabs, new TerminalTab(this.workspace, info)];
      }
      this.activeId = info.id;
      this.active?.focus();
    } finally {
      this.opening = false;
    }
  }

  /** Ends a terminal for everybody. Raises ApiError. */
  async end(tab: TerminalTab): Promise<void> {
    await request('DELETE', this.#url(tab)).catch(
      (error: { status?: number }) => {
        // Gone already is what was wanted.
        if (error.status !== 404) throw error;
      },
    );
    this.#drop(tab);
  }

  /** Runs the same command again in place of a terminal whose shell has ended. */
  async restart(tab: TerminalTab): Promise<void> {
    await this.create(tab.info);
    await this.end(tab);
  }

  /** Says who may type. Raises ApiError. */
  async setTyping(tab: TerminalTab, mode: TypingMode): Promise<void> {
    await request('PATCH', this.#url(tab), { typing: mode });
  }

  /** Begins to record, or stops. Raises ApiError. */
  async record(tab: TerminalTab): Promise<void> {
    await request('POST', this.#url(tab, tab.recording?.running ? '/recording/stop' : '/recording'));
  }

  recordingUrl(tab: TerminalTab): string {
    return this.#url(tab, '/recording');
  }

  #url(tab: TerminalTab, rest = ''): string {
    return workspaceUrl(this.workspace, `/terminals/${encodeURIComponent(tab.id)}${rest}`);
  }

  step(by: number): void {
    const index = this.tabs.findIndex((tab) => tab.id === this.activeId);
    this.activeId = this.tabs[(index + by + this.tabs.length) % this.tabs.length]?.id ?? null;
  }

  reconnect(): void {
    for (const tab of this.tabs) tab.reconnect();
  }

  closeAll(): void {
    for (const tab of this.tabs) tab.close();
    this.tabs = [];
  }

  #drop(tab: TerminalTab): void {
    tab.close();
    this.tabs = this.tabs.filter((other) => other !== tab);
    this.#keepActive();
  }

  #keepActive(): void {
    if (!this.tabs.some((tab) => tab.id === this.activeId)) this.activeId = this.tabs.at(-1)?.id ?? null;
  }
}
