"""The history of a file: a version for each minute in which something changed, and who wrote what.

A version is named `{room}-{minute}` (minutes since the epoch) and is the text at the end of that
minute, whether its updates are still in the log or packed (`folding.py`). `{room}-{minute}-{seq}`
is the text after one update. A file made anew is another room; the rooms that had the path before
are listed with it.

A version is built by replaying the updates since the last *keyframe*: a verified state with the
author of each part of its text. Keyframes are made as replays come by, and by a task of their own
where the history has grown long, at a tenth of a core at most. So what a version costs is bounded
by `FRAME_COST` and the updates of its own minute.

Bounds: `days`, and `HISTORY_BYTES` packed a room, keyframes included; what is older goes, by the
minute. Two replays at one time, each in a thread.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, groupby
from types import TracebackType
from typing import TypeVar

import apsw
import msgspec
import structlog

from cloudide.collab.folding import BYTES_PER_COST, Row, by_minute, unpack
from cloudide.collab.journal import Journal
from cloudide.collab.replay import Change, Replay, Span
from cloudide.collab.schema import discard, select
from cloudide.collab.text import document_of
from cloudide.errors import CloudIDEError, InvalidInput, NotFound, Unavailable
from cloudide.protocol.sync import FileFormat

T = TypeVar("T")
FRAME_COST = 10_000  # updates, and their bytes by `BYTES_PER_COST`, between two keyframes
HISTORY_BYTES = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024  # taken from the journal at one time; its thread has edits to write
REPLAYS = 2
EDITS = 5_000  # of one version that are told, and how many bytes they may have
EDIT_BYTES = 4 * 1024 * 1024
PACE = 9.0  # the background rests this many times as long as it works
TEND_SECONDS = 60.0
MINUTE = 60

_NAME = re.compile(r"(\d{1,18})-(\d{1,12})(?:-(\d{1,18}))?", re.ASCII)
_log = structlog.get_logger(__name__)
_blame = msgspec.msgpack.Decoder(list[Span])


class Name(msgspec.Struct, frozen=True):
    """The name of a version; without `seq` it is the end of the minute."""

    room: int
    minute: int
    seq: int | None = None

    def __str__(self) -> str:
        return f"{self.room}-{self.minute}" + ("" if self.seq is None else f"-{self.seq}")

    @classmethod
    def parse(cls, name: str) -> Name:
        """Raises: InvalidInput: it is no version's name."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise InvalidInput("A version is named as the history lists it, such as 12-29384755.")
        room, minute, seq = found.groups()
        return cls(int(room), int(minute), None if seq is None else int(seq))


class Summary(msgspec.Struct, frozen=True):
    """A version in the list; `inserted` and `deleted` count characters."""

    name: Name
    authors: list[str]
    inserted: int
    deleted: int


class Edit(msgspec.Struct, frozen=True):
    """At character `start` of the text as it then was, `deleted` was replaced by `inserted`."""

    author: str
    time: float
    start: int
    deleted: str
    inserted: str


class Version(msgspec.Struct, frozen=True):
    """`edits`, one after another, made `text` of the version before; `complete` when they are all
    here."""

    name: Name
    authors: list[str]
    text: str
    format: FileFormat
    edits: list[Edit]
    complete: bool


class Run(msgspec.Struct, frozen=True):
    """Lines `first` to `last`, counted from 1, whose newest part `author` wrote at `time`."""

    first: int
    last: int
    author: str
    time: float


class _Frame(msgspec.Struct, frozen=True):
    """A keyframe: the state after update `seq`, the last of its minute."""

    seq: int
    minute: int
    state: bytes
    blame: list[Span]


class _Material(msgspec.Struct):
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


class _Played(msgspec.Struct):
    """What a replay came by; `counts` are inserted and deleted characters by minute."""

    text: str
    spans: list[Span]
    edits: list[Edit]
    complete: bool
    authors: set[str]
    counts: dict[int, tuple[int, int]]
    frames: list[_Frame]


class History:
    """Use as an async context manager; it owns the task that tends it."""

    def __init__(self, journal: Journal, days: int) -> None:
        self._journal = journal
        self._minutes = days * 24 * 60
        self._replays = asyncio.Semaphore(REPLAYS)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> History:
        self._task = asyncio.create_task(self._tend())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def versions(
        self, workspace: str, path: str, before: Name | None = None, limit: int = 100
    ) -> tuple[list[Summary], bool]:
        """Versions of a file, newest first, and whether there are more."""
        earliest = self._earliest()

        def listed(db: apsw.Connection) -> list[tuple[int, list[tuple[int, bytes]], list[Row]]]:
            return [
                (
                    room,
                    select(
                        db,
                        "SELECT minute, authors FROM history WHERE room = ? AND minute >= ?"
                        " ORDER BY last",
                        *(room, earliest),
                    ),
                    select(
                        db,
                        "SELECT seq, author, time, x'' FROM updates WHERE room = ? ORDER BY seq",
                        room,
                    ),
                )
                for (room,) in _rooms(db, workspace, path)
            ]

        authors: dict[tuple[int, int], set[str]] = {}
        for room, packed, rows in await self._journal.transact(listed):
            for minute, encoded in packed:
                names = msgspec.json.decode(encoded, type=list[str])
                authors.setdefault((minute, room), set()).update(names)
            for minute, group in by_minute(rows, packed[-1][0] if packed else 0):
                names = {author for _, author, _, _ in group}
                authors.setdefault((minute, room), set()).update(names)
        end = (before.minute, before.room) if before else (1 << 62, 0)
        keys = sorted((key for key in authors if (earliest, 0) <= key < end), reverse=True)
        page = keys[:limit]
        counts: dict[tuple[int, int], tuple[int, int]] = {}
        for room in {room for _, room in page}:
            minutes = [minute for minute, owner in page if owner == room]
            for minute, count in (await self._counts(room, minutes)).items():
                counts[minute, room] = count
        return [
            Summary(Name(room, minute), sorted(authors[minute, room]), *counts[minute, room])
            for minute, room in page
        ], len(keys) > limit

    async def version(self, workspace: str, path: str, name: Name) -> Version:
        """Raises: NotFound: this file has no such version (any more)."""
        rooms = await self._journal.transact(lambda db: _rooms(db, workspace, path, name.room))
        material: _Material | None = None
        if rooms and name.minute >= self._earliest():
            material = await self._material(name.room, name.minute, name.minute)
            if name.minute not in material.minutes():
                material = None
        if material is None:
            raise _unknown(name)
        played = await self._play(name.room, material, name.minute, name.seq)
        if played is None:
            raise _unknown(name)
        ((encoded,),) = await self._journal.transact(
            lambda db: select(db, "SELECT format FROM rooms WHERE id = ?", name.room)
        ) or [(b"{}",)]
        format = msgspec.json.decode(encoded, type=FileFormat)
        return Version(
            name, sorted(played.authors), played.text, format, played.edits, played.complete
        )

    async def blame(self, workspace: str, path: str) -> list[Run]:
        """Who wrote each line of a file that has been opened, as it is now.

        Of the text of a line, its end included, the newest part counts; a deletion leaves nothing
        that would. An empty last line belongs to whom the line's end before it does.

        Raises:
            NotFound: the file has not been opened since it was made.
        """
        found = await self._journal.transact(
            lambda db: select(
                db,
                "SELECT id FROM rooms WHERE workspace = ? AND path = ? AND retired IS NULL",
                *(workspace, path),
            )
        )
        if not found:
            raise NotFound("Nobody has opened this file here, so that nothing is known of it.")
        played = await self._blame(found[0][0])
        return [] if played is None else await asyncio.to_thread(_runs, played)

    async def name(self, room: int, seq: int) -> Name:
        """The version that is the text after update `seq` of a room."""

        def minute(db: apsw.Connection) -> int:
            packed = select(
                db,
                "SELECT minute FROM history WHERE room = ? AND last >= ? ORDER BY last LIMIT 1",
                *(room, seq),
            )
            if packed:
                return packed[0][0]
            ((latest,),) = select(db, "SELECT max(minute) FROM history WHERE room = ?", room)
            ((last,),) = select(
                db, "SELECT max(time) FROM updates WHERE room = ? AND seq <= ?", room, seq
            )
            return max(latest or 0, int((last or 0) // MINUTE))

        return Name(room, await self._journal.transact(minute), seq)

    # ── replays ─────────────────────────────────────────────────────────────────────────────────

    async def _counts(self, room: int, minutes: list[int]) -> dict[int, tuple[int, int]]:
        """What changed in some minutes; remembered of those that are over."""
        known = await self._journal.transact(
            lambda db: select(
                db,
                "SELECT minute, inserted, deleted FROM counts"
                " WHERE room = ? AND minute BETWEEN ? AND ?",
                *(room, min(minutes), max(minutes)),
            )
        )
        counts = {minute: (inserted, deleted) for minute, inserted, deleted in known}
        if missing := [minute for minute in minutes if minute not in counts]:
            material = await self._material(room, min(missing), max(missing))
            played = await self._play(room, material, max(missing))
            counts = {**(played.counts if played else {}), **counts}
        return {minute: counts.get(minute, (0, 0)) for minute in minutes}

    async def _blame(self, room: int, pause: float = 0.0) -> _Played | None:
        material = await self._material(room, 1 << 62, 1 << 62)
        return await self._play(room, material, 1 << 62, pause=pause)

    async def _material(self, room: int, first: int, last: int) -> _Material:
        """What it takes to replay the minutes `first` to `last` of a room."""

        def found(db: apsw.Connection) -> _Material:
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
            return _Material(frame, packed, rows)

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

    async def _play(
        self,
        room: int,
        material: _Material,
        last: int,
        seq: int | None = None,
        pause: float = 0.0,
        *,
        frame_at_end: bool = False,
    ) -> _Played | None:
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

    # ── tending ─────────────────────────────────────────────────────────────────────────────────

    async def _tend(self) -> None:
        while True:
            try:
                await self.tend()
            except CloudIDEError as error:
                _log.warning("history.not_tended", error=error.message)
            except Exception:
                _log.exception("history.not_tended")
            await asyncio.sleep(TEND_SECONDS)

    async def tend(self, pause: float = PACE) -> None:
        """Make the keyframes that are due, and delete what is too old or too much."""
        for (room,) in await self._journal.transact(
            lambda db: select(db, "SELECT id FROM rooms WHERE replay_cost >= ?", FRAME_COST)
        ):
            await self._blame(room, pause)
        retired = time.time() - self._minutes * MINUTE

        def ended(db: apsw.Connection) -> list[tuple[int, int]]:
            for (room,) in select(db, "SELECT id FROM rooms WHERE retired < ?", retired):
                discard(db, room)
            return select(
                db,
                "SELECT room, sum(length(delta)) FROM history GROUP BY room"
                " HAVING min(minute) < ?1 OR sum(length(delta)) > ?2",
                *(self._earliest(), HISTORY_BYTES // 2),
            )

        for room, _ in await self._journal.transact(ended):
            await self._shorten(room, pause)

    async def _shorten(self, room: int, pause: float) -> None:
        """Delete the packed minutes that are too old or too much, but for a keyframe at the end."""

        def sizes(db: apsw.Connection) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
            packed = "SELECT minute, length(delta) FROM history WHERE room = ? ORDER BY last DESC"
            frames = (
                "SELECT minute, length(state) + length(blame) FROM keyframes WHERE room = ?"
                " ORDER BY seq DESC"
            )
            return select(db, packed, room), select(db, frames, room)

        packed, frames = await self._journal.transact(sizes)
        earliest, total = self._earliest(), 0
        for minute, size in sorted(packed + frames, reverse=True):
            total += size
            if total > HISTORY_BYTES:
                earliest = max(earliest, minute + 1)
                break
        last = max((minute for minute, _ in packed if minute < earliest), default=None)
        if last is None:
            return
        material = await self._material(room, last + 1, last)
        played = await self._play(room, material, last, pause=pause, frame_at_end=True)
        if played is None:
            return

        def shorten(db: apsw.Connection) -> None:
            bound = (room, last)
            ((seq,),) = select(
                db, "SELECT max(seq) FROM keyframes WHERE room = ? AND minute <= ?", *bound
            )
            (left,) = select(
                db, "SELECT max(last) FROM history WHERE room = ? AND minute <= ?", *bound
            )
            if seq is None or seq < left[0]:
                return  # the keyframe was not good; the next time makes another
            db.execute("DELETE FROM history WHERE room = ? AND minute <= ?", bound)
            db.execute("DELETE FROM counts WHERE room = ? AND minute <= ?", bound)
            db.execute("DELETE FROM keyframes WHERE room = ? AND seq < ?", (room, seq))

        await self._journal.transact(shorten)

    def _earliest(self) -> int:
        return int(time.time() // MINUTE) - self._minutes


def _rooms(
    db: apsw.Connection, workspace: str, path: str, room: int | None = None
) -> list[tuple[int]]:
    return select(
        db,
        "SELECT id FROM rooms WHERE workspace = ?1 AND path = ?2 AND id = coalesce(?3, id)",
        *(workspace, path, room),
    )


def _unknown(name: Name) -> NotFound:
    return NotFound(f"This file has no version {name}, or it is older than the history goes back.")


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
    material: _Material, last: int, seq: int | None, pause: float, now: int, frame_at_end: bool
) -> _Played | None:
    frame = material.frame
    replay = Replay(zlib.decompress(frame.state), frame.blame) if frame else Replay()
    played = _Played("", [], [], True, set(), {}, [])
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


def _runs(played: _Played) -> list[Run]:
    """Lines with the newest of what they consist of, neighbours of the same joined."""
    content = played.text.encode()
    newest: list[Span | None] = [None] * (content.count(b"\n") + 1)
    position = line = 0
    latest: Span | None = None
    for span in played.spans:
        end = position + span.length
        ends = content.count(b"\n", position, end)
        # A span that ends with a line's end has no part in the next line.
        for touched in range(line, line + ends + (content[end - 1 : end] != b"\n")):
            known = newest[touched]
            if known is None or known.time <= span.time:
                newest[touched] = span
        position, line, latest = end, line + ends, span
    if newest[-1] is None:
        newest[-1] = latest
    runs: list[Run] = []
    for number, span in enumerate(newest, start=1):
        if span is None:
            continue
        if runs and (runs[-1].author, runs[-1].time) == (span.author, span.time):
            runs[-1] = msgspec.structs.replace(runs[-1], last=number)
        else:
            runs.append(Run(number, number, span.author, span.time))
    return runs
