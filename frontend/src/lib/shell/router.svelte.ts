/** Which screen the address bar asks for. */
export type Route =
  | { screen: 'workspaces' }
  | { screen: 'account' }
  | { screen: 'teams' }
  | { screen: 'images'; id: string }
  | { screen: 'signin'; token: string | null }
  | { screen: 'invite'; token: string }
  | { screen: 'device'; code: string }
  | { screen: 'workspace'; id: string }
  | { screen: 'unknown' };

export function routeOf(pathname: string, hash: string): Route {
  if (pathname === '/') return { screen: 'workspaces' };
  if (pathname === '/account') return { screen: 'account' };
  if (pathname === '/teams') return { screen: 'teams' };
  if (pathname === '/signin') {
    return { screen: 'signin', token: new URLSearchParams(hash.slice(1)).get('token') };
  }
  if (pathname === '/invite') return { screen: 'invite', token: decode(hash.slice(1)) };
  if (pathname === '/device') return { screen: 'device', code: decode(hash.slice(1)) };
  const image = /^\/images(?:\/([^/]+))?\/?$/.exec(pathname);
  if (image) return { screen: 'images', id: decode(image[1] ?? '') };
  const id = /^\/w\/([^/]+)\/?$/.exec(pathname)?.[1];
  return id ? { screen: 'workspace', id: decode(id) } : { screen: 'unknown' };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

class Router {
  route = $state.raw<Route>(routeOf(window.location.pathname, window.location.hash));

  constructor() {
    const read = (): void => {
      this.route = routeOf(window.location.pathname, window.location.hash);
    };
    window.addEventListener('popstate', read);
    window.addEventListener('hashchange', read);
  }

  go(url: string, options: { replace?: boolean } = {}): void {
    if (options.replace) window.history.replaceState(null, '', url);
    else window.history.pushState(null, '', url);
    this.route = routeOf(window.location.pathname, window.location.hash);
  }

  /** Follows a plain click on a link of ours without loading the page anew. */
  follow = (event: MouseEvent): void => {
    const link = event.currentTarget as HTMLAnchorElement;
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.go(link.pathname + link.hash);
  };
}

export const router = new Router();
