"""The latest diagnostics of one server: kept for who comes later, and moving with the text.

Those of a server that only answers (pull diagnostics, LSP 3.17) are asked for here, once for all
editors, shortly after something has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cloudide.languages.answers import Shift, related_inside
from cloudide.languages.synchronization import Synchronization
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import Malformed

FILES = 5000
FILE_BYTES, ALL_BYTES = 2 * 1024 * 1024, 32 * 1024 * 1024  # more is not kept
PULL_SECONDS = 0.25  # after the last change
RETRY_SECONDS = 1.0  # after a server had something better to do
MOVE_SECONDS = 0.5  # after which diagnostics that moved with the text are sent once more

_NONSENSE = (Malformed, AttributeError, KeyError, TypeError, ValueError, RecursionError)

Json = dict[str, Any]


class _Kept(msgspec.Struct):
    """`items`: the JSON of a list, as it stood at `stamp`."""

    items: bytes
    stamp: int


class _Published(msgspec.Struct):
    uri: str
    diagnostics: msgspec.Raw
    version: int | None = None


class _Report(msgspec.Struct):
    kind: str
    items: msgspec.Raw = jsonrpc.ABSENT
    resultId: str | None = None


class _Pull(msgspec.Struct):
    """The last result of a document, and when to ask again."""

    result: str | None = None
    due: float | None = None
    asked: bool = False


class Diagnostics:
    """`tell(path)` is called when those of a file have changed."""

    def __init__(
        self, root: Root, synchronization: Synchronization, tell: Callable[[str], None]
    ) -> None:
        self._root = root
        self._synchronization = synchronization
        self._tell = tell
        self._published: dict[str, _Kept] = {}  # by path
        self._pulled: dict[str, _Kept] = {}
        self._pulls: dict[str, _Pull] = {}
        self._size = 0  # bytes of all that is kept
        self._moving: dict[str, float] = {}  # when those that moved are to be told

    @property
    def paths(self) -> set[str]:
        return {*self._published, *self._pulled}

    def of(self, path: str, stamp: int) -> bytes:
        """The JSON of a file's diagnostics, without the brackets of the list.

        Their places are those in the newest text, which is that at `stamp`.
        """
        lists: list[bytes] = []
        for source in (self._published, self._pulled):
            if kept := source.get(path):
                self._take_along(path, kept, stamp)
                if inner := kept.items.strip()[1:-1].strip():
                    lists.append(inner)
        return b",".join(lists)

    def published(self, params: msgspec.Raw, stamp: int) -> None:
        """Take a `textDocument/publishDiagnostics`. What is outside the workspace is dropped.

        Raises:
            msgspec.DecodeError: it is none.
        """
        told = msgspec.json.decode(params, type=_Published)
        path = self._root.path(told.uri)
        items = bytes(told.diagnostics)
        if path and items.lstrip().startswith(b"["):
            known = self._synchronization.told(path)
            known = stamp if known is None else known
            if told.version is not None:
                known = min(told.version, known)
            self._keep(self._published, path, items, known)

    def moved(self, path: str, now: float) -> None:
        """The text of a file has changed."""
        if path in self._published or path in self._pulled:
            self._moving.setdefault(path, now + MOVE_SECONDS)

    def close(self, path: str) -> None:
        """What was pulled goes with the document; what a server publishes is its own matter."""
        self._pulls.pop(path, None)
        if self._drop(self._pulled, path):
            self._told(path)

    def clear(self) -> None:
        paths = self.paths
        self._published.clear()
        self._pulled.clear()
        self._size = 0
        for path in paths:
            self._told(path)

    def tick(self, now: float) -> None:
        for path in [path for path, due in self._moving.items() if due <= now]:
            self._told(path)

    # ── pulling ─────────────────────────────────────────────────────────────────────────────────

    def pull_soon(self, now: float) -> None:
        """Ask for those of all documents shortly: each may depend on the one that has changed."""
        for path in self._synchronization.documents:
            self._pulls.setdefault(path, _Pull()).due = now + PULL_SECONDS

    def due(self, now: float) -> list[str]:
        """The documents to ask about."""
        return [
            path
            for path, pull in self._pulls.items()
            if pull.due is not None and pull.due <= now and not pull.asked
        ]

    def question(self, path: str) -> Json:
        """The parameters of a `textDocument/diagnostic`, which is then under way."""
        pull = self._pulls[path]
        pull.due, pull.asked = None, True
        params: Json = {"textDocument": {"uri": self._root.uri_of(path)}}
        if pull.result is not None:
            params["previousResultId"] = pull.result
        return params

    def answered(self, path: str, report: bytes, stamp: int) -> None:
        """Take the answer to a question that was asked at `stamp`.

        Raises:
            msgspec.DecodeError: it is none.
        """
        if pull := self._pulls.get(path):
            pull.asked = False
            found = msgspec.json.decode(report, type=_Report)
            pull.result = found.resultId
            if found.kind == "full" and bytes(found.items):
                self._keep(self._pulled, path, bytes(found.items), stamp)

    def refused(self, path: str, now: float, *, again: bool) -> None:
        """The server did not answer a question."""
        if pull := self._pulls.get(path):
            pull.asked = False
            if again and pull.due is None:
                pull.due = now + RETRY_SECONDS

    # ── what is kept ────────────────────────────────────────────────────────────────────────────

    def _keep(self, source: dict[str, _Kept], path: str, items: bytes, stamp: int) -> None:
        if b'"relatedInformation"' in items:
            items = self._related_inside(items)
        if items.strip() == b"[]":
            if not self._drop(source, path):
                return
        elif path in source or len(source) < FILES:
            self._drop(source, path)
            if len(items) > FILE_BYTES or self._size + len(items) > ALL_BYTES:
                items = b"[]"
            source[path] = _Kept(items, stamp)
            self._size += len(items)
        self._told(path)

    def _related_inside(self, items: bytes) -> bytes:
        try:
            return jsonrpc.dumps(related_inside(jsonrpc.loads(items), self._root))
        except _NONSENSE:
            return b"[]"

    def _drop(self, source: dict[str, _Kept], path: str) -> bool:
        """Forget those of a file; whether there were any."""
        kept = source.pop(path, None)
        if kept is not None:
            self._size -= len(kept.items)
        return kept is not None

    def _told(self, path: str) -> None:
        self._moving.pop(path, None)
        self._tell(path)

    def _take_along(self, path: str, kept: _Kept, stamp: int) -> None:
        since, kept.stamp = kept.stamp, stamp
        if not self._synchronization.has_moved(path, since):
            return
        changes = self._synchronization.changes_since(since)
        shift = Shift(changes, self._synchronization.encoding)
        try:
            items = shift.body(jsonrpc.loads(kept.items), self._root.uri_of(path))
            moved = jsonrpc.dumps(items)
        except _NONSENSE:
            moved = b"[]"
        self._size += len(moved) - len(kept.items)
        kept.items = moved
