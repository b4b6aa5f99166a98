/** The parts of the page that can be shown and hidden: their names, signs and keys, once. */
import type { IconName } from '../shell/Icon.svelte';
import type { View } from './layout.svelte';

export interface ViewInfo {
  view: View;
  title: string;
  icon: IconName;
  keys: string;
}

export const VIEWS: readonly ViewInfo[] = [
  { view: 'files', title: 'Files', icon: 'files', keys: 'Mod+Shift+E' },
  { view: 'search', title: 'Search', icon: 'search', keys: 'Mod+Shift+F' },
  { view: 'git', title: 'Git', icon: 'git', keys: 'Alt+G' },
  { view: 'together', title: 'Together', icon: 'users', keys: 'Alt+C' },
  { view: 'terminals', title: 'Terminals', icon: 'terminal', keys: 'Ctrl+`' },
  { view: 'tasks', title: 'Tasks', icon: 'play', keys: 'Alt+T' },
  { view: 'problems', title: 'Problems', icon: 'error', keys: 'Alt+M' },
  { view: 'ports', title: 'Ports', icon: 'link', keys: 'Alt+P' },
  { view: 'resources', title: 'Resources', icon: 'pulse', keys: 'Alt+R' },
];

export function infoOf(view: View): ViewInfo {
  const info = VIEWS.find((each) => each.view === view);
  if (!info) throw new Error(`No such view: ${view}`);
  return info;
}
