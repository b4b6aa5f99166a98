/** The chat of a workspace, as far as it was read back. */
import type { PageEvent } from '../live/events.svelte';
import type { ChatMessage } from '../protocol';
import { messageOf, request, workspaceUrl } from '../session/api';
import { session } from '../session/session.svelte';
import { remember, remembered } from '../shell/stored';

interface Page {
  messages: ChatMessage[];
  more: boolean;
}

export class Chat {
  messages = $state.raw<readonly ChatMessage[]>([]);
  more = $state(false);
  state = $state<'unknown' | 'loading' | 'shown' | 'failed'>('unknown');
  failure = $state('');
  /** Whether it shows, so that what comes is read. */
  seen = $state(false);
  #last = $state(0);
  readonly unread = $derived(this.messages.filter((message) => message.id > this.#last && message.author !== session.user?.id).length);
  readonly #key: string;

  constructor(readonly workspace: string) {
    this.#key = `chat.${session.user?.id ?? ''}.${workspace}`;
    this.#last = remembered<number>(this.#key, 0);
  }

  take(event: PageEvent): void {
    if (event.type === 'chat' && event.workspace === this.workspace) this.#add([event.message]);
    else if (event.type === 'reconnected' && this.state === 'shown') void this.load();
  }

  async load(): Promise<void> {
    if (this.state !== 'shown') this.state = 'loading';
    try {
      const { messages, more } = await request<Page>('GET', workspaceUrl(this.workspace, '/chat'));
      const first = this.messages.length === 0;
      this.#add(messages);
      if (first) this.more = more;
      // Who comes for the first time has not missed what was said before.
      if (this.#last === 0) this.read();
      this.state = 'shown';
    } catch (error) {
      this.failure = messageOf(error);
      this.state = this.state === 'shown' ? 'shown' : 'failed';
    }
  }

  async earlier(): Promise<void> {
    const [first] = this.messages;
    if (!first) return;
    const page = await request<Page>('GET', workspaceUrl(this.workspace, `/chat?before=${first.id}`));
    this.more = page.more;
    this.#add(page.messages);
  }

  /** Raises ApiError. */
  async say(text: string): Promise<void> {
    this.#add([await request<ChatMessage>('POST', workspaceUrl(this.workspace, '/chat'), { text })]);
    this.read();
  }

  /** All that there is has been read. */
  read(): void {
    this.#last = Math.max(this.#last, this.messages.at(-1)?.id ?? 0);
    remember(this.#key, this.#last);
  }

  #add(some: readonly ChatMessage[]): void {
    const all = new Map([...this.messages, ...some].map((message) => [message.id, message]));
    this.messages = [...all.values()].sort((a, b) => a.id - b.id);
    if (this.seen) this.read();
  }
}
