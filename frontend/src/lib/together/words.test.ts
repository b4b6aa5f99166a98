import { describe, expect, it } from 'vitest';
import { piecesOf } from './words';

describe('what people write', () => {
  it('leads to files and lines, and to addresses', () => {
    expect(piecesOf('see src/app.py:12, then https://example.org/a?b.')).toEqual([
      { kind: 'text', text: 'see ' },
      { kind: 'place', text: 'src/app.py:12', path: 'src/app.py', line: 12 },
      { kind: 'text', text: ', then ' },
      { kind: 'url', text: 'https://example.org/a?b' },
      { kind: 'text', text: '.' },
    ]);
    expect(piecesOf('ünïcode/é.md:3')).toEqual([{ kind: 'place', text: 'ünïcode/é.md:3', path: 'ünïcode/é.md', line: 3 }]);
  });

  it('takes nothing else for a link', () => {
    for (const text of ['e.g. this', 'javascript:alert(1)', '<img src=x onerror=alert(1)>', 'at 12:30', 'v1.2.3']) {
      expect(piecesOf(text).every((piece) => piece.kind === 'text')).toBe(true);
    }
  });
});
