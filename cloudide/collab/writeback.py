"""When rooms are written to the disk: one clock for all of them.

A timer for each room would wake the process for each; here one wake-up finds all that are due and
lets them go in small groups, whose intents share a commit of the journal, and between which edits
are served.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

TICK = 0.02  # seconds between two groups
TOGETHER = 4  # rooms of one tick; more only when so many wait that they would wait too long
TICKS_TO_CATCH_UP = 40


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
        when = peer.when()
        if when is not None:
            self._waiting[peer] = None
            self._set(when)

    def remove(self, peer: Waiting) -> None:
        self._waiting.pop(peer, None)

    def _set(self, when: float) -> None:
        """Look again at `when`, unless that is to be sooner anyway."""
        loop = asyncio.get_running_loop()
        when = max(when, loop.time() + TICK)
        if self._timer is None or when < self._timer.when() - TICK:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        due: list[Waiting] = []
        following = math.inf
        for peer in list(self._waiting):
            when = peer.when()
            if when is None:
                del self._waiting[peer]
            elif when <= now:
                due.append(peer)
            else:
                following = min(following, when)
        together = max(TOGETHER, len(due) // TICKS_TO_CATCH_UP)
        for peer in due[:together]:
            del self._waiting[peer]
            peer.wake()
        if len(due) > together:
            following = now
        if following < math.inf:
            self._set(following)
