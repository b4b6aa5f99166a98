"""The connection that is attached to a terminal: see `protocol/output.py`.

A key is on its way to the program, and its echo on its way to the server, in the turn of the loop
that sees it: no task and no queue, unless the other side is slow to take it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from cloudide.protocol.agent import CHUNK, Exit, Exited, Ready, Replay, Resized
from cloudide.protocol.output import message, output

HIGH_WATER = 256 * 1024  # bytes on their way at which reading stops
READ_SIZE = 64 * 1024  # bytes of what is typed


class Source(Protocol):
    """The terminal, as its attachment sees it."""

    def past(self) -> tuple[Replay, bytes]:
        """All that is known of the past, up to what was fed last."""
        ...

    def replayed(self) -> None:
        """A replay is on its way, whole."""
        ...

    def read_on(self) -> None:
        """There is room again."""
        ...

    def type(self, data: bytes) -> bytes:
        """Write what was typed; what is returned the program does not take yet. When it takes
        more, `type_on` is called."""
        ...


class Attachment:
    """Until `ended`; then the connection is closed."""

    def __init__(self, source: Source, connection: socket.socket) -> None:
        """`connection` does not block."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._source = source
        self._connection = connection
        self._pending = bytearray()
        self._typed = b""  # what the program has not taken yet
        self._last = False  # nothing comes behind what is pending
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._readable)
        self.replay()

    @property
    def full(self) -> bool:
        return len(self._pending) > HIGH_WATER

    def feed(self, data: bytes) -> None:
        self._send(output(data))

    def replay(self) -> None:
        """Send the past (again), after what was fed before."""
        replay, past = self._source.past()
        self._send(message(replay))
        for start in range(0, len(past), CHUNK):
            self._send(output(past[start : start + CHUNK]))
        self._send(message(Ready()))
        self._source.replayed()

    def resized(self, cols: int, rows: int) -> None:
        """Say so where it happened, among what the program prints."""
        self._send(message(Resized(cols, rows)))

    def end(self, status: Exit) -> None:
        """The program has ended; this does too, after what was fed before."""
        self._last = True
        self._send(message(Exited(status)))

    def type_on(self) -> None:
        """The program takes more of what was typed."""
        if not self.ended.done() and self._typed:
            self._typed = self._source.type(self._typed)
            if not self._typed:
                self._loop.add_reader(self._connection, self._readable)

    def close(self) -> None:
        """Close at once. Idempotent."""
        if not self.ended.done():
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()
            self.ended.set_result(None)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # the server has gone, or nobody looks any more
            self.close()
            return
        self._typed = self._source.type(data)
        if self._typed:
            self._loop.remove_reader(self._connection)

    def _send(self, frame: bytes) -> None:
        if self.ended.done():
            return
        if not self._pending:
            sent = self._sent(frame)
            if sent is None:
                return
            if sent == len(frame):
                if self._last:
                    self.close()
                return
            frame = frame[sent:]
            self._loop.add_writer(self._connection, self._writable)
        self._pending += frame

    def _writable(self) -> None:
        with memoryview(self._pending) as pending, pending[:CHUNK] as part:
            sent = self._sent(part)
        if sent is None:
            return
        del self._pending[:sent]
        if not self._pending:
            self._loop.remove_writer(self._connection)
            if self._last:
                self.close()
                return
        if not self.full:
            self._source.read_on()

    def _sent(self, data: bytes | memoryview) -> int | None:
        """How many bytes the server's side has taken; None: it is gone."""
        try:
            return self._connection.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.close()
            return None
