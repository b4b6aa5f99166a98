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

from cloudide.protocol.structs import Run, read_runs
from cloudide.protocol.updates import GC, SKIP


def contradicts(update: bytes, known: bytes) -> bool:
    """Whether two updates, both checked by `read_update`, give the same clocks to other changes."""
    ours = read_runs(known)
    for client, runs in read_runs(update).items():
        if client in ours and _differ(client, runs, ours[client]):
            return True
    return False


def _differ(client: int, one: list[Run], other: list[Run]) -> bool:
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
