interface Window {
  /** A stable, read-only scripting hook; there while a workspace is open. */
  cloudide?: {
    /** The text of an open document as this page holds it. Raises when `path` is not open. */
    text(path: string): string;
  };
}
