"""Folding the log of a room into a snapshot, and the rows that leave it into its history.

The log may be folded at any durable number, whatever the disk holds. Two generations of snapshots
are kept, with every update since the older one, so that any state of the room since then can be
built again: what is agreed with the disk, what an intent was about to write, what was agreed
before. A state older than that which is still referred to (the workspace has been stopped for
long) is kept by itself as a *base*.

Rows that neither generation needs are packed by the minute: compressed, in the order of the log.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import apsw
import msgspec

from cloudide.collab.schema import select

Row = tuple[int, str, float, bytes]  # number, author, time, update

MINUTE = 60  # seconds

# What replaying a row costs grows with its bytes; this many count as one row more.
BYTES_PER_COST = 100

_rows = msgspec.msgpack.Decoder(list[Row])


class Fold(msgspec.Struct, frozen=True):
    """The state of a room after update `seq`, to take the place of `rows` updates of the log.

    `bases`: by number, the states before the former snapshot that are still referred to; each may
    hold, beside the updates up to its number, later ones that came from the disk.
    """

    seq: int
    state: bytes
    rows: int
    bases: Mapping[int, bytes]


def fold(db: apsw.Connection, room: int, folded: Fold) -> bool:
    """Take a snapshot; False when the log is not what it was taken from, and nothing is changed."""
    found = select(
        db, "SELECT snapshot_seq, previous_seq FROM rooms WHERE id = ? AND retired IS NULL", room
    )
    if not found or folded.seq <= found[0][0]:
        return False
    ((former, older),) = found
    # An update whose commit failed is in the document for a moment, and not in the log.
    ((rows,),) = select(
        db,
        "SELECT count(*) FROM updates WHERE room = ? AND seq > ? AND seq <= ?",
        *(room, former, folded.seq),
    )
    if rows != folded.rows:
        return False
    needed = select(
        db,
        "SELECT agreed_upto FROM rooms WHERE id = ?1"
        " UNION SELECT upto FROM intents WHERE room = ?1 AND upto != 0",
        room,
    )
    if any(upto < former and upto not in folded.bases for (upto,) in needed):
        return False
    db.execute("DELETE FROM bases WHERE room = ?", (room,))
    for upto, state in folded.bases.items():
        db.execute("INSERT INTO bases(room, upto, state) VALUES (?, ?, ?)", (room, upto, state))
    db.execute(
        "DELETE FROM former_agreements WHERE room = ?1 AND upto < ?2"
        " AND upto NOT IN (SELECT upto FROM bases WHERE room = ?1)",
        (room, former),
    )
    db.execute("DELETE FROM snapshots WHERE room = ? AND seq < ?", (room, former))
    db.execute(
        "INSERT INTO snapshots(room, seq, state) VALUES (?, ?, ?)",
        (room, folded.seq, folded.state),
    )
    db.execute(
        "UPDATE rooms SET previous_seq = snapshot_seq, snapshot_seq = ? WHERE id = ?",
        (folded.seq, room),
    )
    if former > older:
        _pack(db, room, former)
    return True


def _pack(db: apsw.Connection, room: int, last: int) -> None:
    """Move the rows up to `last` into the history."""
    rows = select(
        db,
        "SELECT seq, author, time, data FROM updates WHERE room = ? AND seq <= ? ORDER BY seq",
        *(room, last),
    )
    ((latest,),) = select(db, "SELECT max(minute) FROM history WHERE room = ?", room)
    cost = 0
    for minute, group in by_minute(rows, latest or 0):
        delta = msgspec.msgpack.encode(group)
        cost += len(group) + len(delta) // BYTES_PER_COST
        db.execute(
            "INSERT INTO history(room, last, minute, authors, delta) VALUES (?, ?, ?, ?, ?)",
            (
                room,
                group[-1][0],
                minute,
                msgspec.json.encode(sorted({author for _, author, _, _ in group})),
                zlib.compress(delta, 1),
            ),
        )
    db.execute("DELETE FROM updates WHERE room = ? AND seq <= ?", (room, last))
    db.execute("UPDATE rooms SET replay_cost = replay_cost + ? WHERE id = ?", (cost, room))


def unpack(delta: bytes) -> list[Row]:
    """The rows of one entry of the history."""
    return _rows.decode(zlib.decompress(delta))


def by_minute(rows: Iterable[Any], earliest: int) -> Iterable[tuple[int, list[Row]]]:
    """Rows of the log grouped by their minute, which never goes back though a clock may."""
    minute = earliest

    def of(row: Row) -> int:
        nonlocal minute
        minute = max(minute, int(row[2] // MINUTE))
        return minute

    for key, group in groupby(rows, of):
        yield key, list(group)
