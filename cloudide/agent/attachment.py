"""What is on its way from a terminal to the stream that is attached to it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec
from websockets.asyncio.client import ClientConnection

from cloudide.protocol.agent import CHUNK, Exit, Exited, Ready, Replay

HIGH_WATER = 256 * 1024  # bytes on their way at which reading stops

_json = msgspec.json.Encoder()


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


class Attachment:
    def __init__(self, source: Source, socket: ClientConnection, task: asyncio.Task[object]):
        self.task = task
        self._source = source
        self._socket = socket
        self._pending = bytearray()
        self._exit: Exit | None = None
        self._replay = True
        self._wake = asyncio.Event()
        self._wake.set()

    @property
    def full(self) -> bool:
        return len(self._pending) > HIGH_WATER

    def feed(self, data: bytes) -> None:
        self._pending += data
        self._wake.set()

    def replay(self) -> None:
        """Send the past (again), after what was fed before."""
        self._replay = True
        self._wake.set()

    def end(self, status: Exit) -> None:
        self._exit = status
        self._wake.set()

    async def send(self) -> None:
        """Send until the program has ended; the past comes first."""
        await self._send_past()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                data = bytes(self._pending[:CHUNK])
                del self._pending[:CHUNK]
                await self._socket.send(data)
                if not self.full:
                    self._source.read_on()
            if self._replay:
                await self._send_past()
                self._wake.set()
            elif self._exit is not None:
                await self._socket.send(_json.encode(Exited(self._exit)), text=True)
                return

    async def _send_past(self) -> None:
        self._replay = False
        self._pending.clear()  # nothing, or part of the past of which nobody has heard
        replay, past = self._source.past()
        await self._socket.send(_json.encode(replay), text=True)
        for start in range(0, len(past), CHUNK):
            await self._socket.send(past[start : start + CHUNK])
        await self._socket.send(_json.encode(Ready()), text=True)
        self._source.replayed()
