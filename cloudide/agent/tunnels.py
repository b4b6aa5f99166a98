"""Tunnels: bytes between a stream and a TCP port of the container's own loopback address."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.failures import Refused
from cloudide.protocol.agent import CHUNK, Eof

CONNECT_TIMEOUT = 5.0  # seconds
HOSTS = ("127.0.0.1", "::1")  # nothing that a server asks for leads anywhere else

_json = msgspec.json.Encoder()
_eof = msgspec.json.Decoder(Eof)


class Tunnel:
    """A connection to a port, before its stream has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def serve(self, socket: ClientConnection) -> None:
        """Pass bytes both ways until both sides have said `eof`, or one of them is gone."""
        there = asyncio.create_task(self._to_port(socket))
        back = asyncio.create_task(self._from_port(socket))
        try:
            # Either ends early only because its side is gone: the other has nobody to talk to.
            await asyncio.wait([there, back], return_when=asyncio.FIRST_EXCEPTION)
            with suppress(ConnectionClosed, OSError, msgspec.DecodeError):
                for task in (there, back):
                    if task.done():
                        task.result()
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            self.abandon()
            await socket.close()

    def abandon(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()

    async def _to_port(self, socket: ClientConnection) -> None:
        while isinstance(frame := await socket.recv(), bytes):
            self._writer.write(frame)
            await self._writer.drain()
        _eof.decode(frame)
        self._writer.write_eof()
        await self._writer.drain()

    async def _from_port(self, socket: ClientConnection) -> None:
        while data := await self._reader.read(CHUNK):
            await socket.send(data)
        await socket.send(_json.encode(Eof()), text=True)


async def connect(port: int) -> Tunnel:
    """Connect to what listens on a port.

    Raises:
        Refused: nothing does, or it takes no connection in time.
    """
    if not 0 < port < 65536:
        raise Refused("invalid", f"{port} is not a TCP port; those are 1 to 65535.")
    for host in HOSTS:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return Tunnel(*await asyncio.open_connection(host, port, limit=CHUNK))
        except TimeoutError as error:
            message = f"The program on port {port} takes no connection."
            raise Refused("internal", message) from error
        except OSError:
            continue
    raise Refused("not_found", f"Nothing listens on port {port}.")
