/** Moving and deleting files, with what is open going along, and a way back. */
import type { Documents } from '../editor/documents.svelte';
import { request, workspaceUrl } from '../session/api';
import { toasts } from '../shell/toasts.svelte';
import { baseName, isWithin, join, parentOf } from './paths';
import { topmost } from './selection';
import type { FileTree } from './tree.svelte';

const SETTLE = 4000; // ms for what was typed to reach the server

/** Those that can go into a folder: not into themselves, and not where they are. */
export function movable(paths: readonly string[], folder: string): string[] {
  return topmost(paths).filter((path) => parentOf(path) !== folder && !isWithin(folder, path));
}

export async function move(tree: FileTree, documents: Documents, from: string, to: string): Promise<void> {
  // What was typed must be on the server before the file moves from under the document.
  if (!(await documents.settled(from, SETTLE))) throw new Error('some edits are not saved yet. Try again once they are.');
  await tree.move(from, to);
  documents.moved(from, to);
}

/** Moves files into a folder; says what was done, with a way back. */
export async function moveInto(tree: FileTree, documents: Documents, paths: readonly string[], folder: string): Promise<void> {
  const moved: [string, string][] = [];
  try {
    for (const path of movable(paths, folder)) {
      const to = join(folder, baseName(path));
      await move(tree, documents, path, to);
      moved.push([path, to]);
    }
  } catch (error) {
    toasts.error(error, 'Not moved');
  }
  const [first] = moved;
  if (!first) return;
  const what = moved.length === 1 ? `“${baseName(first[0])}”` : `${moved.length} entries`;
  toasts.info(`${what} moved to ${folder ? `“${folder}”` : 'the top'}.`, { label: 'Undo', run: () => void back(tree, documents, moved) });
}

async function back(tree: FileTree, documents: Documents, moved: readonly [string, string][]): Promise<void> {
  try {
    for (const [from, to] of [...moved].reverse()) await move(tree, documents, to, from);
  } catch (error) {
    toasts.error(error, 'Not moved back');
  }
}

/** Deletes files and folders; what was not too large can be taken back for some minutes. */
export async function remove(tree: FileTree, documents: Documents, paths: readonly string[]): Promise<void> {
  const kept: string[] = [];
  let gone = 0;
  let last = '';
  try {
    for (const path of topmost(paths)) {
      const entry = tree.entry(path);
      if (!entry) continue;
      await documents.settled(path, SETTLE);
      const deleted = await tree.remove(entry);
      documents.deleted(path);
      gone += 1;
      last = path;
      if (deleted) kept.push(deleted);
    }
  } catch (error) {
    toasts.error(error, 'Not deleted');
  }
  if (gone === 0) return;
  const what = gone === 1 ? `“${baseName(last)}”` : `${gone} entries`;
  if (kept.length === 0) toasts.info(`${what} deleted. It was too large to keep for an undo.`);
  else toasts.info(`${what} deleted.`, { label: 'Undo', run: () => void restore(tree, kept) });
}

async function restore(tree: FileTree, kept: readonly string[]): Promise<void> {
  try {
    for (const deleted of [...kept].reverse()) {
      const { path } = await request<{ path: string }>('POST', workspaceUrl(tree.workspace, `/deleted/${encodeURIComponent(deleted)}/restore`));
      await tree.listAgain(parentOf(path));
    }
  } catch (error) {
    toasts.error(error, 'Not restored');
  }
}
