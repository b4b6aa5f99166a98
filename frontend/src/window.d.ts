/// <reference types="trusted-types" />
interface Window {
  /** A stable, read-only scripting hook; there while a workspace is open. */
  cloudide?: {
    /** The text of an open document as this page holds it; undefined while there is none. */
    text(path: string): string | undefined;
  };
}
