"""Documents' addresses: `file:` URIs of the workspace's folder, and paths in it.

Nothing else is let through, whoever names it: an address outside the workspace is refused when an
editor sends it and left out when a language server does.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

_PREFIXES = ("file:///", "file://localhost/")
_UNQUOTED = "/-._~"  # RFC 3986 section 2.3, beside letters and digits


class Root:
    """The workspace's folder, an absolute path where its programs run."""

    def __init__(self, folder: str) -> None:
        self.folder = "/" + folder.strip("/")
        self.uri = uri_of(self.folder)
        self._below = self.folder.rstrip("/") + "/"

    @property
    def workspace_folder(self) -> dict[str, str]:
        """It as LSP's `WorkspaceFolder`."""
        return {"uri": self.uri, "name": self.folder.rpartition("/")[2] or "/"}

    def path(self, uri: str) -> str | None:
        """The path below the folder, "" for itself; None of what is not in it."""
        path = _path(uri)
        if path is None:
            return None
        if path == self.folder:
            return ""
        return path[len(self._below) :] if path.startswith(self._below) else None

    def uri_of(self, path: str) -> str:
        return uri_of(self._below + path if path else self.folder)


def uri_of(path: str) -> str:
    """The URI of an absolute path (RFC 8089)."""
    return "file://" + quote(path, safe=_UNQUOTED)


@lru_cache(maxsize=4096)
def _path(uri: str) -> str | None:
    """The absolute path of a `file:` URI; None of any other, and of one that climbs."""
    prefix = next((each for each in _PREFIXES if uri.lower().startswith(each)), None)
    if prefix is None or "?" in uri or "#" in uri:
        return None
    try:
        path = "/" + unquote_to_bytes(uri[len(prefix) :]).decode()
    except UnicodeError:
        return None
    if "\0" in path or any(part in (".", "..", "") for part in path[1:].rstrip("/").split("/")):
        return None
    return path.rstrip("/") or "/"
