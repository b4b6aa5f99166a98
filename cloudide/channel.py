"""What a room or a terminal sees instead of a socket: the outgoing half of one client's connection.

`send` never waits. While the wire takes frames they go straight to it, with no task and no queue in
between; when the wire is full they are queued. When the queue outgrows its budget the owner drops
it and sends one message that makes up for it, and a client that takes nothing at all for
`stall_limit` seconds is closed. So a slow reader costs its peers nothing, and never grows memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from websockets import frames as websocket

Frame = bytes | str

NORMAL_CLOSURE = 1000  # RFC 6455 section 7.4.1
GONE = 1006  # the connection is there no longer; this code is never sent
STALLED = 1013
STALL_SECONDS = 10.0


class Wire(Protocol):
    """What carries the frames to the client."""

    @property
    def direct(self) -> Callable[[bytes], object] | None:
        """Writes what `encode` made of a frame; None where that is not enough."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the system has not taken yet."""
        ...

    def write(self, frame: Frame) -> None:
        """Write one frame; never waits. A wire that is full says so by `Channel.pause`."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection; what was written goes out first, if the client takes it."""
        ...


def encode(frame: Frame) -> bytes:
    """A frame as a server sends it (RFC 6455 section 5.2)."""
    if isinstance(frame, str):
        return websocket.Frame(websocket.Opcode.TEXT, frame.encode()).serialize(mask=False)
    if len(frame) < 126:  # the hot path: a keystroke, an acknowledgement
        return bytes((0x82, len(frame))) + frame
    return websocket.Frame(websocket.Opcode.BINARY, frame).serialize(mask=False)


class Channel:
    """Frames to one client. The wire calls `pause` when it is full and `resume` when it is not."""

    def __init__(self, wire: Wire, budget: int, stall_limit: float = STALL_SECONDS) -> None:
        self.budget = budget
        self.queued = 0  # bytes that count against the budget
        self.close_code: int | None = None
        self.close_reason = ""
        self.on_drained: Callable[[], None] | None = None
        self.on_direct: Callable[[], None] = lambda: None  # `direct` has changed
        # Writes an encoded frame at once; None while that is not possible. For whoever has one
        # frame for very many channels: everything else uses `send`.
        self.direct: Callable[[bytes], object] | None = wire.direct
        self.followers: list[Channel] = []
        self._wire = wire
        self._stall_limit = stall_limit
        self._paused = False
        self._frames: deque[tuple[Frame, int, object]] = deque()
        self._stalling: asyncio.TimerHandle | None = None

    @property
    def over_budget(self) -> bool:
        return self.queued > self.budget

    @property
    def closing(self) -> bool:
        return self.close_code is not None

    def send(self, frame: Frame, *, counted: bool = True, tag: object = None) -> None:
        """Write a frame, or queue it. `counted`: against the budget (a first sync does not).

        `tag` is handed back by `drop` when this is the first frame that was not written.
        """
        if self.close_code is not None:
            return
        if not self._paused:
            self._wire.write(frame)
            return
        size = len(frame) if counted else 0
        self._frames.append((frame, size, tag))
        self.queued += size

    def drop(self) -> object:
        """Forget all queued frames; returns the tag of the first one that has a tag."""
        tag = next((tag for _, _, tag in self._frames if tag is not None), None)
        self._frames.clear()
        self.queued = 0
        return tag

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """End the connection after what was written; the first call decides code and reason."""
        if self.close_code is not None:
            return
        self.close_code, self.close_reason = code, reason
        self._write_directly(None)
        self._watch_no_more()
        # A client that reads too slowly for what is queued is not waited for.
        self._frames.clear()
        self.queued = 0
        self._wire.close(code, reason)

    @property
    def unsent(self) -> int:
        """Bytes on the wire that the system has not taken yet."""
        return self._wire.unsent

    def follow(self, channel: Channel) -> None:
        """`channel` writes to the same wire, through this one: full for one is full for both."""
        self.followers.append(channel)
        if self._paused:
            channel.pause()

    # ── what the wire says ──────────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """The wire is full."""
        self._paused = True
        self._write_directly(None)
        for follower in self.followers:
            follower.pause()
        if self._stalling is None and self.close_code is None:
            self._watch()

    def resume(self) -> None:
        """The wire takes frames again."""
        self._paused = False
        self._watch_no_more()
        frames = self._frames
        while frames and not self._paused:
            frame, size, _ = frames.popleft()
            self.queued -= size
            self._wire.write(frame)
        if not self._paused and self.on_drained is not None and self.close_code is None:
            self.on_drained()
        if not self._paused and self.close_code is None:
            self._write_directly(self._wire.direct)
        for follower in list(self.followers):
            if self._paused:
                break
            follower.resume()

    def gone(self) -> None:
        """The connection has ended, whoever ended it."""
        self.close(GONE)

    def _write_directly(self, write: Callable[[bytes], object] | None) -> None:
        self.direct = write
        self.on_direct()

    def _watch(self) -> None:
        before = self._wire.unsent

        def look() -> None:
            self._stalling = None
            # Whoever takes even a little of a long first sync is slow, not gone.
            if self._wire.unsent >= before:
                self.close(STALLED, "You took nothing for too long; reconnect.")
            else:
                self._watch()

        loop = asyncio.get_running_loop()
        self._stalling = loop.call_later(self._stall_limit, look)

    def _watch_no_more(self) -> None:
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None
