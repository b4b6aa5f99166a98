"""The structs of an update, one by one: who made which characters, where, beside which others.

`updates.py` reads each update once, quickly, and says what it covers; this reads it again, for the
few questions that need the text itself. Both take only updates that `read_update` has checked.

Source: `Item.write` and `splitItem` of yjs 13 (`src/structs/Item.js`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from cloudide.protocol.updates import (
    DELETED,
    GC,
    LEFT_ORIGIN,
    PARENT_SUB,
    RIGHT_ORIGIN,
    SKIP,
    STRING,
    read_content,
)
from cloudide.protocol.varint import Reader

Id = tuple[int, int]  # client, clock
UNIT = 2  # bytes of a UTF-16 code unit, which is what a clock counts


_LOW_SURROGATE = re.compile(rb"[\xdc-\xdf]")


class Run(msgspec.Struct, frozen=True):
    """Consecutive clocks of one client, made by one insertion.

    `place` is the left origin, or the parent's bytes when there is no origin. `content` is None
    when it is not known (any more).
    """

    start: int
    end: int
    kind: int
    place: Id | bytes | None
    right: Id | None
    content: bytes | None

    def place_at(self, client: int, clock: int) -> Id | bytes | None:
        return self.place if clock == self.start else (client, clock - 1)

    def text(self, start: int, end: int) -> bytes | None:
        """The content of some clocks, where it can be cut."""
        if self.content is None:
            return None
        if self.kind == STRING:
            return self.content[(start - self.start) * UNIT : (end - self.start) * UNIT]
        return self.content if (start, end) == (self.start, self.end) else None


def read_runs(update: bytes) -> dict[int, list[Run]]:
    """The runs of each client, in the order of their clocks."""
    return _read_runs(Reader(update))


def _read_runs(reader: Reader) -> dict[int, list[Run]]:
    found: dict[int, list[Run]] = {}
    for _ in range(reader.uint()):
        structs = reader.uint()
        client = reader.uint()
        clock = reader.uint()
        runs = found[client] = []
        for _ in range(structs):
            run = _read_run(reader, clock)
            runs.append(run)
            clock = run.end
    return found


def _read_run(reader: Reader, clock: int) -> Run:
    info = reader.byte()
    kind = info & 0x1F
    if kind in (GC, SKIP):
        return Run(clock, clock + reader.uint(), kind, None, None, None)
    place: Id | bytes | None = None
    right: Id | None = None
    if info & LEFT_ORIGIN:
        place = (reader.uint(), reader.uint())
    if info & RIGHT_ORIGIN:
        right = (reader.uint(), reader.uint())
    if not info & (LEFT_ORIGIN | RIGHT_ORIGIN):
        start = reader.position
        if reader.uint() == 1:
            reader.text()
        else:
            reader.uint()
            reader.uint()
        if info & PARENT_SUB:
            reader.text()
        place = reader.data[start : reader.position]
    start = reader.position
    length = read_content(reader, kind)
    content: bytes | None = reader.data[start : reader.position]
    if kind == DELETED:
        content = None
    elif kind == STRING:
        content = Reader(content).text().encode("utf-16-le", "surrogatepass")
    return Run(clock, clock + length, kind, place, right, content)


def boundaries(update: bytes) -> Iterator[Id]:
    """Every place at which an update parts two characters, as the id of the right one: beside an
    origin, and at both ends of what it deletes."""
    reader = Reader(update)
    for client, runs in _read_runs(reader).items():
        for run in runs:
            yield client, run.start
            if isinstance(run.place, tuple):
                yield run.place[0], run.place[1] + 1
            if run.right is not None:
                yield run.right
    for _ in range(reader.uint()):
        client = reader.uint()
        for _ in range(reader.uint()):
            start = reader.uint()
            yield client, start
            yield client, start + reader.uint()


def second_halves(update: bytes) -> Iterator[Id]:
    """The ids that are the second half of a character: one outside the Basic Multilingual Plane
    takes two UTF-16 code units, and so two clocks."""
    for client, runs in read_runs(update).items():
        for run in runs:
            if run.kind == STRING and run.content is not None:
                high = run.content[1::UNIT]  # the higher byte of each unit, little-endian
                for low in _LOW_SURROGATE.finditer(high):
                    yield client, run.start + low.start()
