/** Reads a remembered value; `fallback` when there is none or the browser keeps nothing. */
export function remembered<T>(key: string, fallback: T): T {
  try {
    const text = window.localStorage.getItem(`cloudide.${key}`);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

/** Remembers a value for the next visit; a browser that keeps nothing loses only comfort. */
export function remember(key: string, value: unknown): void {
  try {
    window.localStorage.setItem(`cloudide.${key}`, JSON.stringify(value));
  } catch {
    return;
  }
}

/** Forgets what was remembered under these keys, and under all that begin with them. */
export function forgetAll(...starts: string[]): void {
  try {
    for (const key of Object.keys(window.localStorage)) {
      if (starts.some((start) => key.startsWith(`cloudide.${start}`))) window.localStorage.removeItem(key);
    }
  } catch {
    return;
  }
}
