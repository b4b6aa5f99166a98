"""Upkeep of the history: keyframes where it has grown long, an end to what is too old or too much.

Bounds: `days`, and `HISTORY_BYTES` packed a room, keyframes included; what is older goes, by the
minute.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import time

import apsw
import structlog

from cloudide.collab.folding import MINUTE
from cloudide.collab.journal import Journal
from cloudide.collab.keyframes import Keyframes
from cloudide.collab.schema import discard, select
from cloudide.errors import CloudIDEError

HISTORY_BYTES = 64 * 1024 * 1024
PACE = 9.0  # the background rests this many times as long as it works
TEND_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class Upkeep:
    """`run` is its task, which takes a tenth of a core at most."""

    def __init__(self, journal: Journal, keyframes: Keyframes, days: int) -> None:
        self._journal = journal
        self._keyframes = keyframes
        self._minutes = days * 24 * 60

    def earliest(self) -> int:
        """The first minute that is not too old."""
        return int(time.time() // MINUTE) - self._minutes

    async def run(self) -> None:
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
        for room in await self._keyframes.due():
            await self._keyframes.latest(room, pause)
        retired = time.time() - self._minutes * MINUTE

        def ended(db: apsw.Connection) -> list[tuple[int, int]]:
            for (room,) in select(db, "SELECT id FROM rooms WHERE retired < ?", retired):
                discard(db, room)
            return select(
                db,
                "SELECT room, sum(length(delta)) FROM history GROUP BY room"
                " HAVING min(minute) < ?1 OR sum(length(delta)) > ?2",
                *(self.earliest(), HISTORY_BYTES // 2),
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
        earliest, total = self.earliest(), 0
        for minute, size in sorted(packed + frames, reverse=True):
            total += size
            if total > HISTORY_BYTES:
                earliest = max(earliest, minute + 1)
                break
        last = max((minute for minute, _ in packed if minute < earliest), default=None)
        if last is None:
            return
        material = await self._keyframes.material(room, last + 1, last)
        played = await self._keyframes.play(room, material, last, pause=pause, frame_at_end=True)
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
