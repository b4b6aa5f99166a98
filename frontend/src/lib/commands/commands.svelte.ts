/** Everything that can be done, once: the palette, keys, hints and the sheet of keys all read it. */
import { search } from '../workspace/fuzzy';
import { remember, remembered } from '../shell/stored';
import { matches, type Pressed, spoken } from './keys';

export interface Command {
  id: string;
  /** What it does, as the palette lists it. */
  title: string;
  /** Under which heading it stands. */
  group: string;
  /** Keys that run it, the one to show first. */
  keys?: readonly string[];
  /** Does it; without it, this only tells of keys that another part of the page knows. */
  run?: () => unknown;
  /** Whether it can be done now. */
  enabled?: () => boolean;
  /** The editor knows these keys itself: they are told and not taken. */
  native?: boolean;
  /** The keys also hold while somebody types in a terminal. */
  inTerminal?: boolean;
}

/** Where the keyboard is, as far as it decides which keys are taken. */
export interface Place {
  terminal: boolean;
  /** An editor whose key map has a meaning of its own for the control key. */
  modal: boolean;
}

const RECENT = 8;
const PLAIN_CONTROL = /^Mod\+[A-Z]$/;

export class Commands {
  list = $state.raw<readonly Command[]>([]);
  recent = $state.raw<readonly string[]>(remembered<string[]>('commands', []));

  /** Adds commands until the answer is called. */
  add(commands: readonly Command[]): () => void {
    this.list = [...this.list, ...commands];
    return () => {
      const gone = new Set(commands);
      this.list = this.list.filter((command) => !gone.has(command));
    };
  }

  get(id: string): Command | undefined {
    return this.list.find((command) => command.id === id);
  }

  run(id: string): void {
    const command = this.get(id);
    if (!command?.run || command.enabled?.() === false) return;
    this.recent = [id, ...this.recent.filter((other) => other !== id)].slice(0, RECENT);
    remember('commands', this.recent);
    command.run();
  }

  /** Runs what belongs to a key; says whether there was something. */
  press(event: Pressed, place: Place): boolean {
    for (const { run, keys, native, enabled, inTerminal } of this.list) {
      if (!run || native || !keys || (place.terminal && !inTerminal)) continue;
      const hit = keys.find((each) => matches(event, each));
      if (!hit || (place.modal && PLAIN_CONTROL.test(hit)) || enabled?.() === false) continue;
      run();
      return true;
    }
    return false;
  }

  /** The keys of a command for a hint, in brackets: " (Ctrl+P)"; nothing where it has none. */
  hint(id: string): string {
    const keys = this.get(id)?.keys?.[0];
    return keys ? ` (${spoken(keys)})` : '';
  }

  /** Commands that can be run now and have these letters, the best first, the latest without any. */
  search(letters: string): { command: Command; hits: number[] }[] {
    const able = this.list.filter((command) => command.run && command.enabled?.() !== false);
    if (letters.trim() === '') {
      const rank = (command: Command): number => {
        const at = this.recent.indexOf(command.id);
        return at === -1 ? RECENT : at;
      };
      return [...able]
        .sort((a, b) => rank(a) - rank(b) || compare(label(a), label(b)))
        .map((command) => ({ command, hits: [] }));
    }
    const byLabel = new Map(able.map((command) => [label(command), command]));
    return search(byLabel.keys(), letters, able.length).flatMap(({ path, hits }) => {
      const command = byLabel.get(path);
      return command ? [{ command, hits }] : [];
    });
  }

  /** All that have keys, by group, in the order in which they were added. */
  get sheet(): [string, Command[]][] {
    const groups = new Map<string, Command[]>();
    for (const command of this.list) {
      if (!command.keys?.length) continue;
      groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
    }
    return [...groups];
  }
}

/** How a command is listed: "Git: Commit". */
export function label({ group, title }: Command): string {
  return `${group}: ${title}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
