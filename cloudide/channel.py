"""What a room or a terminal sees instead of a socket: the outgoing half of one client's connection.

`send` never waits: frames are queued and a task of the channel's own empties the queue, so that a
slow reader costs its peers nothing. When the queue outgrows its budget the owner drops it and sends
one message that makes up for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

Frame = bytes | str

_log = structlog.get_logger(__name__)

NORMAL_CLOSURE = 1000  # RFC 6455 section 7.4.1


class Channel:
    """A bounded queue of frames and the task (`run`) that sends them."""

    def __init__(self, send: Callable[[Frame], Awaitable[None]], budget: int) -> None:
        self.budget = budget
        self.queued = 0  # bytes that count against the budget
        self.close_code: int | None = None
        self.close_reason = ""
        self.on_drained: Callable[[], None] | None = None
        self._send = send
        self._frames: deque[tuple[Frame, int, object]] = deque()
        self._wake = asyncio.Event()

    @property
    def over_budget(self) -> bool:
        return self.queued > self.budget

    @property
    def closing(self) -> bool:
        return self.close_code is not None

    def send(self, frame: Frame, *, counted: bool = True, tag: object = None) -> None:
        """Queue a frame. `counted`: it counts against the budget (a first sync does not).

        `tag` is handed back by `drop` when this is the first frame that was not sent.
        """
        if self.close_code is not None:
            return
        size = len(frame) if counted else 0
        self._frames.append((frame, size, tag))
        self.queued += size
        if len(self._frames) == 1:
            self._wake.set()

    def drop(self) -> object:
        """Forget all queued frames; returns the tag of the first one that has a tag."""
        tag = next((tag for _, _, tag in self._frames if tag is not None), None)
        self._frames.clear()
        self.queued = 0
        return tag

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """End the connection after what is queued; the first call decides code and reason."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self._wake.set()

    async def run(self) -> None:
        """Send until closed. Returns when the connection is to be closed or is gone."""
        frames = self._frames
        while True:
            while frames:
                frame, size, _ = frames[0]
                try:
                    await self._send(frame)
                except (ConnectionError, OSError, RuntimeError) as error:
                    _log.debug("channel.gone", error=str(error))
                    self.close(1006)
                    return
                # `drop` may have emptied the queue while this frame was on its way.
                if frames and frames[0][0] is frame:
                    frames.popleft()
                    self.queued -= size
            if self.close_code is not None:
                return
            if self.on_drained is not None:
                self.on_drained()
                if frames:
                    continue
            self._wake.clear()
            await self._wake.wait()
