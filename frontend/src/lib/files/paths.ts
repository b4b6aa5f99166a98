/** Paths inside a workspace: relative, `/` between the parts, '' is the root. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function parentOf(path: string): string {
  const cut = path.lastIndexOf('/');
  return cut === -1 ? '' : path.slice(0, cut);
}

export function join(parent: string, name: string): string {
  return parent ? `${parent}/${name}` : name;
}

/** Every directory above `path`, from the top down, the root left out. */
export function ancestors(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, i) => parts.slice(0, i + 1).join('/'));
}

export function isWithin(path: string, directory: string): boolean {
  return directory === '' || path === directory || path.startsWith(`${directory}/`);
}

/** Says what is wrong with a new file's name, or nothing; `a/b.txt` is welcome. */
export function fileNameProblem(name: string): string {
  if (!name.trim()) return 'Enter a name.';
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f]/.test(name)) return 'No control characters.';
  const parts = name.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    return 'Parts between slashes may not be empty, “.” or “..”.';
  }
  if (parts.some((part) => new TextEncoder().encode(part).length > 255)) return 'This name is too long.';
  return '';
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 1000 && unit < units.length - 1);
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}
