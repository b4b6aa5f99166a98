"""Telling a duplicate of known changes from a collision: the same clocks, used for other changes.

A (client, clock) pair names one character for ever. When two clients use the same client id they
name different characters alike, and from there on replicas differ for good; a CRDT library takes
whichever comes first and drops the other without a word. `contradicts` compares an update with what
a document has for the same clocks. A document may hold a character in another split than the update
and may have deleted its content; both are no contradiction.

Source: `Item.write`, `splitItem` and `Item.mergeWith` of yjs 13 (`src/structs/Item.js`): the right
part of a split has the last unit of the left part as its left origin, and keeps the right origin.
"""

from __future__ import annotations

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
_UNIT = 2  # bytes of a UTF-16 code unit, which is what a clock counts


class _Run(msgspec.Struct, frozen=True):
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
            return self.content[(start - self.start) * _UNIT : (end - self.start) * _UNIT]
        return self.content if (start, end) == (self.start, self.end) else None


def contradicts(update: bytes, known: bytes) -> bool:
    """Whether two updates, both checked by `read_update`, give the same clocks to other changes."""
    ours = _runs(known)
    for client, runs in _runs(update).items():
        if client in ours and _differ(client, runs, ours[client]):
            return True
    return False


def _differ(client: int, one: list[_Run], other: list[_Run]) -> bool:
    mine = theirs = 0
    while mine < len(one) and theirs < len(other):
        a, b = one[mine], other[theirs]
        start, end = max(a.start, b.start), min(a.end, b.end)
        if start < end and b.kind == GC and a.kind != GC and a.end > other[-1].end:
            # Half of it is known and collected: nobody can tell what the other half belongs to,
            # and a library that takes it shows it to some and not to others.
            return True
        if start < end and GC not in (a.kind, b.kind) and SKIP not in (a.kind, b.kind):
            if a.place_at(client, start) != b.place_at(client, start) or a.right != b.right:
                return True
            here, there = a.text(start, end), b.text(start, end)
            if here is not None and there is not None and (a.kind != b.kind or here != there):
                return True
        if a.end <= b.end:
            mine += 1
        if b.end <= a.end:
            theirs += 1
    return False


def _runs(update: bytes) -> dict[int, list[_Run]]:
    reader = Reader(update)
    found: dict[int, list[_Run]] = {}
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


def _read_run(reader: Reader, clock: int) -> _Run:
    info = reader.byte()
    kind = info & 0x1F
    if kind in (GC, SKIP):
        return _Run(clock, clock + reader.uint(), kind, None, None, None)
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
    return _Run(clock, clock + length, kind, place, right, content)
