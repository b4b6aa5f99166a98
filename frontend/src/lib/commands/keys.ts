/** Keys as they are written ("Mod+Shift+P"), shown, and recognised. */

/** "Mod" is the command key of Apple's keyboards and the control key of all others. */
export const isApple = typeof navigator !== 'undefined' && /Mac|iP(hone|ad)/.test(navigator.platform);

interface Combination {
  mod: boolean;
  ctrl: boolean;
  shift: boolean;
  alt: boolean;
  key: string;
}

/** The part of a KeyboardEvent that says which key it is. */
export type Pressed = Pick<KeyboardEvent, 'key' | 'code' | 'ctrlKey' | 'metaKey' | 'shiftKey' | 'altKey'>;

const known = new Map<string, Combination>();

function parse(keys: string): Combination {
  let found = known.get(keys);
  if (!found) {
    const parts = keys.split('+');
    const key = parts.pop() ?? '';
    const has = (name: string): boolean => parts.includes(name);
    found = { mod: has('Mod'), ctrl: has('Ctrl'), shift: has('Shift'), alt: has('Alt'), key };
    known.set(keys, found);
  }
  return found;
}

/** The key's place on the keyboard, for those whose letter depends on the layout or on Alt. */
function codeOf(key: string): string | null {
  if (/^[A-Z]$/.test(key)) return `Key${key}`;
  if (/^[0-9]$/.test(key)) return `Digit${key}`;
  return { '`': 'Backquote', '\\': 'Backslash', ',': 'Comma' }[key] ?? null;
}

export function matches(event: Pressed, keys: string, apple = isApple): boolean {
  const { mod, ctrl, shift, alt, key } = parse(keys);
  if (event.ctrlKey !== (ctrl || (mod && !apple)) || event.metaKey !== (mod && apple)) return false;
  if (event.shiftKey !== shift || event.altKey !== alt) return false;
  // With Alt, and on keyboards of other scripts, a key's place says more than its letter.
  const latin = event.key.length === 1 && event.key.codePointAt(0)! < 128;
  if (!alt && latin && /^[A-Z]$/.test(key)) return event.key.toUpperCase() === key;
  const code = codeOf(key);
  return code ? event.code === code : event.key === key;
}

const NAMES: Record<string, string> = {
  ArrowUp: '↑',
  ArrowDown: '↓',
  ArrowLeft: '←',
  ArrowRight: '→',
  Escape: 'Esc',
  Delete: 'Del',
  Space: 'Space',
};

/** The keys as they stand on the keyboard, one by one; "Mod+K Mod+I" are four. */
export function shown(keys: string, apple = isApple): string[] {
  return keys.split(' ').flatMap((one) =>
    one.split('+').map((part) => {
      if (part === 'Mod') return apple ? '⌘' : 'Ctrl';
      if (part === 'Alt' && apple) return '⌥';
      if (part === 'Shift' && apple) return '⇧';
      return NAMES[part] ?? part;
    }),
  );
}

/** For titles and hints: "Ctrl+Shift+P". */
export function spoken(keys: string, apple = isApple): string {
  return shown(keys, apple).join('+');
}
