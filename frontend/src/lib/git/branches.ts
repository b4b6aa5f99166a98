/** What there is to choose from when somebody goes to a branch. */
import type { GitBranch, Person } from '../protocol';
import { match } from '../workspace/fuzzy';

/** A branch that there is, or the name of one to be made. */
export interface Choice {
  branch: GitBranch | null;
  create: string;
}

/** git-check-ref-format(1), as far as people run into it; Git itself has the last word. */
const NAME = /^(?!-)(?!.*(\.\.|\/\/|@\{|\.lock$))[^\s~^:?*[\\\x00-\x20\x7f]{1,250}$/;

export function isBranchName(name: string): boolean {
  return NAME.test(name) && !/[/.]$/.test(name);
}

/** What a branch is called here: a remote one without its remote. */
export function localName({ name, remote }: GitBranch): string {
  return remote ? name.slice(name.indexOf('/') + 1) : name;
}

/**
 * Branches that fit what is typed, local ones first; where none has just this name, one can be made.
 * The one that is checked out is no choice, and a remote one that is here already neither.
 */
export function choicesOf(branches: readonly GitBranch[], query: string): Choice[] {
  const words = query.trim();
  const here = new Set(branches.filter(({ remote }) => !remote).map(({ name }) => name));
  const offered = branches.filter((branch) => !branch.current && !(branch.remote && here.has(localName(branch))));
  const found = words
    ? offered
        .flatMap((branch) => ({ branch, score: match(branch.name, words)?.score ?? null }))
        .filter(({ score }) => score !== null)
        .sort((a, b) => (b.score ?? 0) - (a.score ?? 0))
        .map(({ branch }) => branch)
    : [...offered].sort((a, b) => Number(a.remote) - Number(b.remote));
  const choices: Choice[] = found.slice(0, 200).map((branch) => ({ branch, create: '' }));
  const name = words.replaceAll(' ', '-');
  if (isBranchName(name) && !here.has(name)) choices.push({ branch: null, create: name });
  return choices;
}

/** What is asked before everybody's files become those of another branch. */
export function warningOf(people: readonly Pick<Person, 'name' | 'path'>[]): string {
  const names = people.slice(0, 3).map(({ name }) => name);
  const rest = people.length - names.length;
  const who = rest > 0 ? `${names.join(', ')} and ${rest} more are` : `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'}`;
  const open = [...new Set(people.flatMap(({ path }) => (path ? [path] : [])))];
  const files = open.length > 0 ? ` Open now: ${open.slice(0, 3).join(', ')}${open.length > 3 ? '…' : ''}.` : '';
  return `${who} here, too. What everybody has typed is written first, and all go along: the files in every editor become those of the branch. Git refuses if changes that are not committed would be lost.${files}`;
}
