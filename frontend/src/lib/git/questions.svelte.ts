import type { GitQuestion } from '../protocol';
import { live, type PageEvent } from '../live/events.svelte';
import { request } from '../session/api';

export type Answer = 'allow' | 'deny' | 'here' | 'owner';

/** What Git in terminals of a workspace asks this person, the first one first. */
export class GitQuestions {
  list = $state.raw<GitQuestion[]>([]);

  constructor(private readonly workspace: string) {}

  follow(): () => void {
    return live.listen((event) => this.hear(event));
  }

  hear(event: PageEvent): void {
    if (event.type === 'reconnected') this.list = [];
    if (event.type !== 'git_question' || event.workspace !== this.workspace) return;
    const others = this.list.filter((each) => each.id !== event.question.id);
    this.list = event.asked ? [...others, event.question] : others;
  }

  /** Raises ApiError. */
  async answer(question: GitQuestion, answer: Answer): Promise<void> {
    const address = `/api/v1/workspaces/${encodeURIComponent(this.workspace)}/git/questions`;
    await request('POST', `${address}/${encodeURIComponent(question.id)}`, { answer });
    this.list = this.list.filter((each) => each.id !== question.id);
  }
}

/** What is asked, in a sentence. */
export function headlineOf(question: GitQuestion, me: string | undefined): string {
  const what = question.service === 'git-receive-pack' ? 'push to' : 'read';
  const who = question.asker.id === me ? 'Git in your terminal' : question.asker.name;
  return `${who} wants to ${what} ${question.repository}`;
}

/** What a push would set, as far as it is known. */
export function changesOf(question: GitQuestion): string[] {
  if (question.service !== 'git-receive-pack') return [];
  if (question.updates.length === 0)
    return question.branch ? [`${question.branch} → ${question.commit.slice(0, 10)}`] : [];
  return question.updates.map((update) => {
    const name = update.ref.replace(/^refs\/heads\//, '').replace(/^refs\/tags\//, 'tag ');
    if (/^0+$/.test(update.new)) return `${name} is deleted`;
    const from = /^0+$/.test(update.old) ? 'new' : update.old.slice(0, 10);
    return `${name}: ${from} → ${update.new.slice(0, 10)}`;
  });
}
