/*
 * The service worker of workspaces (its scope is /w/): a page that is loaded anew without a
 * connection still shows, and what was typed offline is in it.
 *
 * It keeps two things, neither of which is anybody's: files below /assets/, whose names carry a hash
 * of their content, and the page, which is the same for everybody. Each build of the front end has a
 * cache of its own; those of the last two are kept, so that a page of the former build finds its
 * parts. Pages come from the server whenever it answers, so that none is ever stale. Everything else
 * (the API, sockets, previews, which are other origins) never comes here.
 */
const PAGE = '/w/';
const PREFIX = 'cloudide-build-';
const BUILDS = 2;
const ASKED_AT_ONCE = 300;
const AWAY = [502, 503, 504]; // what a proxy says of a server that is not there

self.addEventListener('install', (event) => {
  void self.skipWaiting();
  event.waitUntil(refresh());
});

self.addEventListener('activate', (event) => {
  event.waitUntil(Promise.all([self.registration.navigationPreload?.enable(), self.clients.claim()]));
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (request.mode === 'navigate') event.respondWith(page(event));
  else if (url.pathname.startsWith('/assets/')) event.respondWith(asset(event));
});

/** A page says which assets it has loaded, before there was a worker too. */
self.addEventListener('message', (event) => {
  const { type, urls } = event.data ?? {};
  if (type === 'keep' && Array.isArray(urls)) event.waitUntil(keepAll(urls.slice(0, ASKED_AT_ONCE)));
});

async function page(event) {
  try {
    const response = (await event.preloadResponse) ?? (await fetch(event.request));
    if (AWAY.includes(response.status)) return (await shell()) ?? response;
    if (response.ok) event.waitUntil(refresh());
    return response;
  } catch (error) {
    const kept = await shell();
    if (kept) return kept;
    throw error;
  }
}

async function asset(event) {
  const [newest, ...older] = await builds();
  const known = await newest?.match(event.request);
  if (known) return known;
  for (const cache of older) {
    const former = await cache.match(event.request);
    if (!former) continue;
    event.waitUntil(newest.put(event.request, former.clone()));
    return former;
  }
  const response = await fetch(event.request);
  if (response.ok && newest) event.waitUntil(newest.put(event.request, response.clone()));
  return response;
}

async function keepAll(urls) {
  const [newest] = await builds();
  if (!newest) return;
  for (const each of urls) {
    const url = new URL(each, self.location.origin);
    if (url.origin !== self.location.origin || !url.pathname.startsWith('/assets/')) continue;
    if (await newest.match(url.href)) continue;
    const response = await fetch(url.href).catch(() => null);
    if (response?.ok) await newest.put(url.href, response);
  }
}

/** Keeps the page as it is now; a new build begins a cache, and the oldest one goes. */
async function refresh() {
  const response = await fetch(PAGE, { credentials: 'omit', cache: 'no-cache', redirect: 'error' }).catch(() => null);
  if (!response?.ok || !response.headers.get('Content-Type')?.startsWith('text/html')) return;
  const text = await response.clone().text();
  const assets = [...new Set(text.match(/\/assets\/[\w.-]+/g) ?? [])];
  if (assets.length === 0) return; // the front end is not built
  const name = PREFIX + assets.sort().join(',');
  const [newest] = await buildNames();
  const former = newest !== name && (await caches.has(name)) ? await entries(name) : [];
  if (former.length > 0) await caches.delete(name); // the server went back to it: made anew, it is the latest
  const cache = await caches.open(name);
  for (const [request, kept] of former) await cache.put(request, kept);
  await cache.put(PAGE, response);
  if (newest === name) return;
  const names = await buildNames();
  await Promise.all(names.slice(BUILDS).map((old) => caches.delete(old)));
  await keepAll(assets);
}

async function entries(name) {
  const cache = await caches.open(name);
  const requests = await cache.keys();
  return Promise.all(requests.map(async (request) => [request, await cache.match(request)]));
}

/** The latest first: caches are listed in the order in which they were made. */
async function buildNames() {
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX)).reverse();
}

async function builds() {
  return Promise.all((await buildNames()).map((name) => caches.open(name)));
}

async function shell() {
  for (const cache of await builds()) {
    const found = await cache.match(PAGE);
    if (found) return found;
  }
  return null;
}
