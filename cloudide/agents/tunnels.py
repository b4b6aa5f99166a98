"""The server's end of a tunnel: nothing but bytes, over a Unix socket that the agent dialled.

The other end is a connection to a port, or a language server's input or output.

What comes is handed to whoever holds the tunnel as a call from the loop's read event, and what they
write goes to the transport: no task, no queue, no frame. Who is slow says so to the transport, and
the kernel holds back the other end.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from cloudide.errors import AgentUnavailable
from cloudide.protocol.agent import CHUNK, GREETING_LIMIT

LARGE = 64 * 1024  # bytes of one read; who sends so much has more
WRITE_LIMIT = 256 * 1024  # bytes that wait to be written before a holder is asked to pause


class Holder(Protocol):
    """What a tunnel is held by. All methods are called by the loop and must not block."""

    def data_received(self, data: bytes) -> None: ...

    def ended(self, *, cut: bool) -> None:
        """Nothing more will come: the program has ended its direction, or (`cut`) the connection
        is gone, and what was written may not have arrived."""

    def pause_writing(self) -> None:
        """More is waiting than should: write no more for now."""

    def resume_writing(self) -> None: ...


class Tunnel(asyncio.Protocol):
    """One connection, after its greeting.

    Nothing is read before the first holder has come. Between two holders nothing is due either;
    what comes then, be it the end, makes the tunnel `stale`.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        accept: Callable[[Tunnel, bytes], bool],
        count: Callable[[int], bool],
        patience: float,
    ) -> None:
        """`accept(tunnel, greeting)` says whether somebody waits for this one, `count(1 or -1)`
        whether there may be so many; the greeting has to come within `patience` seconds."""
        self.stale = False
        self.on_lost: Callable[[Tunnel], None] | None = None
        self._accept = accept
        self._count = count
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._greeting: bytes | None = b""
        self._early = b""  # what came right behind the greeting
        self._holder: Holder | None = None
        self._ended = False  # the program's direction
        self._half_closed = False  # ours
        self._held_back = False  # by the holder, or because there is none yet
        self._resting = False  # until the loop's next turn
        self._paused = False
        self._loop = asyncio.get_running_loop()

    def hold(self, holder: Holder | None) -> None:
        """From now on, calls go to `holder`; None: to nobody, until the next one comes."""
        self._holder = holder
        if holder is None:
            return
        early, self._early = self._early, b""
        if early:
            holder.data_received(early)
        if self.stale:
            holder.ended(cut=True)
        elif self._held_back:
            self.resume_reading()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def write_eof(self) -> None:
        """End our direction, after what was written."""
        self._half_closed = True
        if not self.transport.is_closing():
            self.transport.write_eof()

    def pause_reading(self) -> None:
        self._held_back = True
        self._read_or_not()

    def resume_reading(self) -> None:
        self._held_back = False
        self._read_or_not()

    def _go_on(self) -> None:
        self._resting = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        pause = self._held_back or self._resting
        if pause == self._paused or self._ended or self.transport.is_closing():
            return
        self._paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once; what was not sent is lost. Idempotent."""
        self.stale = True
        self._holder = None
        self.transport.abort()

    # ── from the transport ──────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        transport.set_write_buffer_limits(WRITE_LIMIT)
        self._timer = self._loop.call_later(self._patience, transport.abort)
        if not self._count(1):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._holder is not None:
            if len(data) >= LARGE and not self._resting:
                # There will be more, and the loop would read on at once: first all others' turn.
                self._resting = True
                self._read_or_not()
                self._loop.call_soon(self._go_on)
            self._holder.data_received(data)
        elif self._greeting is not None:
            self._greet(self._greeting + data)
        elif self._paused:
            self._early += data  # it was read already when reading was paused
        else:
            self.abort()

    def eof_received(self) -> bool:
        self._ended = True
        if self._greeting is not None or self._holder is None:
            self.abort()
            return False
        self._holder.ended(cut=not self._half_closed and self._hung_up())
        return not self.transport.is_closing()  # our own direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._count(-1)
        if self._timer is not None:
            self._timer.cancel()
        self.stale = True
        if self.on_lost is not None:
            self.on_lost(self)
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.ended(cut=True)

    def pause_writing(self) -> None:
        if self._holder is not None:
            self._holder.pause_writing()

    def resume_writing(self) -> None:
        if self._holder is not None:
            self._holder.resume_writing()

    def _greet(self, data: bytes) -> None:
        greeting, separator, rest = data.partition(b"\n")
        if len(greeting) > GREETING_LIMIT:
            self.transport.abort()
        elif not separator:
            self._greeting = data
        elif self._accept(self, greeting):
            self._greeting, self._early = None, rest
            if self._timer is not None:
                self._timer.cancel()
            self.pause_reading()
        else:
            self.transport.abort()

    def _hung_up(self) -> bool:
        """Whether the agent has closed the socket, and not its direction alone."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))


class Connection:
    """A tunnel for who would rather wait than be called."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._cut = False
        self._waiting: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        tunnel.hold(self)

    async def read(self) -> bytes:
        """The next bytes; b"" when the program has ended its direction. Cancelling loses nothing.

        Raises:
            AgentUnavailable: the connection was cut.
        """
        while not self._chunks:
            if self._cut:
                raise AgentUnavailable("The connection to the workspace was cut.")
            if self._ended:
                return b""
            self._tunnel.resume_reading()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._chunks.popleft()

    async def write(self, data: bytes) -> None:
        """Write; waits first while the program is slow to take what was written before.

        Raises:
            AgentUnavailable: the connection was cut.
        """
        for start in range(0, len(data), CHUNK):
            await self._writable.wait()
            if self._cut:
                raise AgentUnavailable("The connection to the workspace was cut.")
            self._tunnel.write(data[start : start + CHUNK])

    def write_eof(self) -> None:
        """End our direction."""
        self._tunnel.write_eof()

    def close(self) -> None:
        self._tunnel.abort()

    # ── held by ─────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._tunnel.pause_reading()
        self._wake()

    def ended(self, *, cut: bool) -> None:
        self._ended = True
        self._cut = self._cut or cut
        if cut:
            self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        if not self._cut:
            self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
