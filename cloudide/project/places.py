"""Where in a text the keys and values of a document stand.

Offsets count code points of the text. `Places` is what a scanner of a format (`toml`, `jsonc`)
gives; it knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cloudide.project.problems import Key, Mistake

Path = tuple[Key, ...]


class Span(msgspec.Struct, frozen=True):
    """From `start` to `end`, exclusive."""

    start: int
    end: int

    def holds(self, offset: int) -> bool:
        """Whether a cursor at `offset` touches it."""
        return self.start <= offset <= self.end


class Place(msgspec.Struct, frozen=True):
    """A value that a document has. `key` is where its name is written (nowhere for an item of a
    list), `kind` what it is by its first character: a table, a list, a string or another scalar.

    `header`: written as a header of TOML, and its value is all that stands below that.
    """

    path: Path
    key: Span | None
    value: Span
    kind: str = "scalar"
    header: bool = False


class Places:
    """All places of a document in the order in which they begin."""

    def __init__(self, places: Sequence[Place], end: int) -> None:
        self._places = places
        self._root = Place((), None, Span(0, end), "table", True)
        self._by_path: dict[Path, Place] = {}
        for place in places:
            self._by_path.setdefault(place.path, place)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def find(self, path: Path) -> Place | None:
        """Where a value is, or, of a table that is only written as part of longer names, where the
        first thing in it is."""
        if path in self._by_path:
            return self._by_path[path]
        return next((p for p in self._places if p.path[: len(path)] == path), None)

    def span_of(self, mistake: Mistake) -> Span:
        """What to underline for a mistake: the value, or the key where that is what is wrong."""
        if mistake.offset >= 0:
            return Span(mistake.offset, mistake.offset)
        path = mistake.path
        while path:
            if place := self.find(path):
                # Of a table that spans lines its name is enough, as is that of a wrong key.
                by_key = mistake.unknown or place.kind in ("table", "list") or path != mistake.path
                return place.key if place.key and by_key else place.value
            path = path[:-1]
        return Span(0, 0)

    def around(self, offset: int) -> Place:
        """The innermost table or list that a cursor at `offset` is inside of; else the root."""
        found = self._root
        for place in self._places:
            if place.kind in ("table", "list") and _inside(place, offset):
                found = place
        return found

    def at(self, offset: int) -> Place | None:
        """The place whose key or scalar value a cursor at `offset` touches."""
        found = None
        for place in self._places:
            touches_key = place.key is not None and place.key.holds(offset)
            if touches_key or (place.kind in ("string", "scalar") and place.value.holds(offset)):
                found = place
        return found

    def children(self, path: Path) -> Iterator[Key]:
        """The names of what is in a table."""
        for place in self._places:
            if len(place.path) > len(path) and place.path[: len(path)] == path:
                yield place.path[len(path)]


def _inside(place: Place, offset: int) -> bool:
    if place.header:
        return place.value.start <= offset <= place.value.end
    return place.value.start < offset < place.value.end


def line_of(text: str, offset: int) -> int:
    """The number, from 1, of the line that an offset is in."""
    return text.count("\n", 0, offset) + 1
