"""Outlets: loopback ports whose connections are fetched by the server (`protocol/outlets.py`)."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.failures import Refused
from cloudide.protocol import outlets as protocol
from cloudide.protocol.agent import CHUNK, Eof

_eof = msgspec.json.encode(Eof()).decode()


class Outlets:
    def __init__(self) -> None:
        self._listening: dict[str, socket.socket] = {}
        self._accepting: dict[str, set[asyncio.Task[socket.socket]]] = {}

    def open(self) -> protocol.Outlet:
        if len(self._listening) >= protocol.OUTLETS_LIMIT:
            raise Refused("conflict", "There are too many outlets.")
        listener = socket.socket()
        try:
            listener.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen(protocol.BACKLOG)
        except BaseException:
            listener.close()
            raise
        id = secrets.token_hex(8)
        self._listening[id] = listener
        self._accepting[id] = set()
        return protocol.Outlet(id, listener.getsockname()[1])

    async def accept(self, id: str) -> socket.socket:
        """Raises: Refused: the outlet is closed, now or while this waits."""
        listener = self._listening.get(id)
        if listener is None:
            raise Refused("gone", "The outlet is closed.")
        task = asyncio.create_task(_accept(listener))
        self._accepting[id].add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if id not in self._listening:
                raise Refused("gone", "The outlet is closed.") from None
            task.cancel()
            raise
        finally:
            if id in self._accepting:
                self._accepting[id].discard(task)

    def close(self, id: str) -> None:
        listener = self._listening.pop(id, None)
        for task in self._accepting.pop(id, ()):
            task.cancel()
        if listener is not None:
            # The loop may have it in its selector until the tasks have ended.
            asyncio.get_running_loop().call_soon(listener.close)

    def close_all(self) -> None:
        """None outlives the link that it was asked for on."""
        for id in [*self._listening]:
            self.close(id)


async def _accept(listener: socket.socket) -> socket.socket:
    accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
    accepted.setblocking(False)
    return accepted


async def relay(connection: socket.socket, stream: ClientConnection) -> None:
    """Pass bytes both ways until both have ended, or one is gone."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=CHUNK)
    back = asyncio.create_task(_back(stream, writer))
    try:
        with suppress(ConnectionClosed, ConnectionError):
            while data := await reader.read(CHUNK):
                await stream.send(data)
            await stream.send(_eof)
            await back
    finally:
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        writer.close()
        await stream.close()


async def _back(stream: ClientConnection, writer: asyncio.StreamWriter) -> None:
    try:
        while isinstance(data := await stream.recv(), bytes):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionClosed, ConnectionError):
        # The server has let go of it: whoever reads it hears that, and no more is read from them.
        writer.close()
