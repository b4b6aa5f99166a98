"""A running language server: its messages as calls, whatever carries them.

Output is read as it comes and never held back; what is queued for its input is bounded by the
multiplexer, which sends nothing but answers while the process is `full`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

from cloudide.agents.link import Agent
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable
from cloudide.languages.config.session import Session as OwnServer
from cloudide.protocol.agent import (
    STDOUT,
    Exit,
    Exited,
    RunLanguageServer,
    ServerLog,
    ServerMemory,
)
from cloudide.protocol.jsonrpc import Framer, FramingError, frame

MESSAGE_LIMIT = 32 * 1024 * 1024  # bytes of one message of a server
FULL = 512 * 1024  # bytes that wait for the process
QUEUE_LIMIT = 64 * 1024 * 1024  # bytes after which it is given up
PIECE = 256 * 1024  # bytes that are written in one go


class Running(Protocol):
    """A process, or what is in the place of one."""

    @property
    def full(self) -> bool: ...

    def send(self, body: bytes) -> None: ...

    async def run(self) -> str:
        """Returns when it has ended: a sentence that says how."""
        ...

    def kill(self, reason: str) -> None:
        """End it now; `run` returns the reason."""
        ...


class Events(Protocol):
    def received(self, body: bytes) -> None: ...

    def drained(self) -> None: ...

    def logged(self, text: str) -> None: ...

    def measured(self, memory: int) -> None: ...


async def start(
    agent: Agent, command: list[str], environment: dict[str, str], memory: int, events: Events
) -> ServerProcess:
    """Start a server in the workspace; `memory`: bytes it may use.

    Raises:
        CloudIDEError: it cannot be started.
    """
    stream = await agent.open(
        lambda stream_id: RunLanguageServer(stream_id, command, environment, memory)
    )
    return ServerProcess(stream, events, memory)


class ServerProcess:
    """A process in the workspace, behind a stream of the agent."""

    def __init__(self, stream: Stream, events: Events, memory: int) -> None:
        self._stream = stream
        self._events = events
        self._memory = memory
        self._framer = Framer(MESSAGE_LIMIT)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reason = ""

    @property
    def full(self) -> bool:
        return self._queued > FULL

    def send(self, body: bytes) -> None:
        framed = frame(body)
        self._queue.append(framed)
        self._queued += len(framed)
        self._wake.set()
        if self._queued > QUEUE_LIMIT:
            self.kill("It did not read what it was told.")

    def kill(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        tasks = {reading, writing}
        try:
            await asyncio.wait({reading, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            return self._ended.result() if self._ended.done() else reading.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stream.close()  # which kills it, if it still runs

    async def _read(self) -> str:
        while True:
            match await self._stream.recv():
                case bytes() as data if data[:1] == bytes((STDOUT,)):
                    try:
                        bodies = self._framer.feed(data[1:])
                    except FramingError as error:
                        return f"It wrote what is no message: {error}"
                    for body in bodies:
                        self._events.received(body)
                case ServerLog(text):
                    self._events.logged(text)
                case ServerMemory(used, exceeded):
                    self._events.measured(used)
                    if exceeded:
                        self._reason = (
                            f"It used more than {self._memory // 2**20:,} MiB of memory and was "
                            "ended."
                        )
                case Exited(exit):
                    return self._reason or _how(exit)
                case _:
                    raise AgentUnavailable("The workspace's agent sent a malformed message.")

    async def _write(self) -> None:
        with suppress(AgentUnavailable):  # `_read` finds that out
            while True:
                while not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                piece = self._queue.popleft()
                if len(piece) < PIECE and self._queue:
                    parts, size = [piece], len(piece)
                    while self._queue and size + len(self._queue[0]) <= PIECE:
                        parts.append(self._queue.popleft())
                        size += len(parts[-1])
                    piece = b"".join(parts)
                was_full = self.full
                await self._stream.send_all(piece)
                self._queued -= len(piece)
                if was_full and not self.full:
                    self._events.drained()


class OwnProcess:
    """Our own server for configuration files, which runs in this process."""

    full = False

    def __init__(self, events: Events) -> None:
        loop = asyncio.get_running_loop()
        # Not from within `send`: the multiplexer may be in the middle of something.
        self._server = OwnServer(lambda body: _soon(loop, events, body))
        self._ended: asyncio.Future[str] = loop.create_future()

    def send(self, body: bytes) -> None:
        self._server.send(body)

    def kill(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        try:
            return await self._ended
        finally:
            self._server.close()


def _soon(loop: asyncio.AbstractEventLoop, events: Events, body: bytes) -> None:
    loop.call_soon(events.received, body)


def _how(exit: Exit) -> str:
    if exit.signal is not None:
        return f"It was ended by signal {exit.signal}."
    return f"It ended with code {exit.code}."
