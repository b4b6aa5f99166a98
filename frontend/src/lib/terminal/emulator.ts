/** xterm.js, loaded when the first terminal opens. */
import type { ITheme } from '@xterm/xterm';
import { withNonce } from './policy';
import type { Screen } from './terminal-socket';

const DARK: ITheme = {
  background: '#15171c',
  foreground: '#e3e6ec',
  cursor: '#e3e6ec',
  cursorAccent: '#15171c',
  selectionBackground: '#3a4785',
  black: '#2a2f38',
  red: '#ff8087',
  green: '#5bc98c',
  yellow: '#e9b44c',
  blue: '#82aaff',
  magenta: '#c792ea',
  cyan: '#7fd1de',
  white: '#c9ced8',
  brightBlack: '#7f899b',
  brightRed: '#ff9ea4',
  brightGreen: '#85dcab',
  brightYellow: '#f3cb7c',
  brightBlue: '#a6c2ff',
  brightMagenta: '#dab4f2',
  brightCyan: '#a5e2eb',
  brightWhite: '#ffffff',
};

const LIGHT: ITheme = {
  background: '#ffffff',
  foreground: '#1d2129',
  cursor: '#1d2129',
  cursorAccent: '#ffffff',
  selectionBackground: '#c9d2ff',
  black: '#1d2129',
  red: '#c22f3d',
  green: '#1a7f4b',
  yellow: '#8f5b00',
  blue: '#2456c8',
  magenta: '#7a3fb8',
  cyan: '#0b7285',
  white: '#6d7686',
  brightBlack: '#596273',
  brightRed: '#a31f2c',
  brightGreen: '#12663a',
  brightYellow: '#724800',
  brightBlue: '#1a44a5',
  brightMagenta: '#632f9a',
  brightCyan: '#085a69',
  brightWhite: '#3d4450',
};

export interface Emulator extends Screen {
  readonly element: HTMLElement;
  /** The columns and rows that fit the element; null while it is not in the page. */
  fits(): { cols: number; rows: number } | null;
  setWritable(writable: boolean): void;
  setDark(dark: boolean): void;
  focus(): void;
  dispose(): void;
}

export interface EmulatorOptions {
  dark: boolean;
  cols: number;
  rows: number;
  typed: (bytes: Uint8Array<ArrayBuffer>) => void;
}

/** Keys that belong to the page even while a terminal has the focus. */
function isPageKey(event: KeyboardEvent): boolean {
  if (event.key === 'F6') return true;
  if (event.ctrlKey && event.code === 'Backquote') return true;
  return event.altKey && (event.key === 'PageUp' || event.key === 'PageDown');
}

export async function openEmulator(options: EmulatorOptions): Promise<Emulator> {
  const [{ Terminal }, { FitAddon }, { WebLinksAddon }, { Unicode11Addon }] = await Promise.all([
    import('@xterm/xterm'),
    import('@xterm/addon-fit'),
    import('@xterm/addon-web-links'),
    import('@xterm/addon-unicode11'),
    import('@xterm/xterm/css/xterm.css'),
  ]);
  const fonts = getComputedStyle(document.documentElement).getPropertyValue('--mono').trim();
  const terminal = new Terminal({
    allowProposedApi: true,
    cols: options.cols,
    rows: options.rows,
    cursorBlink: !window.matchMedia('(prefers-reduced-motion: reduce)').matches,
    fontFamily: fonts || 'monospace',
    fontSize: 13,
    lineHeight: 1.25,
    scrollback: 10_000,
    minimumContrastRatio: 4.5,
    screenReaderMode: false,
    macOptionIsMeta: true,
    theme: options.dark ? DARK : LIGHT,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new WebLinksAddon());
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = '11';

  const element = document.createElement('div');
  element.className = 'xterm-host';
  let opened = false;
  const encoder = new TextEncoder();
  terminal.onData((text) => options.typed(encoder.encode(text)));
  // Bytes that are not text, e.g. old mouse reports: each character is one byte.
  terminal.onBinary((text) => options.typed(Uint8Array.from(text, (char) => char.charCodeAt(0) & 255)));
  terminal.attachCustomKeyEventHandler((event) => {
    if (isPageKey(event)) return false;
    // Ctrl+C copies when something is selected; otherwise it interrupts, as everywhere.
    if (event.type === 'keydown' && event.ctrlKey && event.key === 'c' && terminal.hasSelection()) {
      // Without permission to the clipboard the selection simply stays.
      void navigator.clipboard?.writeText(terminal.getSelection()).catch(() => undefined);
      terminal.clearSelection();
      return false;
    }
    return !(event.ctrlKey && event.key === 'v');
  });

  return {
    element,
    reset: () => terminal.reset(),
    resize: (cols, rows) => {
      if (cols > 0 && rows > 0 && (cols !== terminal.cols || rows !== terminal.rows)) terminal.resize(cols, rows);
    },
    write: (bytes, drawn) => terminal.write(bytes, drawn),
    fits: () => {
      if (!element.isConnected || element.clientHeight === 0) return null;
      if (!opened) {
        // The emulator measures its font when it opens, so it has to be in the page by then.
        withNonce(() => terminal.open(element));
        opened = true;
      }
      const room = fit.proposeDimensions();
      if (!room || !Number.isFinite(room.cols) || !Number.isFinite(room.rows)) return null;
      return { cols: Math.max(2, room.cols), rows: Math.max(1, room.rows) };
    },
    setWritable: (writable) => {
      terminal.options.disableStdin = !writable;
    },
    setDark: (dark) => {
      terminal.options.theme = dark ? DARK : LIGHT;
    },
    focus: () => terminal.focus(),
    dispose: () => {
      element.remove();
      // What was asked for before is drawn in the next frame, and fails when the emulator is gone by then.
      requestAnimationFrame(() => requestAnimationFrame(() => terminal.dispose()));
    },
  };
}
