/** What people write, in pieces: plain text, addresses, and places in files. Never HTML. */

export type Piece =
  | { kind: 'text'; text: string }
  | { kind: 'url'; text: string }
  | { kind: 'place'; text: string; path: string; line: number };

// An address, or a path with an extension and perhaps a line: `src/app.py:12`, `notes.md`.
const LINK = /(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])|((?:[\p{L}\p{N}_@.-]+\/)*[\p{L}\p{N}_@-][\p{L}\p{N}_@.-]*\.[A-Za-z]\w{0,9})(?::(\d{1,7}))?(?![\p{L}\p{N}_/])/gu;

export function piecesOf(text: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const found of text.matchAll(LINK)) {
    const [all, url, path, line] = found;
    // A bare word with a dot in it is a place only with a folder or a line: "e.g", "example.org".
    if (!url && !line && !path?.includes('/')) continue;
    if (found.index > at) pieces.push({ kind: 'text', text: text.slice(at, found.index) });
    if (url) pieces.push({ kind: 'url', text: all });
    else if (path) pieces.push({ kind: 'place', text: all, path, line: line ? Number(line) : 1 });
    at = found.index + all.length;
  }
  if (at < text.length) pieces.push({ kind: 'text', text: text.slice(at) });
  return pieces;
}
