// @vitest-environment jsdom
import { describe, expect, it } from 'vitest';
import { fileOf, rendered } from './markdown';

function html(text: string): string {
  const host = document.createElement('div');
  host.append(rendered(text));
  return host.innerHTML;
}

describe('Markdown', () => {
  it('is shown as it is meant', () => {
    expect(html('# A\n\n- *b*\n\n| x |\n|---|\n| 1 |')).toContain('<h1>A</h1>');
    expect(html('| x |\n|---|\n| 1 |')).toContain('<td>1</td>');
  });

  it('runs nothing, whatever it holds', () => {
    const texts = [
      '<script>alert(1)</script>',
      '<img src=x onerror=alert(1)>',
      '[x](javascript:alert(1))',
      '[x](data:text/html,<script>alert(1)</script>)',
      '![x](https://example.org/a.png)',
      '<a href="x" onclick="alert(1)">y</a>',
      '<style>*{display:none}</style><form action=x><input></form>',
    ];
    for (const text of texts) {
      const host = document.createElement('div');
      host.append(rendered(text));
      expect(host.querySelectorAll('script, img, style, form, input, iframe, [onclick], [onerror]')).toHaveLength(0);
      for (const link of host.querySelectorAll('a')) expect(link.getAttribute('href') ?? '').not.toMatch(/^(javascript|data):/);
    }
  });

  it('leads to files of the workspace', () => {
    expect(fileOf('../src/a%20b.py#x', 'docs/guide/x.md')).toBe('docs/src/a b.py');
    expect(fileOf('/README.md', 'docs/x.md')).toBe('README.md');
    for (const href of ['https://example.org', '//example.org/a', 'mailto:a@b', '#top', '../../..', '%zz']) {
      expect(fileOf(href, 'docs/x.md')).toBeNull();
    }
  });
});
