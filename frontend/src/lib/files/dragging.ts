/** Files that are dragged from one part of the page to another. */

const TYPE = 'application/x-cloudide-paths';
/** The browser tells what is dragged only when it is dropped; within a page it may be remembered. */
let dragged: readonly string[] = [];

export function dragPath(event: DragEvent, paths: readonly string[]): void {
  if (!event.dataTransfer) return;
  dragged = paths;
  event.dataTransfer.setData(TYPE, JSON.stringify(paths));
  event.dataTransfer.setData('text/plain', paths.join('\n'));
  event.dataTransfer.effectAllowed = 'copyMove';
}

/** What is dragged over here, if it is files of this page. */
export function draggedPaths(event: DragEvent): readonly string[] {
  return event.dataTransfer?.types.includes(TYPE) ? dragged : [];
}

/** The one file that is dragged. */
export function draggedPath(event: DragEvent): string | null {
  const paths = draggedPaths(event);
  return paths.length === 1 ? (paths[0] ?? null) : null;
}

/** Whether files come from outside of the browser. */
export function bringsFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') ?? false;
}
