"""A `WorkspaceEdit` (LSP 3.17), read and checked as a whole before anything is done.

It becomes a `Plan`: what each file's text becomes, and which files come, go and are renamed, in
order. Text edits name a file as it is called at their place in that order; in the plan they belong
to the file as it is called now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from cloudide.errors import InvalidInput, TooLarge
from cloudide.languages.lines import Encoding, Lines
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc

FILES = 1000  # in one edit
EDITS = 100_000
TEXT = 16 * 1024 * 1024  # characters of new text

Json = dict[str, Any]
Splice = tuple[int, int, str]  # replace bytes start:end


class _Position(msgspec.Struct):
    line: int
    character: int


class _Range(msgspec.Struct):
    start: _Position
    end: _Position


class TextEdit(msgspec.Struct):
    range: _Range
    newText: str


class Replacement(msgspec.Struct, frozen=True):
    """`text` in place of the bytes `start:end` of a line (from 0), which begin with
    `instead_of`."""

    line: int
    start: int
    end: int
    text: str
    instead_of: str


class Create(msgspec.Struct, frozen=True):
    """`text` is what later edits of the same plan put into it."""

    path: str
    text: str = ""


class Rename(msgspec.Struct, frozen=True):
    source: str
    target: str


class Delete(msgspec.Struct, frozen=True):
    path: str


Operation = Create | Rename | Delete


class Plan(msgspec.Struct):
    """`texts`: batches of edits for files that are there, each for what the one before made."""

    texts: dict[str, list[list[TextEdit]]]
    operations: list[Operation]
    edits: int = 0

    @property
    def files(self) -> list[str]:
        """All files that it touches, as they are called afterwards."""
        names = {path: path for path in self.texts}
        for each in self.operations:
            match each:
                case Create(path) | Delete(path):
                    names[path] = path
                case Rename(source, target):
                    names[source] = target
        return sorted({*names.values()})


_edits = msgspec.json.Decoder(list[TextEdit])


def read(edit: Json, root: Root, encoding: Encoding) -> Plan:
    """Read an edit.

    Raises:
        InvalidInput: it is none, or reaches outside the workspace. TooLarge: it is too much.
    """
    try:
        if edit.get("documentChanges") is not None:
            steps: list[Json] = [*edit["documentChanges"]]
        else:
            steps = [
                {"textDocument": {"uri": uri}, "edits": edits}
                for uri, edits in (edit.get("changes") or {}).items()
            ]
        return _Reading(root, encoding).read(steps)
    except (TypeError, KeyError, AttributeError, msgspec.DecodeError) as error:
        raise InvalidInput("The edit is not one that LSP knows; nothing was changed.") from error


class _Reading:
    def __init__(self, root: Root, encoding: Encoding) -> None:
        self._root = root
        self._encoding: Encoding = encoding
        self._plan = Plan({}, [])
        self._names: dict[str, str] = {}  # from a name at this place of the order to that of now
        self._gone: set[str] = set()
        self._made: dict[str, Lines] = {}
        self._size = 0

    def read(self, steps: Sequence[Json]) -> Plan:
        if len(steps) > FILES:
            raise TooLarge(f"The edit changes more than {FILES:,} files; nothing was changed.")
        for step in steps:
            match step.get("kind"):
                case None:
                    self._text(self._path(step["textDocument"]["uri"]), step["edits"])
                case "create":
                    self._create(self._path(step["uri"]), step.get("options") or {})
                case "rename":
                    self._rename(self._path(step["oldUri"]), self._path(step["newUri"]))
                case "delete":
                    self._delete(self._path(step["uri"]))
                case kind:
                    raise InvalidInput(f"The edit has a step {kind!r}; nothing was changed.")
        plan = self._plan
        plan.operations = [
            Create(each.path, str(self._made[each.path])) if isinstance(each, Create) else each
            for each in plan.operations
        ]
        return plan

    def _path(self, uri: object) -> str:
        path = self._root.path(uri) if isinstance(uri, str) else None
        if not path:
            raise InvalidInput(
                f"The edit would change {uri}, which is no file of this workspace; nothing was "
                "changed."
            )
        return path

    def _text(self, path: str, raw: Any) -> None:
        edits = _edits.decode(jsonrpc.dumps(raw))
        self._plan.edits += len(edits)
        self._size += sum(len(edit.newText) for edit in edits)
        if self._plan.edits > EDITS or self._size > TEXT:
            raise TooLarge("The edit is too large; nothing was changed.")
        original = self._now(path)
        if made := self._made.get(original):
            for start, end, text in reversed(splices(made, edits, self._encoding)):
                made.replace(start, end, text)
        else:
            self._plan.texts.setdefault(original, []).append(edits)

    def _now(self, path: str) -> str:
        if path in self._gone:
            raise InvalidInput(f"The edit changes {path} after it is gone; nothing was changed.")
        return self._names.get(path, path)

    def _create(self, path: str, options: Mapping[str, Any]) -> None:
        if path in self._made and options.get("ignoreIfExists"):
            return
        if path in self._made or path in self._names:
            raise InvalidInput(f"The edit creates {path} twice; nothing was changed.")
        self._made[path] = Lines("")
        self._gone.discard(path)
        self._plan.operations.append(Create(path))

    def _rename(self, source: str, target: str) -> None:
        original = self._now(source)
        if source in self._made:
            raise InvalidInput(f"The edit creates and renames {source}; nothing was changed.")
        self._names[target] = original
        self._names.pop(source, None)
        self._gone.add(source)
        self._gone.discard(target)
        self._plan.operations.append(Rename(source, target))

    def _delete(self, path: str) -> None:
        if path in self._made or path in self._names:
            raise InvalidInput(f"The edit makes and deletes {path}; nothing was changed.")
        self._now(path)
        self._gone.add(path)
        self._plan.operations.append(Delete(path))


def replacing(replacements: Mapping[str, Sequence[Replacement]]) -> Plan:
    """The plan, in positions of UTF-8.

    Raises:
        TooLarge: it is too much.
    """
    count = sum(map(len, replacements.values()))
    size = sum(len(each.text) for found in replacements.values() for each in found)
    if len(replacements) > FILES or count > EDITS or size > TEXT:
        raise TooLarge("The edit is too large; nothing was changed.")
    texts = {
        path: [
            [
                TextEdit(
                    _Range(_Position(each.line, each.start), _Position(each.line, each.end)),
                    each.text,
                )
                for each in found
            ]
        ]
        for path, found in replacements.items()
    }
    return Plan(texts, [], count)


def fits(text: str, replacements: Sequence[Replacement]) -> bool:
    """Whether what is to be replaced is where it was found."""
    lines = text.split("\n")
    for each in replacements:
        if each.line >= len(lines):
            return False
        part = lines[each.line].encode()[each.start : each.end]
        if not part.startswith(each.instead_of.encode()):
            return False
    return True


def splices(lines: Lines, edits: Sequence[TextEdit], encoding: Encoding) -> list[Splice]:
    """Edits of one text as bytes to replace, in order; `\\r\\n` becomes `\\n`, as rooms have it.

    Raises:
        InvalidInput: a position is not in the text, or two edits overlap.
    """
    found: list[Splice] = []
    for edit in edits:
        start, end = (
            _offset(lines, position, encoding) for position in (edit.range.start, edit.range.end)
        )
        found.append((start, max(start, end), edit.newText.replace("\r\n", "\n")))
    # Stable: insertions at one place stay in the order in which they came.
    found.sort(key=lambda splice: (splice[0], splice[1]))
    for (_, end, _), (start, _, _) in pairwise(found):
        if start < end:
            raise InvalidInput("Two parts of the edit overlap; nothing was changed.")
    return found


def _offset(lines: Lines, position: _Position, encoding: Encoding) -> int:
    count = lines.count
    if position.line >= count:
        # The whole text is often told as up to the line behind the last one.
        return lines.size
    try:
        return lines.offset(position.line, position.character, encoding)
    except ValueError as error:
        raise InvalidInput("The edit is for another text; nothing was changed.") from error


def applied(
    lines: Lines, batches: Sequence[Sequence[TextEdit]], encoding: Encoding
) -> list[Splice]:
    """All batches of one text as one list of replacements of the text as it is.

    Raises:
        InvalidInput: as `splices`.
    """
    if len(batches) == 1:
        return splices(lines, batches[0], encoding)
    before = str(lines)
    for batch in batches:
        for start, end, text in reversed(splices(lines, batch, encoding)):
            lines.replace(start, end, text)
    return [(0, len(before.encode()), str(lines))]
