"""Documents as language servers know them: mirrors of rooms, with versions.

Each transaction of a room is one version. Version numbers are this module's, not any client's; they
are counted over all documents of a workspace together, so that one number, a *stamp*, says how all
of them stood when something was asked. A version keeps the number of the room's update that it came
with, the text, and the changes that led to it, so that a position in it can be taken forward.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cloudide.languages.lines import Change, Lines, Snapshot

VERSIONS = 256  # that are kept of a document
CHANGES_BYTES = 4 * 1024 * 1024  # of inserted text in them
# Where Python's `str.splitlines` sees a line end and the protocol does not. Servers written with it
# lose count; nobody tells which these are, so that all are told whole texts of such a document.
_IRREGULAR = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Version(NamedTuple):
    """`changes` led to it, in order; `seq` is the number of the room's last update then."""

    number: int
    changes: tuple[Change, ...]
    seq: int
    text: Snapshot


class Stamps:
    """Counts the versions of all documents of a workspace."""

    def __init__(self) -> None:
        self.latest = 0

    def next(self) -> int:
        self.latest += 1
        return self.latest


class Document:
    """One file's mirror. `on_change` hears of each new version."""

    def __init__(
        self, path: str, uri: str, language: str, text: str, seq: int, stamps: Stamps
    ) -> None:
        self.path = path
        self.uri = uri
        self.language = language
        self.on_change: Callable[[], None] = lambda: None
        self._stamps = stamps
        self._lines = Lines(text)
        self.irregular = _IRREGULAR.search(text) is not None
        self.versions: deque[Version] = deque()
        self._bytes = 0  # of the inserted text in `versions`
        self._add((), seq)

    def __str__(self) -> str:
        return str(self._lines)

    @property
    def version(self) -> int:
        return self.versions[-1].number

    @property
    def lines(self) -> Lines:
        """To be read only."""
        return self._lines

    def apply(self, delta: Sequence[Mapping[str, Any]], seq: int) -> None:
        """Follow one transaction of the room: `delta` is that of a Yjs event, in bytes of UTF-8.

        Raises:
            ValueError: it does not fit the text; the mirror is to be made anew (`replace`).
        """
        changes: list[Change] = []
        at, removed, inserted = 0, 0, ""

        def settle() -> None:
            nonlocal at, removed, inserted
            if removed or inserted:
                changes.append(self._lines.replace(at, at + removed, inserted))
                at += len(inserted.encode())
                removed, inserted = 0, ""

        for part in delta:
            if "retain" in part:
                settle()
                at += part["retain"]
            elif "delete" in part:
                removed += part["delete"]
            else:
                inserted += part["insert"]
        settle()
        if changes:
            self._add((*changes,), seq)
            self.on_change()

    def replace(self, text: str, seq: int) -> None:
        """Follow a room that was loaded anew: what differs is one change."""
        before = str(self._lines)
        if text == before:
            return
        shortest = min(len(before), len(text))
        start = _longest(shortest, lambda size: before[:size] == text[:size])
        end = _longest(
            shortest - start,
            lambda size: before[len(before) - size :] == text[len(text) - size :],
        )
        self.apply(
            [
                {"retain": len(before[:start].encode())},
                {"delete": len(before[start : len(before) - end].encode())},
                {"insert": text[start : len(text) - end]},
            ],
            seq,
        )

    def since(self, stamp: int) -> list[Change] | None:
        """The changes after a stamp, in order; None when they are no longer kept."""
        if stamp < self.versions[0].number:
            # A document that was opened only then had no other text before.
            return None if self.versions[0].changes or stamp < 0 else self._after(stamp)
        return self._after(stamp)

    def at(self, stamp: int) -> Version | None:
        """The version at a stamp; None when it is no longer kept."""
        return next((each for each in reversed(self.versions) if each.number <= stamp), None)

    def _after(self, stamp: int) -> list[Change]:
        changes: list[tuple[Change, ...]] = []
        for version in reversed(self.versions):
            if version.number <= stamp:
                break
            changes.append(version.changes)
        return [change for each in reversed(changes) for change in each]

    def _add(self, changes: tuple[Change, ...], seq: int) -> None:
        number = self._stamps.next()
        self.versions.append(Version(number, changes, seq, self._lines.snapshot()))
        for change in changes:
            self._bytes += len(change.text)
            self.irregular = self.irregular or _IRREGULAR.search(change.text) is not None
        while len(self.versions) > VERSIONS or (
            self._bytes > CHANGES_BYTES and len(self.versions) > 1
        ):
            gone = self.versions.popleft()
            self._bytes -= sum(len(change.text) for change in gone.changes)


def _longest(limit: int, holds: Callable[[int], bool]) -> int:
    """The greatest number up to `limit` for which something holds that holds for all below it."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
