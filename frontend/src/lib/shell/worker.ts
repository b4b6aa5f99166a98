/** The service worker (public/sw.js), which shows a workspace's page again without a connection. */

const SCRIPT = '/sw.js';
const SCOPE = '/w/';

/** Of what this page has loaded, the files that never change. */
export function assetsOf(entries: readonly { name: string }[], origin: string): string[] {
  const mine = entries.map(({ name }) => name).filter((name) => name.startsWith(`${origin}/assets/`));
  return [...new Set(mine.map((name) => name.split('#')[0] as string))];
}

/** Only our own script may become a worker (Trusted Types). */
const policy = globalThis.window?.trustedTypes?.createPolicy('service-worker', {
  createScriptURL: (url) => {
    if (url !== SCRIPT) throw new TypeError('Not our service worker.');
    return url;
  },
});

/**
 * Registers it and has it keep what this page consists of, until the answer is called. Browsers
 * without one, or where the page came without TLS, go on without: only loading anew offline is lost.
 */
export function keepOffline(): () => void {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return () => undefined;
  const url = (policy?.createScriptURL(SCRIPT) ?? SCRIPT) as string;
  let over = false;
  const tell = async (): Promise<void> => {
    const { active } = await serviceWorker.ready;
    if (!over) active?.postMessage({ type: 'keep', urls: assetsOf(performance.getEntriesByType('resource'), location.origin) });
  };
  serviceWorker.register(url, { scope: SCOPE }).then(tell, () => undefined);
  // Parts that were loaded since, before a worker looked after this page.
  const timer = setInterval(() => void (serviceWorker.controller === null && tell()), 60_000);
  return () => {
    over = true;
    clearInterval(timer);
  };
}
