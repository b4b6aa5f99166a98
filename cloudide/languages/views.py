"""The documents that one editor has open: as it names them, and which text of each it has.

An editor that joins the rooms has the newest text. Any other has the one that it opened or sent
last, if that is one that the document had: its positions are taken forward to the newest text, and
those in what it is answered back to its own.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from cloudide.errors import Denied
from cloudide.languages import capabilities
from cloudide.languages.answers import Shift
from cloudide.languages.documents import Document
from cloudide.languages.lines import Change, Encoding
from cloudide.languages.methods import WRITING
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import NULL, Malformed

DOCUMENTS = 500  # that one editor has open
KNOWN = 16  # versions that an editor's text is compared with

Json = dict[str, Any]


class Documents(Protocol):
    root: Root

    async def open(self, path: str) -> Document:
        """The document of a file, until `close`.

        Raises:
            CloudIDEError: there is none.
        """
        ...

    def close(self, path: str) -> None: ...

    def document(self, path: str) -> Document | None: ...


class Item(msgspec.Struct):
    uri: str = ""
    version: int = 0
    text: str | None = None


class _Change(msgspec.Struct):
    text: str = ""
    range: msgspec.Raw = jsonrpc.ABSENT


class Changed(msgspec.Struct):
    textDocument: Item
    contentChanges: list[_Change] = []


class Opened(msgspec.Struct):
    """A document that the editor has opened `count` times, as it names it."""

    uri: str
    version: int
    count: int = 1
    base: int | None = None  # the stamp of the text that the editor has, if that is known


class View:
    """`native`: the editor joins the rooms."""

    def __init__(self, documents: Documents) -> None:
        self.opened: dict[str, Opened] = {}  # by path
        self.capabilities: Json = {}
        self.native = False
        self._documents = documents
        self._root = documents.root

    async def open(self, path: str, item: Item) -> None:
        """Raises: CloudIDEError: there is no such file, or too many are open."""
        if opened := self.opened.get(path):
            opened.count += 1
            return
        if len(self.opened) >= DOCUMENTS:
            raise Denied("You have too many files open; this one is shown without its language.")
        self.opened[path] = Opened(item.uri, item.version)
        try:
            await self._documents.open(path)
        except BaseException:
            # Also when the editor goes meanwhile: what it does not have is not closed for it.
            self.opened.pop(path, None)
            raise
        self._has(path, item.text)

    def change(self, changed: Changed) -> None:
        """The editor has another text. Only a whole one says which."""
        path = self._root.path(changed.textDocument.uri) or ""
        if (opened := self.opened.get(path)) is None:
            return
        opened.version = changed.textDocument.version
        if changed.contentChanges and not bytes(changed.contentChanges[-1].range):
            self._has(path, changed.contentChanges[-1].text)

    def close(self, item: Item | None) -> None:
        path = self._root.path(item.uri) if item is not None else None
        opened = self.opened.get(path or "")
        if path is None or opened is None:
            return
        opened.count -= 1
        if not opened.count:
            del self.opened[path]
            self._documents.close(path)

    def close_all(self) -> None:
        opened, self.opened = self.opened, {}
        for path in opened:
            self._documents.close(path)

    def _has(self, path: str, text: str | None) -> None:
        """The editor shows which text of a document it has."""
        opened, document = self.opened.get(path), self._documents.document(path)
        if text is None or opened is None or document is None:
            return
        for version, _ in zip(reversed(document.versions), range(KNOWN), strict=False):
            if str(version.text) == text:
                opened.base = version.number
                return

    # ── from the editor ─────────────────────────────────────────────────────────────────────────

    def brought_up(self, path: str, params: bytes, uri: str, encoding: Encoding) -> bytes:
        """The parameters of a request about `uri`, for the newest text.

        Raises:
            Malformed, TypeError, ValueError: they are none.
        """
        document = self._documents.document(path)
        if document is None:
            return params
        changes = self._missed(path)
        if not changes and uri == document.uri:
            return params
        value: Any = jsonrpc.loads(params)
        if changes:
            value = Shift(lambda _: changes, encoding).body(value, document.uri)
        # Some servers take another spelling of an address for another file.
        for name in ("textDocument", "item"):
            if name in value:
                value[name]["uri"] = document.uri
        return jsonrpc.dumps(value)

    # ── to the editor ───────────────────────────────────────────────────────────────────────────

    def fitted(self, method: str, path: str | None, result: bytes, encoding: Encoding) -> bytes:
        """A result in the words that this editor understands, for the text that it has.

        Raises:
            Malformed, TypeError, KeyError, ValueError, AttributeError: it is none, or asks for what
                the editor cannot do.
        """
        missed = bool(path and self._missed(path))
        links = self._takes_no_links(method)
        # Others hold none, and may be long.
        edits = method in WRITING and b'"documentChanges"' in result
        if result == NULL or not (missed or links or edits):
            return result
        value: Any = jsonrpc.loads(result)
        if links:
            value = _locations(value)
        if edits:
            value = self._edits(value)
        if missed:
            shift = Shift(self._missed_of, encoding, backwards=True)
            value = shift.body(value, self._root.uri_of(path or ""))
        return jsonrpc.dumps(value)

    def diagnostics(self, path: str, items: bytes, encoding: Encoding) -> bytes:
        """The parameters of a `publishDiagnostics` with the JSON of a list."""
        opened = self.opened.get(path)
        uri = jsonrpc.dumps(opened.uri if opened else self._root.uri_of(path))
        if missed := self._missed(path):
            shift = Shift(lambda _: missed, encoding, backwards=True)
            try:
                items = jsonrpc.dumps(shift.body(jsonrpc.loads(items), ""))
            except (Malformed, KeyError, TypeError, ValueError, RecursionError):
                items = b"[]"
        version = b',"version":%d' % opened.version if opened else b""
        return b'{"uri":%b%b,"diagnostics":%b}' % (uri, version, items)

    # ── what that takes ─────────────────────────────────────────────────────────────────────────

    def _missed(self, path: str) -> list[Change]:
        """The changes that the editor's text does not have."""
        opened, document = self.opened.get(path), self._documents.document(path)
        if self.native or opened is None or document is None or opened.base is None:
            return []
        return document.since(opened.base) or []

    def _missed_of(self, uri: str) -> list[Change]:
        return self._missed(self._root.path(uri) or "")

    def _takes_no_links(self, method: str) -> bool:
        """Whether an answer of links is to be made one of locations."""
        group, _, name = method.partition("/")
        if name not in ("declaration", "definition", "typeDefinition", "implementation"):
            return False
        return not capabilities.declared(self.capabilities, group, name, "linkSupport")

    def _edits(self, value: Any) -> Any:
        """Edits of documents, wherever they are in a body, as this editor takes them."""
        if isinstance(value, list):
            return [self._edits(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, dict):
            return value
        body: Json = value
        if "documentChanges" in body:
            return self._document_changes(body)
        return {name: self._edits(each) for name, each in body.items()}

    def _document_changes(self, edit: Json) -> Json:
        support = capabilities.declared(self.capabilities, "workspace", "workspaceEdit") or {}
        operations: list[Json] = edit["documentChanges"]
        if support.get("documentChanges"):
            for each in operations:
                if "textDocument" in each:
                    opened = self.opened.get(self._root.path(each["textDocument"]["uri"]) or "")
                    each["textDocument"]["version"] = opened.version if opened else None
            return edit
        if any("kind" in each for each in operations):
            raise ValueError("The edit creates, renames or deletes files.")
        changes: dict[str, list[Any]] = {}
        for each in operations:
            changes.setdefault(each["textDocument"]["uri"], []).extend(each["edits"])
        rest = {name: value for name, value in edit.items() if name != "documentChanges"}
        return {**rest, "changes": changes}


def _locations(value: Any) -> Any:
    """Links to places as plain locations."""
    if not isinstance(value, list):
        return value
    links: list[Any] = value
    return [
        {"uri": each["targetUri"], "range": each["targetSelectionRange"]}
        if isinstance(each, dict) and "targetUri" in each
        else each
        for each in links
    ]
