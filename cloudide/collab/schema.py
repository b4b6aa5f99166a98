"""The tables of the journal's file, and how a file of an earlier version becomes one of this."""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import zlib
from typing import Any

import apsw

from cloudide.errors import Unavailable

VERSION = 2

# Snapshots lie beside `rooms`, whose rows change with every write to a disk: SQLite writes a row
# anew as a whole.
_TABLES = """
CREATE TABLE rooms(
    id INTEGER PRIMARY KEY, workspace TEXT NOT NULL, path TEXT NOT NULL, epoch TEXT NOT NULL,
    format BLOB NOT NULL, created REAL NOT NULL, retired REAL,
    snapshot_seq INTEGER NOT NULL DEFAULT 0, previous_seq INTEGER NOT NULL DEFAULT 0,
    agreed_hash TEXT NOT NULL, agreed_upto INTEGER NOT NULL, agreed_extras BLOB NOT NULL,
    replay_cost INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX live_rooms ON rooms(workspace, path) WHERE retired IS NULL;
CREATE TABLE updates(
    room INTEGER NOT NULL, seq INTEGER NOT NULL, author TEXT NOT NULL, time REAL NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY(room, seq)) WITHOUT ROWID;
CREATE TABLE former_agreements(
    room INTEGER NOT NULL, until REAL NOT NULL, hash TEXT NOT NULL, upto INTEGER NOT NULL,
    extras BLOB NOT NULL, PRIMARY KEY(room, until)) WITHOUT ROWID;
CREATE TABLE intents(
    room INTEGER NOT NULL, hash TEXT NOT NULL, upto INTEGER NOT NULL,
    PRIMARY KEY(room, hash)) WITHOUT ROWID;
CREATE TABLE retired_clients(
    workspace TEXT NOT NULL, path TEXT NOT NULL, client INTEGER NOT NULL,
    PRIMARY KEY(workspace, path, client)) WITHOUT ROWID;
"""
_SECOND = """
CREATE INDEX rooms_by_path ON rooms(workspace, path);
CREATE TABLE snapshots(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, seq INTEGER NOT NULL, state BLOB NOT NULL,
    UNIQUE(room, seq));
CREATE TABLE bases(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, upto INTEGER NOT NULL, state BLOB NOT NULL,
    UNIQUE(room, upto));
CREATE TABLE history(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, last INTEGER NOT NULL, minute INTEGER NOT NULL,
    authors BLOB NOT NULL, delta BLOB NOT NULL, UNIQUE(room, last));
CREATE INDEX history_by_minute ON history(room, minute, last);
CREATE TABLE keyframes(
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL, seq INTEGER NOT NULL, minute INTEGER NOT NULL,
    state BLOB NOT NULL, blame BLOB NOT NULL, UNIQUE(room, seq));
CREATE TABLE counts(
    room INTEGER NOT NULL, minute INTEGER NOT NULL, inserted INTEGER NOT NULL,
    deleted INTEGER NOT NULL, PRIMARY KEY(room, minute)) WITHOUT ROWID;
"""
_FROM_FIRST = """
INSERT INTO snapshots(room, seq, state)
    SELECT id, snapshot_seq, snapshot FROM rooms WHERE snapshot IS NOT NULL;
INSERT INTO snapshots(room, seq, state)
    SELECT id, previous_seq, previous_snapshot FROM rooms WHERE previous_snapshot IS NOT NULL;
ALTER TABLE rooms DROP COLUMN snapshot;
ALTER TABLE rooms DROP COLUMN previous_snapshot;
ALTER TABLE rooms ADD COLUMN replay_cost INTEGER NOT NULL DEFAULT 0;
"""

TABLES = (
    *("updates", "former_agreements", "intents", "snapshots", "bases"),
    *("history", "keyframes", "counts"),
)


def select(db: apsw.Connection, sql: str, *bindings: Any) -> list[Any]:
    """All rows of a query, at once; their types are the query's."""
    return list(db.execute(sql, bindings))


def prepare(db: apsw.Connection) -> None:
    """Create the tables or bring them to this version, all at once or not at all.

    Raises:
        Unavailable: a newer version of the program wrote the file.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.pragma("user_version")
        if version == 0:
            db.execute(_TABLES + _SECOND)
        elif version == 1:
            db.execute(_SECOND + _FROM_FIRST)
            _begin_history(db)
        elif version != VERSION:
            raise Unavailable(
                f"its format is {version} and this server knows formats up to {VERSION}; a newer "
                "server wrote it."
            )
        db.pragma("user_version", VERSION)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _begin_history(db: apsw.Connection) -> None:
    """What version 1 did not keep cannot be listed; the oldest state it kept is where it begins."""
    oldest = select(
        db,
        "SELECT rooms.id, seq, CAST(created / 60 AS INTEGER), state FROM snapshots"
        " JOIN rooms ON rooms.id = room AND seq = iif(previous_seq, previous_seq, snapshot_seq)"
        " WHERE NOT EXISTS (SELECT 1 FROM updates WHERE updates.room = rooms.id AND seq = 1)",
    )
    for room, seq, minute, state in oldest:
        db.execute(
            "INSERT INTO keyframes(room, seq, minute, state, blame) VALUES (?, ?, ?, ?, x'')",
            (room, seq, minute, zlib.compress(state)),
        )


def discard(db: apsw.Connection, room: int) -> None:
    """Delete all there is of a room."""
    for table in TABLES:
        db.execute(f"DELETE FROM {table} WHERE room = ?", (room,))  # noqa: S608 - named above
    db.execute("DELETE FROM rooms WHERE id = ?", (room,))
