"""A running language server: its messages as calls, whatever carries them.

Its input and output are sockets of ours, so that what it writes is read from where it wrote it, as
it comes, and never held back; what waits for its input is bounded by the multiplexer, which sends
nothing but answers while the process is `full`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from cloudide.agents.link import Agent
from cloudide.agents.streams import Stream
from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable
from cloudide.protocol.agent import Exit, Exited, ServerLog, ServerMemory
from cloudide.protocol.jsonrpc import Framer, FramingError, frame

if TYPE_CHECKING:
    from cloudide.languages.config.session import Session as OwnServer

_OWN_SERVER = "cloudide.languages.config.session"
MESSAGE_LIMIT = 32 * 1024 * 1024  # bytes of one message of a server
FULL = 512 * 1024  # bytes that wait for the process
QUEUE_LIMIT = 64 * 1024 * 1024  # bytes after which it is given up
LAST_SECONDS = 1.0  # after its end for its last words, which something it left may hold up
CLOSED_SECONDS = 5.0  # after it has closed its output until it is ended


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
    stream, stdin, stdout = await agent.run_language_server(command, environment, memory)
    return ServerProcess(stream, stdin, stdout, events, memory)


class ServerProcess:
    """A process in the workspace: its input and output are tunnels, all else comes on a stream."""

    def __init__(
        self, stream: Stream, stdin: Tunnel, stdout: Tunnel, events: Events, memory: int
    ) -> None:
        self._stream = stream
        self._stdout = stdout
        self._memory = memory
        self._reason = ""
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[str] = loop.create_future()
        self._output_ended = asyncio.Event()
        self._input = _Input(stdin, events, self.kill)
        self._output = _Output(events, self.kill, self._output_ended)
        self._events = events

    @property
    def full(self) -> bool:
        return self._input.full

    def send(self, body: bytes) -> None:
        self._input.send(body)

    def kill(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        watching = asyncio.create_task(self._watch())
        closing = asyncio.create_task(self._miss())
        try:
            self._stdout.hold(self._output)
            await asyncio.wait({watching, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            return self._ended.result() if self._ended.done() else watching.result()
        finally:
            self._input.close()
            self._stdout.abort()
            for task in (watching, closing):
                task.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)
            await self._stream.close()  # which kills it, if it still runs

    async def _watch(self) -> str:
        while True:
            match await self._stream.recv():
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
                    with suppress(TimeoutError):  # somebody else may still have it
                        async with asyncio.timeout(LAST_SECONDS):
                            await self._output_ended.wait()
                    return self._reason or _how(exit)
                case _:
                    raise AgentUnavailable("The workspace's agent sent a malformed message.")

    async def _miss(self) -> None:
        """One that has closed its output and goes on is of no use any longer."""
        await self._output_ended.wait()
        await asyncio.sleep(CLOSED_SECONDS)
        self.kill("It closed its output.")


class _Input:
    """What the process is told. The transport keeps what does not fit into the socket."""

    def __init__(self, tunnel: Tunnel, events: Events, kill: Callable[[str], None]) -> None:
        self.full = False
        self._tunnel = tunnel
        self._events = events
        self._kill = kill
        self._closed = False
        if not tunnel.transport.is_closing():
            tunnel.transport.set_write_buffer_limits(FULL)
        tunnel.hold(self)

    def send(self, body: bytes) -> None:
        if self._closed:
            return  # how it ended is still to be told
        self._tunnel.write(frame(body))
        if self.full and self._tunnel.transport.get_write_buffer_size() > QUEUE_LIMIT:
            self._kill("It did not read what it was told.")

    def close(self) -> None:
        self._closed = True
        self._tunnel.abort()

    # ── held by ─────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        self._tunnel.pause_reading()  # nothing is due from there

    def ended(self, *, cut: bool) -> None:
        self._closed = self._closed or cut

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._events.drained()


class _Output:
    """What the process says, from the read event of the loop."""

    def __init__(self, events: Events, kill: Callable[[str], None], ended: asyncio.Event) -> None:
        self._events = events
        self._kill = kill
        self._ended = ended
        self._framer = Framer(MESSAGE_LIMIT)
        self._broken = False

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            bodies = self._framer.feed(data)
        except FramingError as error:
            self._broken = True
            self._kill(f"It wrote what is no message: {error}")
            return
        for body in bodies:
            self._events.received(body)

    def ended(self, *, cut: bool) -> None:
        self._ended.set()

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class OwnProcess:
    """Our own server for configuration files, which runs in this process."""

    full = False

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, events: Events) -> OwnProcess:
        # Its libraries take most of a second to load: not before somebody needs them, and beside
        # the loop.
        module = await asyncio.to_thread(importlib.import_module, _OWN_SERVER)
        loop = asyncio.get_running_loop()
        # Not from within `send`: the multiplexer may be in the middle of something.
        return cls(module.Session(lambda body: _soon(loop, events, body)))

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
