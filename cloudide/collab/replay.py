"""Replaying the log of a room: what each update changed, and who wrote which part of the text.

A document of its own is fed with updates; the text's events say what was kept, inserted and deleted
(in UTF-8 bytes, as everything the CRDT library counts). Runs of updates by one author are applied
as one change: an event costs as much as the text is long.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from typing import Any

import msgspec
from pycrdt import Doc, Text, TextEvent

from cloudide.collab.folding import Row
from cloudide.collab.text import diff, document_of

# So many updates are applied at once: while they are, nothing else of the server runs.
AT_ONCE = 500
UNKNOWN = ""  # the author of what was there before the history begins


class Change(msgspec.Struct, frozen=True):
    """At byte `start` of the text as it then was, `deleted` was replaced by `inserted`.

    Changes apply one after another. `time` is that of the last update of the run.
    """

    author: str
    time: float
    start: int
    deleted: bytes
    inserted: bytes


class Span(msgspec.Struct, frozen=True, array_like=True):
    """`length` bytes of the text, as `author` wrote them at `time` (seconds since the epoch)."""

    length: int
    author: str
    time: float


class Replay:
    """A document at a moment of its history. It belongs to the thread that made it."""

    def __init__(self, state: bytes = b"", blame: list[Span] | None = None) -> None:
        self._document: Doc[Text]
        self._document, self._text = document_of(*([state] if state else []))
        self.content = bytearray(str(self._text).encode())
        self.spans = list(blame or [])
        known = sum(span.length for span in self.spans)
        if known != len(self.content):
            self.spans = [Span(len(self.content), UNKNOWN, 0.0)] if self.content else []
        self._deltas: list[list[dict[str, Any]]] = []
        self._subscription = self._text.observe(self._changed)

    def feed(self, rows: Iterable[Row], pause: float = 0.0) -> Iterator[Change]:
        """Apply rows of the log and say what they changed.

        After each run other threads get their turn, and `pause` times as long as it took.
        """
        for author, group in groupby(rows, lambda row: row[1]):
            for run in _pieces(group):
                begun = time.perf_counter()
                with self._document.transaction():
                    for _, _, _, update in run:
                        self._document.apply_update(update)
                hunks = self._hunks()
                for start, end, inserted in hunks:
                    change = Change(
                        author, run[-1][2], start, bytes(self.content[start:end]), inserted
                    )
                    self._splice(change)
                    yield change
                time.sleep(pause * (time.perf_counter() - begun))

    @property
    def text(self) -> str:
        return self.content.decode()

    def state(self) -> bytes:
        return self._document.get_update()

    def _changed(self, event: TextEvent) -> None:
        self._deltas.append(event.delta)

    def _hunks(self) -> list[tuple[int, int, bytes]]:
        """What the last transaction changed: bytes `start:end`, each counted after the hunks before
        it, and what took their place."""
        deltas, self._deltas = self._deltas, []
        hunks: list[tuple[int, int, bytes]] = []
        position = 0
        size = len(self.content)
        for operation in [operation for delta in deltas for operation in delta]:
            if "retain" in operation:
                position += operation["retain"]
                continue
            deleted = operation.get("delete", 0)
            inserted = operation.get("insert", "")
            added = inserted.encode() if isinstance(inserted, str) else b""
            if hunks and hunks[-1][0] + len(hunks[-1][2]) == position:
                start, end, before = hunks[-1]
                hunks[-1] = (start, end + deleted, before + added)
            else:
                hunks.append((position, position + deleted, added))
            position += len(added)
            size += len(added) - deleted
        if size == len(self._text) and len(deltas) <= 1:
            return hunks
        # Something beside plain text (an embedded object) is in the text, and counts differently.
        return self._compared()

    def _compared(self) -> list[tuple[int, int, bytes]]:
        before, after = self.content.decode(), str(self._text)
        hunks: list[tuple[int, int, bytes]] = []
        read = position = 0
        for hunk in diff(before, after):
            position += len(before[read : hunk.start].encode())
            deleted, inserted = before[hunk.start : hunk.end].encode(), hunk.text.encode()
            hunks.append((position, position + len(deleted), inserted))
            position += len(inserted)
            read = hunk.end
        return hunks

    def _splice(self, change: Change) -> None:
        start, end = change.start, change.start + len(change.deleted)
        self.content[start:end] = change.inserted
        ends = list(accumulate(span.length for span in self.spans))
        first = bisect_right(ends, start)
        last = bisect_right(ends, end)
        replacement: list[Span] = []
        if first < len(ends) and (kept := start - (ends[first] - self.spans[first].length)):
            replacement.append(msgspec.structs.replace(self.spans[first], length=kept))
        if change.inserted:
            replacement.append(Span(len(change.inserted), change.author, change.time))
        if last < len(ends) and (kept := ends[last] - end):
            replacement.append(msgspec.structs.replace(self.spans[last], length=kept))
        low, high = max(0, first - 1), last + 2
        around = self.spans[low:first] + replacement + self.spans[last + 1 : high]
        self.spans[low:high] = _joined(around)


def _pieces(group: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut a run of one author's updates where the minute ends and where it gets long."""
    piece: list[Row] = []
    for row in group:
        if piece and (len(piece) == AT_ONCE or row[2] // 60 != piece[-1][2] // 60):
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and (joined[-1].author, joined[-1].time) == (span.author, span.time):
            length = joined[-1].length + span.length
            joined[-1] = msgspec.structs.replace(span, length=length)
        else:
            joined.append(span)
    return joined
