"""What is done to the bodies of answers: their places taken along, and those outside left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from cloudide.languages.lines import Change, Encoding
from cloudide.languages.positions import Pair, back, forward, range_back, range_forward
from cloudide.languages.uris import Root

Json = dict[str, Any]
ChangesOf = Callable[[str], Sequence[Change]]


class Shift:
    """Takes the places in a body through the changes of the documents that they are in.

    `changes_of(uri)` are those of one document; `backwards`: from after them to before.
    """

    def __init__(
        self, changes_of: ChangesOf, encoding: Encoding, *, backwards: bool = False
    ) -> None:
        self._changes_of = changes_of
        self._encoding: Encoding = encoding
        self._position = back if backwards else forward
        self._range = range_back if backwards else range_forward

    def body(self, value: Any, uri: str) -> Any:
        """A body whose places are in the document `uri` where they name no other.

        Raises:
            ValueError, TypeError: a position is none.
        """
        if isinstance(value, list):
            return [self.body(each, uri) for each in value]  # pyright: ignore[reportUnknownVariableType]
        if not _is_object(value):
            return value
        if "start" in value and "end" in value and _is_object(value["start"]):
            return self._of_range(value, uri)
        if "line" in value and "character" in value:
            return {**value, **self._of_position(value, uri)}
        own = _uri_of(value) or uri
        shifted: Json = {}
        for name, each in value.items():
            if name == "changes" and _is_object(each):
                shifted[name] = {key: self.body(edits, key) for key, edits in each.items()}
            elif name == "originSelectionRange":
                shifted[name] = self.body(each, uri)
            elif isinstance(each, dict | list) and name != "data":
                shifted[name] = self.body(each, own)
            else:
                shifted[name] = each
        return shifted

    def _of_range(self, value: Json, uri: str) -> Json:
        changes = self._changes_of(uri)
        if not changes:
            return value
        start, end = self._range(
            _pair(value["start"]), _pair(value["end"]), changes, self._encoding
        )
        return {**value, "start": _position(start), "end": _position(end)}

    def _of_position(self, value: Json, uri: str) -> Json:
        changes = self._changes_of(uri)
        return _position(self._position(_pair(value), changes, self._encoding)) if changes else {}


def inside(value: Any, root: Root) -> Any:
    """A list of places (or one) without those that are not in the workspace."""
    if isinstance(value, list):
        kept = [inside(each, root) for each in value]  # pyright: ignore[reportUnknownVariableType]
        return [each for each in kept if each is not None]
    if not _is_object(value):
        return value
    for name in ("location", "from", "to"):
        if _is_object(inner := value.get(name)) and inside(inner, root) is None:
            return None
    uri = value.get("targetUri") or value.get("uri") or value.get("target")
    if isinstance(uri, str) and uri.startswith("file:") and root.path(uri) is None:
        return None
    return value


def edited_outside(edit: Any, root: Root) -> str:
    """A document that an edit would change and that is not in the workspace; "" if none is."""
    return next((uri for uri in sorted(uris_in(edit)) if not root.path(uri)), "")


def related_inside(diagnostics: Any, root: Root) -> Any:
    """Diagnostics without the related places that are not in the workspace."""
    for each in diagnostics:
        if related := each.get("relatedInformation"):
            each["relatedInformation"] = inside(related, root)
    return diagnostics


def uris_in(value: Any) -> set[str]:
    """The documents that a body of edits names."""
    if isinstance(value, list):
        return {uri for each in value for uri in uris_in(each)}  # pyright: ignore[reportUnknownVariableType]
    if not _is_object(value):
        return set()
    found: set[str] = set()
    for name, each in value.items():
        if name == "changes" and _is_object(each):
            found |= {*each}
        elif name in ("uri", "oldUri", "newUri") and isinstance(each, str):
            found.add(each)
        else:
            found |= uris_in(each)
    return found


def _uri_of(value: Json) -> str | None:
    document = value.get("textDocument")
    named: Any = document if _is_object(document) else value
    uri = named.get("targetUri") or named.get("uri")
    return uri if isinstance(uri, str) else None


def _pair(value: Json) -> Pair:
    line, column = value["line"], value["character"]
    if type(line) is not int or type(column) is not int:
        raise TypeError("a position is two numbers")
    return line, column


def _position(pair: Pair) -> Json:
    return {"line": pair[0], "character": pair[1]}


def _is_object(value: object) -> TypeGuard[Json]:
    return isinstance(value, dict)
