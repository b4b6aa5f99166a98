"""Tunnels: bytes between the server and a TCP port of the container's own loopback address.

Two sockets, and in each direction nothing but recv and send: what arrives at one is sent to the
other in the same turn of the loop, at most `CHUNK` bytes, so that no tunnel keeps the others, or a
terminal, waiting. What the other socket does not take is kept, and nothing more is read until it
has gone.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import suppress

from cloudide.agent.failures import Refused
from cloudide.protocol.agent import CHUNK

CONNECT_TIMEOUT = 5.0  # seconds
SEND_BUFFER = 1024 * 1024  # bytes that the kernel keeps for the server, if it lets us
# Nothing that a server asks for leads anywhere else.
HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_buffer = memoryview(bytearray(CHUNK))  # of whichever direction is at work; the loop has one thread


class Tunnel:
    """Both directions of one connection, from now on until they have ended.

    `server` and `program` are connected, do not block, and are closed with the tunnel.
    """

    def __init__(self, server: socket.socket, program: socket.socket) -> None:
        self._server = server
        self._program = program
        self._ended = asyncio.get_running_loop().create_future()
        self._there = _Way(server, program, self._way_ended, self._cut)
        self._back = _Way(program, server, self._way_ended, self._cut)
        self._hang_up: _HangUp | None = None

    async def serve(self) -> None:
        """Pass bytes on until both sides have ended theirs, or one of them is gone."""
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._program.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._there.begin()
        self._back.begin()
        try:
            await self._ended
        finally:
            self._there.stop()
            self._back.stop()
            if self._hang_up is not None:
                self._hang_up.close()
            self._server.close()
            self._program.close()

    def _way_ended(self) -> None:
        if self._there.ended and self._back.ended:
            self._cut()
        elif self._there.ended:
            # The server has ended its direction, or has gone. Nothing is read from it any longer
            # that would tell of its going, and a program that is silent has nothing to send it.
            self._hang_up = _HangUp(self._server, self._cut)

    def _cut(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class _Way:
    """One direction: from a socket to the other, and then the end of it."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        on_end: Callable[[], None],
        on_error: Callable[[], None],
    ) -> None:
        self.ended = False
        self._source = source
        self._sink = sink
        self._on_end = on_end
        self._on_error = on_error
        self._rest = b""  # what the sink has not taken yet
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        self._loop.add_reader(self._source, self._readable)

    def stop(self) -> None:
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)

    def _readable(self) -> None:
        try:
            size = self._source.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._on_error()
            return
        if not size:
            self._loop.remove_reader(self._source)
            with suppress(OSError):  # it is gone already
                self._sink.shutdown(socket.SHUT_WR)
            self.ended = True
            self._on_end()
            return
        sent = self._send(_buffer[:size])
        if sent is not None and sent < size:
            self._rest = bytes(_buffer[sent:size])
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._writable)

    def _writable(self) -> None:
        sent = self._send(self._rest)
        if sent is None:
            return
        self._rest = self._rest[sent:]
        if not self._rest:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._readable)

    def _send(self, data: bytes | memoryview) -> int | None:
        """How many bytes the sink has taken; None: it is gone."""
        try:
            return self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._on_error()
            return None


class _HangUp:
    """Tells when the other end of a socket has been closed, of which nothing is read any longer."""

    def __init__(self, connection: socket.socket, on_hang_up: Callable[[], None]) -> None:
        # A descriptor of epoll is itself readable when it has something to tell (epoll(7)); without
        # any events asked for, that is a hang-up alone.
        self._epoll = select.epoll()
        self._epoll.register(connection, 0)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll, on_hang_up)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll)
        self._epoll.close()


async def connect(port: int) -> socket.socket:
    """Connect to what listens on a port.

    Raises:
        Refused: nothing does, or it takes no connection in time.
    """
    if not 0 < port < 65536:
        raise Refused("invalid", f"{port} is not a TCP port; those are 1 to 65535.")
    loop = asyncio.get_running_loop()
    for family, host in HOSTS:
        connection = None
        try:
            connection = socket.socket(family)
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(connection, (host, port))
            return connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, TimeoutError):
                message = f"The program on port {port} takes no connection."
                raise Refused("internal", message) from error
            if not isinstance(error, OSError):
                raise
    raise Refused("not_found", f"Nothing listens on port {port}.")
