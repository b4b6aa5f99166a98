/** What language servers say comes from the workspace and is shown as HTML: only text markup stays. */
import DOMPurify from 'dompurify';

const TAGS = [
  ...['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p'],
  ...['pre', 's', 'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
];

/** The one instance: the content policy lets one make HTML. Links of others than the web lose their address. */
export const purify = DOMPurify(window);
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  if (!/^https?:\/\//i.test(node.getAttribute('href') ?? '')) node.removeAttribute('href');
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noreferrer');
});

// The only classes are those that the editor gives to the parts of code that it colours.
purify.addHook('uponSanitizeAttribute', (_node, data) => {
  if (data.attrName === 'class' && !/^\s*(ͼ\w+\s*)+$/.test(data.attrValue)) data.keepAttr = false;
});

/** The HTML without anything that runs, loads, looks like the page or leads into it. */
export function sanitizeHTML(html: string): string {
  return purify.sanitize(html, { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ['class', 'href'] });
}

// Libraries that write HTML hand over text; whoever forgets to clean it has it cleaned here.
window.trustedTypes?.createPolicy('default', { createHTML: sanitizeHTML });
