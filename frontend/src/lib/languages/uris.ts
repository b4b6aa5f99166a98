/** Documents' addresses: `file:` URIs below the workspace's folder, and paths in it. */

/** The URI of a path; `root` is that of the workspace's folder. */
export function uriOf(root: string, path: string): string {
  return `${root}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** The path of a document, or null when it lies outside of the workspace. */
export function pathOf(root: string, uri: string): string | null {
  const folder = decoded(root);
  const file = decoded(uri);
  if (folder === null || file === null || !file.startsWith(`${folder}/`)) return null;
  return file.slice(folder.length + 1);
}

function decoded(uri: string): string | null {
  try {
    return decodeURIComponent(uri);
  } catch {
    return null;
  }
}
