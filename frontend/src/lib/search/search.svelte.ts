/** Searching all files of a workspace, and replacing what is found. */
import type { Edited } from '../languages/actions';
import { messageOf, request, send, workspaceUrl } from '../session/api';
import { remember, remembered } from '../shell/stored';

export interface Question {
  query: string;
  regex: boolean;
  case: boolean;
  word: boolean;
  /** Patterns of files, with commas between them. */
  include: string;
  exclude: string;
  ignored: boolean;
}

export interface Hit {
  /** From 1. */
  line: number;
  /** Columns in UTF-16 units, from 0. */
  start: number;
  end: number;
  /** The same in bytes of UTF-8, by which the server knows it. */
  bytes: [number, number];
  text: string;
}

export interface FoundLine {
  /** The part of the line that is shown, from its column `offset`. */
  text: string;
  offset: number;
  matches: Hit[];
}

export interface FoundFile {
  path: string;
  lines: FoundLine[];
}

interface Done {
  files: number;
  matches: number;
  truncated: boolean;
  reason: string;
}

type Message = ({ type: 'file' } & FoundFile) | ({ type: 'done' } & Done) | { type: 'error'; detail: string };

/** A line of the list as it is shown: a file, or a line of it. */
export type Row =
  | { kind: 'file'; file: FoundFile; count: number; open: boolean }
  | { kind: 'line'; file: FoundFile; line: FoundLine };

const NOTHING: Question = { query: '', regex: false, case: false, word: false, include: '', exclude: '', ignored: false };
const PAUSE = 250; // ms after the last letter
const TELL = 60; // ms between two looks at what came

export function patterns(text: string): string[] {
  return text.split(',').flatMap((part) => (part.trim() ? [part.trim()] : []));
}

export function countOf(file: FoundFile): number {
  return file.lines.reduce((sum, line) => sum + line.matches.length, 0);
}

export function rowsOf(files: readonly FoundFile[], closed: ReadonlySet<string>): Row[] {
  return files.flatMap((file): Row[] => {
    const open = !closed.has(file.path);
    const lines = open ? file.lines.map((line): Row => ({ kind: 'line', file, line })) : [];
    return [{ kind: 'file', file, count: countOf(file), open }, ...lines];
  });
}

/** A line in pieces: what matched in it, and what is between. */
export function piecesOf({ text, offset, matches }: FoundLine): { text: string; hit: boolean }[] {
  const pieces: { text: string; hit: boolean }[] = [];
  let at = 0;
  const add = (to: number, hit: boolean): void => {
    const end = Math.max(at, Math.min(text.length, to));
    if (end > at) pieces.push({ text: text.slice(at, end), hit });
    at = end;
  };
  for (const { start, end } of matches) {
    add(start - offset, false);
    add(end - offset, true);
  }
  add(text.length, false);
  return pieces;
}

export class Search {
  question = $state.raw<Question>(NOTHING);
  replacement = $state('');
  replacing = $state(false);
  files = $state.raw<readonly FoundFile[]>([]);
  closed = $state.raw<ReadonlySet<string>>(new Set());
  state = $state<'idle' | 'running' | 'done' | 'failed'>('idle');
  done = $state.raw<Done | null>(null);
  failure = $state('');
  readonly rows = $derived(rowsOf(this.files, this.closed));
  readonly count = $derived(this.files.reduce((sum, file) => sum + countOf(file), 0));
  readonly #key: string;
  #running: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly workspace: string) {
    this.#key = `search.${workspace}`;
    const { include, exclude, regex, ignored } = { ...NOTHING, ...remembered<Partial<Question>>(this.#key, {}) };
    this.question = { ...NOTHING, include, exclude, regex, ignored };
  }

  /** Another question: it is asked once nothing more is typed. */
  ask(change: Partial<Question>, pause = PAUSE): void {
    this.question = { ...this.question, ...change };
    remember(this.#key, this.question);
    this.cancel();
    clearTimeout(this.#timer);
    if (!this.question.query) {
      this.#clear();
      return;
    }
    this.#timer = setTimeout(() => void this.run(), pause);
  }

  /** Ends a search that runs; what was found stays. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
    if (this.state === 'running') this.state = 'done';
  }

  async run(): Promise<void> {
    this.cancel();
    if (!this.question.query) return;
    const running = new AbortController();
    this.#running = running;
    this.state = 'running';
    this.failure = '';
    this.done = null;
    const found: FoundFile[] = [];
    let shown = 0;
    const show = (): void => {
      this.files = [...found];
      shown = Date.now();
    };
    try {
      for await (const message of this.#messages(running.signal)) {
        if (this.#running !== running) return;
        if (message.type === 'file') {
          found.push({ path: message.path, lines: message.lines });
          if (Date.now() - shown > TELL) show();
        } else if (message.type === 'done') this.done = message;
        else this.failure = message.detail;
      }
      if (this.#running !== running) return;
      found.sort((a, b) => (a.path < b.path ? -1 : 1));
      show();
      this.state = this.failure ? 'failed' : 'done';
    } catch (error) {
      if (this.#running !== running) return;
      show();
      this.state = 'failed';
      this.failure = messageOf(error);
    } finally {
      if (this.#running === running) this.#running = null;
    }
  }

  toggle(path: string): void {
    const closed = new Set(this.closed);
    if (!closed.delete(path)) closed.add(path);
    this.closed = closed;
  }

  toggleAll(): void {
    this.closed = this.closed.size > 0 ? new Set() : new Set(this.files.map((file) => file.path));
  }

  /** Takes a line or a file out of what was found, so that it is not replaced. */
  dismiss(row: Row): void {
    this.files = this.files.flatMap((file) => {
      if (file !== row.file) return [file];
      if (row.kind === 'file') return [];
      const lines = file.lines.filter((line) => line !== row.line);
      return lines.length > 0 ? [{ ...file, lines }] : [];
    });
  }

  /** Replaces what is listed, or a part of it, as one edit. Raises ApiError. */
  async replace(rows: readonly Row[] | null = null): Promise<Edited> {
    const chosen = rows ?? this.files.map((file): Row => ({ kind: 'file', file, count: 0, open: false }));
    const only: Record<string, [number, number][]> = {};
    for (const row of chosen) {
      const lines = row.kind === 'file' ? row.file.lines : [row.line];
      const places = lines.flatMap(({ matches }) => matches.map(({ line, bytes }): [number, number] => [line, bytes[0]]));
      only[row.file.path] = [...(only[row.file.path] ?? []), ...places];
    }
    const { regex } = this.question;
    const replacement = regex ? this.replacement.replaceAll('\\n', '\n').replaceAll('\\t', '\t') : this.replacement;
    const body = { ...this.#body(), replacement, paths: Object.keys(only), only };
    const edited = await request<Edited>('POST', workspaceUrl(this.workspace, '/replace'), body);
    void this.run();
    return edited;
  }

  #clear(): void {
    this.files = [];
    this.done = null;
    this.failure = '';
    this.state = 'idle';
  }

  #body(): object {
    const { query, regex, word, include, exclude, ignored } = this.question;
    return { query, regex, word, case: this.question.case, ignored, include: patterns(include), exclude: patterns(exclude) };
  }

  async *#messages(signal: AbortSignal): AsyncGenerator<Message> {
    const response = await send(workspaceUrl(this.workspace, '/search'), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(this.#body()),
      signal,
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (!reader) return;
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line) yield JSON.parse(line) as Message;
    }
  }
}
