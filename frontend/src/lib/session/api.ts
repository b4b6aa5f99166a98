import type { Problem } from '../protocol';

/** A request that the server refused or never answered; `message` may be shown to people. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly problem: Problem = {},
  ) {
    super(message);
  }
}

/** Whether the server, or what stands before it, cannot answer now; it may a moment later. */
export function isPassing(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
}

export const NOT_REACHABLE = 'The server cannot be reached. Check that it runs, then try again.';

/** How long to wait before a request whose connection broke is sent again, in ms. */
const PATIENCE = [200, 800];
/** How long the first sending of a request may take while its repetitions are told to wait, in ms. */
const UNDER_WAY = 60_000;

/** Sends JSON, answers the parsed JSON body (null when there is none). Raises ApiError. */
export async function request<T>(method: string, url: string, body?: unknown): Promise<T> {
  const response = await send(url, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      // Sent again, it does what it did once and no more.
      ...(method === 'POST' ? { 'Idempotency-Key': newKey() } : {}),
    },
    body: body === undefined ? null : JSON.stringify(body),
  });
  if (response.status === 204) return null as T;
  const text = await response.text();
  return (text ? JSON.parse(text) : null) as T;
}

/** All of a list: `field` of its answer, page after page. Raises ApiError. */
export async function list<T>(url: string, field: string): Promise<T[]> {
  const found: T[] = [];
  for (let cursor = ''; ; ) {
    const page = await request<Record<string, T[]> & { next?: string | null }>('GET', withCursor(url, cursor));
    found.push(...(page[field] ?? []));
    if (!page.next) return found;
    cursor = page.next;
  }
}

function withCursor(url: string, cursor: string): string {
  return cursor ? `${url}${url.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(cursor)}` : url;
}

/** Like fetch, but a refusal or an unreachable server is an ApiError. */
export async function send(url: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetchPatiently(url, { credentials: 'same-origin', ...init });
  if (!response.ok) throw await problemOf(response);
  return response;
}

/**
 * Chromium gives up what it is loading whenever an interface of its machine comes or goes, which a
 * container that starts beside it is enough for. So what may be sent again is.
 */
async function fetchPatiently(url: string, init: RequestInit): Promise<Response> {
  const until = Date.now() + UNDER_WAY;
  for (let broken = 0; ; ) {
    try {
      const response = await fetch(url, init);
      const wait = Number(response.headers.get('Retry-After'));
      // What was sent before the connection broke is still being done.
      if (broken === 0 || response.status !== 409 || !wait || Date.now() > until) return response;
      await pause(wait * 1000);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      const wait = PATIENCE[broken++];
      if (!isRepeatable(init) || wait === undefined) throw new ApiError(0, NOT_REACHABLE);
      await pause(wait);
    }
  }
}

/** Whether a second sending of a request does no more, and says no less, than the first. */
function isRepeatable({ method = 'GET', headers: given }: RequestInit): boolean {
  const headers = new Headers(given);
  if (headers.has('If-Match') || headers.has('If-None-Match')) return false;
  return ['GET', 'HEAD', 'PUT', 'PATCH'].includes(method) || headers.has('Idempotency-Key');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** 128 bits; `crypto.randomUUID` is missing where a page came without TLS. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  return problemFrom(response.status, response.headers.get('Content-Type') ?? '', text);
}

/** The error that an answer with this status, type and body stands for. */
export function problemFrom(status: number, contentType: string, text: string): ApiError {
  if (contentType.includes('json')) {
    try {
      const problem = JSON.parse(text) as Problem;
      return new ApiError(status, problem.detail || problem.title || fallback(status), problem);
    } catch {
      return new ApiError(status, fallback(status));
    }
  }
  return new ApiError(status, fallback(status));
}

function fallback(status: number): string {
  if (status >= 500) return `The server failed to answer (${status}). Try again in a moment.`;
  return `The server refused the request (${status}).`;
}

/** Uploads a body and reports how much of it has left. Raises ApiError. */
export function upload(
  url: string,
  body: Blob,
  progress: (sent: number, total: number) => void,
  options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('PUT', url);
    for (const [name, value] of Object.entries(options.headers ?? {})) xhr.setRequestHeader(name, value);
    options.signal?.addEventListener('abort', () => xhr.abort());
    xhr.onabort = () => reject(new ApiError(0, 'The upload was ended.'));
    xhr.setRequestHeader('Content-Type', 'application/octet-stream');
    xhr.upload.onprogress = (event) => progress(event.loaded, event.total || body.size);
    xhr.onload = () => {
      if (xhr.status < 300) resolve(xhr.responseText ? JSON.parse(xhr.responseText) : null);
      else {
        const type = xhr.getResponseHeader('Content-Type') ?? '';
        reject(problemFrom(xhr.status, type, xhr.responseText));
      }
    };
    xhr.onerror = () => reject(new ApiError(0, 'The connection broke during the upload.'));
    xhr.send(body);
  });
}

export function websocketUrl(path: string): string {
  const { protocol, host } = window.location;
  return `${protocol === 'https:' ? 'wss:' : 'ws:'}//${host}${path}`;
}

/** A path inside a workspace as it stands in a URL: parts escaped, slashes kept. */
export function urlPath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

export function workspaceUrl(id: string, rest = ''): string {
  return `/api/v1/workspaces/${encodeURIComponent(id)}${rest}`;
}

export function fileUrl(id: string, path: string): string {
  return workspaceUrl(id, `/files/${urlPath(path)}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
