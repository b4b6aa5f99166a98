"""Streams: one websocket of its own for the bytes of a terminal, a program or a transfer.

A tunnel's bytes have a socket of their own too, which is no websocket: see `tunnels`.

The server mints an unguessable id, names it in a request, and the agent dials `/streams/<id>`.
Nothing is buffered here beyond one websocket's receive queue: a consumer that stops receiving stops
the agent, and a consumer that sends too fast waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from cloudide.agents.failures import UNDECODABLE, error_of
from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable, Conflict
from cloudide.protocol.agent import CHUNK, Eof, Failed, FileContent, Stat, StreamMessage

_log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StreamMessage)

T = TypeVar("T")


class Gone(asyncio.Transport):
    """Takes the place of a transport whose connection is lost.

    websockets aborts the transport whenever a lost connection is used; asyncio's own (Python 3.11)
    answers that with an AttributeError when it had closed after writing all it had.
    """

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True


class Stream:
    """One stream, after the agent has dialled in.

    `reply` is the result of the request that opened it. Every exchange ends with a message that
    says so (`exit`, `eof`, `done`, `failed`); a stream that ends without one was cut off.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self.reply: msgspec.Struct | None = None
        self._socket = socket

    async def recv(self) -> bytes | StreamMessage:
        """The next bytes or control message. Cancelling loses nothing.

        Raises:
            AgentUnavailable: the stream is closed, or the agent broke the protocol.
        """
        try:
            frame = await self._socket.recv()
        except ConnectionClosed as error:
            raise AgentUnavailable("The connection to the workspace was cut.") from error
        if isinstance(frame, bytes):
            return frame
        try:
            return _decoder.decode(frame)
        except UNDECODABLE as error:
            _log.warning("stream.malformed", error=str(error))
            await self.close(CloseCode.INVALID_DATA)
            raise AgentUnavailable("The workspace's agent sent a malformed message.") from error

    async def send(self, message: bytes | StreamMessage) -> None:
        """Send bytes or a control message; waits while the agent is slow to take them.

        Raises:
            AgentUnavailable: the stream is closed.
        """
        try:
            if isinstance(message, bytes):
                await self._socket.send(message)
            else:
                await self._socket.send(_encoder.encode(message), text=True)
        except ConnectionClosed as error:
            raise AgentUnavailable("The connection to the workspace was cut.") from error

    async def send_all(self, data: bytes) -> None:
        """Send bytes of any length in frames of the usual size."""
        view = memoryview(data)
        for start in range(0, len(data), CHUNK):
            await self.send(bytes(view[start : start + CHUNK]))

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Close; a program or transfer at the other end is given up. Idempotent."""
        await self._socket.close(code)


class Download:
    """The bytes of a file, in order, exactly as many as `length` says.

    Iterate it once, to the end, or call `aclose`.
    """

    def __init__(self, stream: Stream, content: FileContent, offset: int, length: int | None):
        self.stat: Stat = content.stat
        rest = max(0, content.stat.size - offset)
        self.length = rest if length is None else min(length, rest)
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.length
        try:
            while True:
                match await self._stream.recv():
                    case bytes() as data if len(data) <= left:
                        left -= len(data)
                        yield data
                    case Eof() if not left:
                        return
                    case Failed(failure):
                        raise error_of(failure)
                    case _:
                        raise Conflict("The file changed while it was being read.")
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        await self._stream.close()


class Rendezvous:
    """The streams of one link: those asked for that have not arrived, and those that have."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # streams on their way at one time
        self._expected: dict[str, asyncio.Future[Stream]] = {}
        self._open: set[ServerConnection] = set()
        self._expected_tunnels: dict[str, asyncio.Future[Tunnel]] = {}
        self._tunnels: set[Tunnel] = set()

    def expect(self, stream_id: str) -> asyncio.Future[Stream]:
        """A future for the stream of that id.

        Raises:
            AgentUnavailable: too many streams are on their way already.
        """
        return self._expect(self._expected, stream_id)

    def expect_tunnel(self, stream_id: str) -> asyncio.Future[Tunnel]:
        """A future for the tunnel of that id. Raises what `expect` does."""
        return self._expect(self._expected_tunnels, stream_id)

    def _expect(self, expected: dict[str, asyncio.Future[T]], stream_id: str) -> asyncio.Future[T]:
        if self.waiting >= self.limit:
            raise AgentUnavailable("The workspace is slow to answer; try again shortly.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        expected[stream_id] = future
        future.add_done_callback(lambda _: expected.pop(stream_id, None))
        return future

    @property
    def waiting(self) -> int:
        """How many streams are on their way."""
        return len(self._expected) + len(self._expected_tunnels)

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._expected

    async def serve(self, stream_id: str, socket: ServerConnection) -> None:
        """Hand a socket to whoever expects it, if anybody does; returns when it is closed."""
        future = self._expected.pop(stream_id, None)
        if future is None or future.done():
            return
        future.set_result(Stream(socket))
        self._open.add(socket)
        try:
            await socket.wait_closed()
        finally:
            self._open.discard(socket)

    def arrived(self, stream_id: str, tunnel: Tunnel) -> bool:
        """Hand a tunnel to whoever expects it; False if nobody does."""
        future = self._expected_tunnels.pop(stream_id, None)
        if future is None or future.done():
            return False
        future.set_result(tunnel)
        self._tunnels.add(tunnel)
        tunnel.on_lost = self._tunnels.discard
        return True

    def cut(self) -> None:
        """End all streams: none outlives the link it was asked for on."""
        for future in [*self._expected.values(), *self._expected_tunnels.values()]:
            if not future.done():
                future.set_exception(AgentUnavailable())
                future.exception()  # whoever asked may have been cancelled in this very turn
        for socket in self._open:
            socket.transport.abort()
        for tunnel in [*self._tunnels]:
            tunnel.transport.abort()
