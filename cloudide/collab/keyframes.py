"""Replaying the past of a room from the last *keyframe* before it: a verified state with the author
of each part of its text.

Keyframes are made as replays come by, of minutes that are over, so that what a version costs is
bounded by `FRAME_COST` and the updates of its own minute. So are the counts of what changed.

Two replays at one time, each in a thread.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, groupby

import apsw
import msgspec
import structlog

from cloudide.collab.folding import BYTES_PER_COST, MINUTE, Row, by_minute, unpack
from cloudide.collab.journal import Journal
from cloudide.collab.replay import Change, Replay, Span
from cloudide.collab.schema import select
from cloudide.collab.text import document_of
from cloudide.errors import Unavailable

FRAME_COST = 10_000  # updates, and their bytes by `BYTES_PER_COST`, between two keyframes
READ_BYTES = 1024 * 1024  # taken from the journal at one time; its thread has edits to write
REPLAYS = 2
EDITS = 5_000  # of one version that are told, and how many bytes they may have
EDIT_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger(__name__)
_blame = msgspec.msgpack.Decoder(list[Span])


class Edit(msgspec.Struct, frozen=True):
    """At character `start` of the text as it then was, `deleted` was replaced by `inserted`."""

    author: str
    time: float
    start: int
    deleted: str
    inserted: str


class _Frame(msgspec.Struct, frozen=True):
    """A keyframe: the state after update `seq`, the last of its minute."""

    seq: int
    minute: int
    state: bytes
    blame: list[Span]


class Material(msgspec.Struct):
    """What a replay needs: a keyframe, packed minutes after it, and the log's rows after those."""

    frame: _Frame | None
    packed: list[tuple[int, int, int]]  # id, minute, size
    rows: list[Row]
    deltas: list[bytes] = []

    def minutes(self) -> list[int]:
        latest = self.packed[-1][1] if self.packed else self.frame.minute if self.frame else 0
        return [
            *(minute for _, minute, _ in self.packed),
            *(minute for minute, _ in by_minute(self.rows, latest)),
        ]

    def by_minute(self) -> Iterator[tuple[int, list[Row]]]:
        after, latest = (self.frame.seq, self.frame.minute) if self.frame else (0, 0)
        packed = (
            (minute, row)
            for (_, minute, _), delta in zip(self.packed, self.deltas, strict=True)
            for row in unpack(delta)
            if row[0] > after
        )
        latest = self.packed[-1][1] if self.packed else latest
        logged = ((minute, row) for minute, rows in by_minute(self.rows, latest) for row in rows)
        for minute, group in groupby(chain(packed, logged), lambda each: each[0]):
            yield minute, [row for _, row in group]


class Played(msgspec.Struct):
    """What a replay came by; `counts` are inserted and deleted characters by minute."""

    text: str
    spans: list[Span]
    edits: list[Edit]
    complete: bool
    authors: set[str]
    counts: dict[int, tuple[int, int]]
    frames: list[_Frame]


class Keyframes:
    """The keyframes of all rooms, and replays from them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._replays = asyncio.Semaphore(REPLAYS)

    async def due(self) -> list[int]:
        """The rooms that have grown long since their last keyframe."""
        return [
            room
            for (room,) in await self._journal.transact(
                lambda db: select(db, "SELECT id FROM rooms WHERE replay_cost >= ?", FRAME_COST)
            )
        ]

    async def latest(self, room: int, pause: float = 0.0) -> Played | None:
        """Replay to the end."""
        material = await self.material(room, 1 << 62, 1 << 62)
        return await self.play(room, material, 1 << 62, pause=pause)

    async def material(self, room: int, first: int, last: int) -> Material:
        """What it takes to replay the minutes `first` to `last` of a room.

        Raises:
            Unavailable: it was shortened while it was read.
        """

        def found(db: apsw.Connection) -> Material:
            frames = select(
                db,
                "SELECT seq, minute, state, blame FROM keyframes WHERE room = ? AND minute < ?"
                " ORDER BY seq DESC LIMIT 1",
                *(room, first),
            )
            frame = None
            if frames:
                seq, minute, state, blame = frames[0]
                spans = _blame.decode(blame) if blame else []
                frame = _Frame(seq, minute, state, spans)
            since = frame.seq if frame else 0
            packed = select(
                db,
                "SELECT id, minute, length(delta) FROM history"
                " WHERE room = ? AND last > ? AND minute <= ? ORDER BY last",
                *(room, since, last),
            )
            rows = select(
                db,
                "SELECT seq, author, time, data FROM updates WHERE room = ? AND seq > ?"
                " ORDER BY seq",
                *(room, since),
            )
            return Material(frame, packed, rows)

        material = await self._journal.transact(found)
        deltas: list[bytes] = []
        for ids in _portions(material.packed):

            def read(db: apsw.Connection, ids: list[int] = ids) -> list[bytes]:
                return [
                    delta
                    for id in ids
                    for (delta,) in select(db, "SELECT delta FROM history WHERE id = ?", id)
                ]

            deltas += await self._journal.transact(read)
        if len(deltas) != len(material.packed):
            raise Unavailable("The history has just been shortened; try again.")
        material.deltas = deltas
        return material

    async def play(
        self,
        room: int,
        material: Material,
        last: int,
        seq: int | None = None,
        pause: float = 0.0,
        *,
        frame_at_end: bool = False,
    ) -> Played | None:
        """Replay to the end of minute `last`, or in it to `seq`; None: there is no such update.

        Keyframes and counts that it came by are kept, of minutes that are over.
        """
        now = int(time.time() // MINUTE)
        async with self._replays:
            played = await asyncio.to_thread(
                _replayed, material, last, seq, pause, now, frame_at_end
            )
        if played is None or not (played.frames or played.counts):
            return played
        frames = [
            (
                *(room, frame.seq, frame.minute, frame.state),
                msgspec.msgpack.encode(frame.blame),
            )
            for frame in played.frames
        ]
        counts = [(room, minute, *played.counts[minute]) for minute in played.counts]

        def keep(db: apsw.Connection) -> None:
            for frame in frames:
                db.execute(
                    "INSERT OR IGNORE INTO keyframes(room, seq, minute, state, blame)"
                    " SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM rooms WHERE id = ?1)",
                    frame,
                )
            if frames:
                db.execute("UPDATE rooms SET replay_cost = 0 WHERE id = ?", (room,))
            for count in counts:
                if count[1] < now and count[1] != last:
                    db.execute(
                        "INSERT OR IGNORE INTO counts SELECT ?1, ?2, ?3, ?4"
                        " WHERE EXISTS (SELECT 1 FROM rooms WHERE id = ?1)",
                        count,
                    )

        await self._journal.transact(keep)
        return played


def _portions(packed: list[tuple[int, int, int]]) -> Iterable[list[int]]:
    ids: list[int] = []
    size = 0
    for id, _, length in packed:
        if ids and size + length > READ_BYTES:
            yield ids
            ids, size = [], 0
        ids.append(id)
        size += length
    if ids:
        yield ids


def _replayed(
    material: Material, last: int, seq: int | None, pause: float, now: int, frame_at_end: bool
) -> Played | None:
    frame = material.frame
    replay = Replay(zlib.decompress(frame.state), frame.blame) if frame else Replay()
    played = Played("", [], [], True, set(), {}, [])
    cost = 0
    found = seq is None
    for minute, rows in material.by_minute():
        if minute > last:
            break
        if minute == last and seq is not None:
            found = any(row[0] == seq for row in rows)
            rows = [row for row in rows if row[0] <= seq]
        inserted = deleted = size = 0
        for change in replay.feed(rows, pause):
            edit = _edit(change, replay)
            inserted += len(edit.inserted)
            deleted += len(edit.deleted)
            if minute == last and played.complete:
                size += len(change.inserted) + len(change.deleted)
                played.complete = size <= EDIT_BYTES and len(played.edits) < EDITS
                if played.complete:
                    played.edits.append(edit)
        played.counts[minute] = (inserted, deleted)
        if minute == last:
            played.authors = {row[1] for row in rows}
        cost += len(rows) + sum(len(row[3]) for row in rows) // BYTES_PER_COST
        due = cost >= FRAME_COST or (frame_at_end and minute == last)
        if due and minute < now and (minute < last or seq is None):
            cost = 0
            state = replay.state()
            # A fresh load must give the text.
            if str(document_of(state)[1]) == replay.text:
                spans = list(replay.spans)
                played.frames.append(_Frame(rows[-1][0], minute, zlib.compress(state), spans))
            else:
                _log.error("history.keyframe_differs", minute=minute)
    if not found:
        return None
    played.text, played.spans = replay.text, replay.spans
    return played


def _edit(change: Change, replay: Replay) -> Edit:
    """What a change that has just been made is in characters."""
    before = replay.content[: change.start]
    start = change.start if before.isascii() else len(before.decode())
    deleted, inserted = change.deleted.decode(), change.inserted.decode()
    return Edit(change.author, change.time, start, deleted, inserted)
