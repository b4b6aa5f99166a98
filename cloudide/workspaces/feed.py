"""What happens in workspaces, for whoever watches: pages over one socket, scripts over SSE.

A watcher has a bounded queue. One that does not keep up loses its queue and is told so by a
`Lagged`; it then asks for the present state, as it did when it began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

HISTORY = 200  # progress and log events kept for each workspace, for those who come later
QUEUE = 1000


class Event(msgspec.Struct, frozen=True):
    """`body` is a JSON object; `type` names its shape. `workspace` is "" for the list itself.

    `person`: the one who is told, if it is not everybody who watches.
    """

    type: str
    workspace: str
    body: dict[str, Any]
    person: str = ""


LAGGED = Event("lagged", "", {})


class Watcher:
    """One who watches; iterate over it, and close it when done."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.workspaces: set[str] = set()
        self.all = False

    def put(self, event: Event) -> None:
        if len(self._queue) >= QUEUE:
            self._queue.clear()
            event = LAGGED
        self._queue.append(event)
        self._wake.set()

    def close(self) -> None:
        self._feed.forget(self)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            self._wake.clear()
            await self._wake.wait()


class Feed:
    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._history: dict[str, deque[Event]] = {}

    def watch(self) -> Watcher:
        watcher = Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def forget(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def publish(self, type: str, workspace: str, body: dict[str, Any], person: str = "") -> None:
        """Tell everybody who watches `workspace`, and those who watch the list of `workspace`."""
        event = Event(type, workspace, body, person)
        if type in ("progress", "log"):
            self._history.setdefault(workspace, deque(maxlen=HISTORY)).append(event)
        for watcher in self._watchers:
            if workspace in watcher.workspaces or (watcher.all and type in ("workspace", "gone")):
                watcher.put(event)

    def history(self, workspace: str) -> list[Event]:
        """Progress and log events since the workspace last began to start."""
        return list(self._history.get(workspace, ()))

    def begin(self, workspace: str) -> None:
        """A new start: what was told of the former one is of no more use."""
        self._history.pop(workspace, None)
