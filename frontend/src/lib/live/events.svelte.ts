import type { EventRequest, LiveEvent } from '../protocol';
import { CloseCode, isFinal } from '../protocol';
import { websocketUrl } from '../session/api';
import { Backoff } from './backoff';

const PING_EVERY = 15_000;
const SILENCE_LIMIT = 32_000;

/** What a page hears: the server's events, and that the server is there again and starts over. */
export type PageEvent = LiveEvent | { type: 'reconnected' };

type Listener = (event: PageEvent) => void;

/**
 * The one websocket over which a page hears about everything it watches.
 *
 * What is watched is remembered and asked for again after a reconnect, so a listener sees fresh
 * state without doing anything. `connected` tells the truth within the silence limit.
 */
export class LiveEvents {
  connected = $state(false);
  /** Set when the server said that trying again is of no use, e.g. 4401. */
  refused = $state<{ code: number; reason: string } | null>(null);
  /** When the next try to connect happens, in milliseconds since the epoch. */
  retryAt = $state<number | null>(null);

  #socket: WebSocket | null = null;
  #listeners = new Set<Listener>();
  #watched = new Map<string, string | null | undefined>();
  #list = false;
  #backoff = new Backoff();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ping: ReturnType<typeof setInterval> | undefined;
  #heard = 0;

  constructor(private readonly open: (url: string) => WebSocket = (url) => new WebSocket(url)) {}

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  watchList(): () => void {
    this.#list = true;
    this.#send({ type: 'watch', workspaces: true });
    this.connect();
    return () => {
      this.#list = false;
      this.#rest();
    };
  }

  watch(workspace: string): () => void {
    this.#watched.set(workspace, undefined);
    this.#send({ type: 'watch', workspace });
    this.connect();
    return () => {
      this.#watched.delete(workspace);
      this.#send({ type: 'unwatch', workspace });
      this.#rest();
    };
  }

  /** Tells the others which file this person looks at. */
  here(workspace: string, path: string | null): void {
    if (!this.#watched.has(workspace) || this.#watched.get(workspace) === path) return;
    this.#watched.set(workspace, path);
    this.#send({ type: 'here', workspace, path });
  }

  /** Connects now, whether or not a later try was planned; does nothing while connected. */
  connect(): void {
    clearTimeout(this.#retry);
    this.retryAt = null;
    if (this.#socket) return;
    const socket = this.open(websocketUrl('/api/v1/events'));
    this.#socket = socket;
    socket.onopen = () => {
      this.connected = true;
      this.refused = null;
      this.#backoff.reset();
      this.#heard = Date.now();
      this.#tell({ type: 'reconnected' });
      if (this.#list) this.#send({ type: 'watch', workspaces: true });
      for (const [workspace, path] of this.#watched) {
        this.#send({ type: 'watch', workspace });
        if (path !== undefined) this.#send({ type: 'here', workspace, path });
      }
      this.#ping = setInterval(() => {
        if (Date.now() - this.#heard > SILENCE_LIMIT) this.#dropped(socket, 1006, '');
        else this.#send({ type: 'ping' });
      }, PING_EVERY);
    };
    socket.onmessage = (message) => {
      this.#heard = Date.now();
      if (typeof message.data !== 'string') return;
      this.#tell(JSON.parse(message.data) as LiveEvent);
    };
    socket.onclose = (event) => this.#dropped(socket, event.code, event.reason);
  }

  #dropped(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    socket.onclose = null;
    socket.close();
    this.#socket = null;
    this.connected = false;
    clearInterval(this.#ping);
    if (isFinal(code)) {
      this.refused = { code, reason };
      return;
    }
    if (code === CloseCode.normal && !this.#list && this.#watched.size === 0) return;
    const wait = this.#backoff.next();
    this.retryAt = Date.now() + wait;
    this.#retry = setTimeout(() => this.connect(), wait);
  }

  #tell(event: PageEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Lets go of the socket when nobody watches anything any more. */
  #rest(): void {
    if (this.#list || this.#watched.size > 0) return;
    clearTimeout(this.#retry);
    this.#socket?.close(CloseCode.normal);
  }

  #send(request: EventRequest): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request));
  }
}

export const live = new LiveEvents();

if (typeof window !== 'undefined') window.addEventListener('online', () => live.connect());
