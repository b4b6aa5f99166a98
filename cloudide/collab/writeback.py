"""When rooms are written to the disk: one clock for all of them.

A timer for each room would wake the process for each; here one wake-up finds all that are due and
lets them go in small groups, whose intents share a commit of the journal, and between which edits
are served.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK = 0.01  # seconds
TOGETHER = 4  # rooms of one tick; more only when so many wait that they would wait too long
TICKS_TO_CATCH_UP = 10


class Waiting(Protocol):
    """A peer that has something to do later."""

    def when(self) -> float | None:
        """The loop's time at which it is to be woken, or None when there is no more reason to."""
        ...

    def wake(self) -> None: ...


class WriteBack:
    """The clock. It runs while somebody waits."""

    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}  # in the order in which they came
        self._timer: asyncio.TimerHandle | None = None

    def add(self, peer: Waiting) -> None:
        self._waiting[peer] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def remove(self, peer: Waiting) -> None:
        self._waiting.pop(peer, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        due: list[Waiting] = []
        for peer in list(self._waiting):
            when = peer.when()
            if when is None:
                del self._waiting[peer]
            elif when <= now:
                due.append(peer)
        for peer in due[: max(TOGETHER, len(due) // TICKS_TO_CATCH_UP)]:
            del self._waiting[peer]
            peer.wake()
        self._timer = loop.call_later(TICK, self._tick) if self._waiting else None
