/** Black or white, whichever is easier to read on this colour (WCAG 2.2 contrast). */
export function readableOn(color: string): '#10131a' | '#ffffff' {
  const match = /^#([0-9a-f]{6})/i.exec(color)?.[1];
  if (!match) return '#ffffff';
  const value = parseInt(match, 16);
  const [r, g, b] = [value >> 16, (value >> 8) & 255, value & 255].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.056 ? '#ffffff' : '#10131a';
}

const COLOR = /^#[0-9a-f]{3,8}$|^(rgb|hsl)a?\([\d\s.,%/]+\)$/i;

/** The colour, or a neutral one when the text is not a colour and might smuggle in more CSS. */
export function safeColor(color: unknown, fallback = '#7a8190'): string {
  return typeof color === 'string' && COLOR.test(color) ? color : fallback;
}

export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = [...(words[0] ?? '?')][0] ?? '?';
  const last = words.length > 1 ? ([...(words.at(-1) ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}
