"""The history of a file: a version for each minute in which something changed, and who wrote what.

A version is named `{room}-{minute}` (minutes since the epoch) and is the text at the end of that
minute, whether its updates are still in the log or packed (`folding.py`). `{room}-{minute}-{seq}`
is the text after one update. A file made anew is another room; the rooms that had the path before
are listed with it.

How a version is built again is `keyframes.py`'s, and what is kept for how long `upkeep.py`'s.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from types import TracebackType

import apsw
import msgspec

from cloudide.collab.folding import MINUTE, Row, by_minute
from cloudide.collab.journal import Journal
from cloudide.collab.keyframes import Edit, Keyframes, Material, Played
from cloudide.collab.replay import Span
from cloudide.collab.schema import select
from cloudide.collab.upkeep import Upkeep
from cloudide.errors import InvalidInput, NotFound
from cloudide.protocol.sync import FileFormat

_NAME = re.compile(r"(\d{1,18})-(\d{1,12})(?:-(\d{1,18}))?", re.ASCII)


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


class History:
    """Use as an async context manager; it owns the task of its upkeep."""

    def __init__(self, journal: Journal, days: int) -> None:
        self.journal = journal
        self._keyframes = Keyframes(journal)
        self.upkeep = Upkeep(journal, self._keyframes, days)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> History:
        self._task = asyncio.create_task(self.upkeep.run())
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

    async def versions(
        self, workspace: str, path: str, before: Name | None = None, limit: int = 100
    ) -> tuple[list[Summary], bool]:
        """Versions of a file, newest first, and whether there are more."""
        earliest = self.upkeep.earliest()

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
        for room, packed, rows in await self.journal.transact(listed):
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
        rooms = await self.journal.transact(lambda db: _rooms(db, workspace, path, name.room))
        material: Material | None = None
        if rooms and name.minute >= self.upkeep.earliest():
            material = await self._keyframes.material(name.room, name.minute, name.minute)
            if name.minute not in material.minutes():
                material = None
        if material is None:
            raise _unknown(name)
        played = await self._keyframes.play(name.room, material, name.minute, name.seq)
        if played is None:
            raise _unknown(name)
        ((encoded,),) = await self.journal.transact(
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
        found = await self.journal.transact(
            lambda db: select(
                db,
                "SELECT id FROM rooms WHERE workspace = ? AND path = ? AND retired IS NULL",
                *(workspace, path),
            )
        )
        if not found:
            raise NotFound("Nobody has opened this file here, so that nothing is known of it.")
        played = await self._keyframes.latest(found[0][0])
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

        return Name(room, await self.journal.transact(minute), seq)

    async def _counts(self, room: int, minutes: list[int]) -> dict[int, tuple[int, int]]:
        """What changed in some minutes; remembered of those that are over."""
        known = await self.journal.transact(
            lambda db: select(
                db,
                "SELECT minute, inserted, deleted FROM counts"
                " WHERE room = ? AND minute BETWEEN ? AND ?",
                *(room, min(minutes), max(minutes)),
            )
        )
        counts = {minute: (inserted, deleted) for minute, inserted, deleted in known}
        if missing := [minute for minute in minutes if minute not in counts]:
            material = await self._keyframes.material(room, min(missing), max(missing))
            played = await self._keyframes.play(room, material, max(missing))
            counts = {**(played.counts if played else {}), **counts}
        return {minute: counts.get(minute, (0, 0)) for minute in minutes}


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


def _runs(played: Played) -> list[Run]:
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
