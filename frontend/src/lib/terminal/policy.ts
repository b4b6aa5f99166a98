/**
 * xterm.js writes style sheets and `style` attributes, which our content security policy takes only
 * with a nonce, and not at all; and it takes the elements for them from the page's own document,
 * whatever document it is given.
 */
import { cspNonce } from '../shell/nonce';

/** Spans, of which its rows are made, are styled through the CSSOM: that is not subject to a policy. */
HTMLSpanElement.prototype.setAttribute = function (name: string, value: string): void {
  if (name === 'style') this.style.cssText = value;
  else HTMLElement.prototype.setAttribute.call(this, name, value);
};

function createElement(name: string): HTMLElement {
  const element = Document.prototype.createElement.call(document, name);
  if (element instanceof HTMLStyleElement) element.nonce = cspNonce;
  return element;
}

/** Does `work`; the style sheets that it makes have the nonce. */
export function withNonce(work: () => void): void {
  document.createElement = createElement as typeof document.createElement;
  try {
    work();
  } finally {
    Reflect.deleteProperty(document, 'createElement'); // the prototype's is there again
  }
}
