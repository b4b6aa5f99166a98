/** Markdown as HTML that can do nothing: no HTML of the author's, no script, no picture from afar. */
import MarkdownIt from 'markdown-it';
import { purify } from '../languages/html';

const markdown = new MarkdownIt({ html: false, linkify: true });
// What a workspace's picture shows is not served as one; its words stand for it.
markdown.renderer.rules['image'] = (tokens, index) => markdown.utils.escapeHtml(`[${tokens[index]?.content ?? ''}]`);

// Where a link leads within the workspace is told beside its address, which it loses.
const plain = markdown.renderer.renderToken.bind(markdown.renderer);
markdown.renderer.rules['link_open'] = (tokens, index, options) => {
  const token = tokens[index];
  token?.attrSet('data-file', token.attrGet('href') ?? '');
  return plain(tokens, index, options);
};

/** What the page shows of a text; DOMPurify has the last word, whatever the renderer made. */
export function rendered(text: string): DocumentFragment {
  return purify.sanitize(markdown.render(text), {
    RETURN_DOM_FRAGMENT: true,
    ALLOWED_TAGS: ['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p', 'pre', 's', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
    ALLOWED_ATTR: ['href', 'start', 'data-file'],
  });
}

/** The file of the workspace that a link leads to; null when it leads elsewhere. */
export function fileOf(href: string, from: string): string | null {
  if (/^([a-z][a-z0-9+.-]*:|\/\/|#)/i.test(href)) return null;
  let path: string;
  try {
    path = decodeURIComponent(href.split(/[?#]/)[0] ?? '');
  } catch {
    return null;
  }
  const parts = path.startsWith('/') ? [] : from.split('/').slice(0, -1);
  for (const part of path.split('/')) {
    if (part === '..') {
      if (parts.pop() === undefined) return null;
    } else if (part && part !== '.') parts.push(part);
  }
  return parts.join('/') || null;
}
