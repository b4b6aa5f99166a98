/** What the content security policy of this page knows its own styles by; empty outside a page. */
export const cspNonce: string =
  typeof document === 'undefined'
    ? ''
    : (document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? '');
