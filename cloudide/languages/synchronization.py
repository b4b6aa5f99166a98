"""What one server is told of documents: opened once, every version in one notification, closed.

A version that a server cannot be told yet, because its process takes nothing, waits in the
document; later all of them go in one notification, or as a whole text when they are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudide.languages import capabilities
from cloudide.languages.documents import Document
from cloudide.languages.lines import Change, Encoding, Position
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc

CHANGES = 1000  # in one notification; more are told as a whole text
INCREMENTAL = 2  # TextDocumentSyncKind

Json = dict[str, Any]


class Synchronization:
    """`send` takes messages to the server; `full`: it is told whole texts only.

    Nothing is told before `begin`, which says how the server wants to be told.
    """

    def __init__(self, root: Root, send: Callable[[bytes], None], *, full: bool) -> None:
        self.documents: dict[str, Document] = {}  # by path
        self.encoding: Encoding = "utf-16"
        self._root = root
        self._send = send
        self._full = full
        self._how: Any = None
        self._told: dict[str, int] = {}  # the version that the server has of each

    def begin(self, how: Any, encoding: Encoding) -> None:
        """`how`: the server's `textDocumentSync`."""
        self._how, self.encoding = how, encoding
        for document in self.documents.values():
            self._open(document)

    def open(self, document: Document) -> None:
        self.documents[document.path] = document
        self._open(document)

    def close(self, path: str) -> Document | None:
        document = self.documents.pop(path, None)
        if document is not None and self._told.pop(path, None) is not None:
            params = jsonrpc.dumps({"textDocument": {"uri": document.uri}})
            self._send(jsonrpc.notification("textDocument/didClose", params))
        return document

    def flush(self, document: Document) -> None:
        """Tell the server of all that has changed in a document."""
        told = self._told.get(document.path)
        if told is None or told == document.version:
            return
        changes = document.since(told)
        if (
            changes is None
            or len(changes) > CHANGES
            or self._full
            or document.irregular
            or self._member("change") != INCREMENTAL
        ):
            content: list[Json] = [{"text": str(document)}]
        else:
            content = [self._content(change) for change in changes]
        self._told[document.path] = document.version
        item = {"uri": document.uri, "version": document.version}
        params = jsonrpc.dumps({"textDocument": item, "contentChanges": content})
        self._send(jsonrpc.notification("textDocument/didChange", params))

    def saved(self, path: str) -> None:
        """A document was written to its file: tell a server that wants to know."""
        document, saving = self.documents.get(path), self._member("save")
        if document is None or path not in self._told or saving in (None, False):
            return
        self.flush(document)
        params: Json = {"textDocument": {"uri": document.uri}}
        if capabilities.declared({"save": saving}, "save", "includeText"):
            params["text"] = str(document)
        self._send(jsonrpc.notification("textDocument/didSave", jsonrpc.dumps(params)))

    def told(self, path: str) -> int | None:
        """The version that the server has of a document."""
        return self._told.get(path)

    def changes_since(self, stamp: int) -> Callable[[str], list[Change]]:
        """A function from a document's URI to what has changed in it since."""

        def changes_of(uri: str) -> list[Change]:
            document = self.documents.get(self._root.path(uri) or "")
            return (document.since(stamp) or []) if document else []

        return changes_of

    def has_moved(self, path: str | None, stamp: int) -> bool:
        """Whether a document has changed since."""
        document = self.documents.get(path or "")
        return document is not None and document.version > stamp

    def _open(self, document: Document) -> None:
        if not (self._member("openClose") or self._member("change")):
            return
        self._told[document.path] = document.version
        item = {
            "uri": document.uri,
            "languageId": document.language,
            "version": document.version,
            "text": str(document),
        }
        self._send(
            jsonrpc.notification("textDocument/didOpen", jsonrpc.dumps({"textDocument": item}))
        )

    def _content(self, change: Change) -> Json:
        return {
            "range": {"start": self._position(change.start), "end": self._position(change.end)},
            "text": change.text,
        }

    def _position(self, position: Position) -> Json:
        return {"line": position.line, "character": position.column(self.encoding)}

    def _member(self, name: str) -> Any:
        """A member of `textDocumentSync`, which may be a number alone (TextDocumentSyncKind)."""
        if isinstance(self._how, int):
            return {"change": self._how, "openClose": self._how > 0}.get(name)
        return capabilities.declared({"how": self._how}, "how", name)
