"""Language servers: programs like any other, but for two things that are never left to chance.

What they print on stderr is always read, whether or not anybody takes it: a full pipe would stop
them. And the memory they use is looked at; one that uses too much is killed before the whole
workspace suffers (there is no cgroup of its own for it).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.beneath import Root
from cloudide.agent.processes import KILL, READ_SIZE, Process
from cloudide.agent.user import User
from cloudide.protocol.agent import (
    STDOUT,
    Execute,
    RunLanguageServer,
    ServerLog,
    ServerMemory,
)

PIPE = 256 * 1024  # bytes
LOG_LIMIT = 16 * 1024  # bytes of stderr that are kept until they are told
LOG_SECONDS = 0.2  # between two tellings
MEMORY_SECONDS = (0.2, 0.5, 1.0, 2.0)  # between two looks: more often while it starts

_json = msgspec.json.Encoder()


class LanguageServer(Process):
    """A started server whose pipes wait for a stream."""

    read_size = PIPE

    def __init__(self, root: Root, user: User, request: RunLanguageServer) -> None:
        super().__init__(root, user, Execute(request.stream, request.argv, "", request.env))
        # A long answer goes through as one piece, not one for each filling of a usual pipe.
        with suppress(OSError):  # the user has as much in pipes as he may
            fcntl.fcntl(self.stdout, fcntl.F_SETPIPE_SZ, PIPE)
        self._memory_limit = request.memory_limit

    async def serve(self, socket: ClientConnection) -> None:
        """Pass messages until the server has ended; kill it if the stream closes before."""
        watching = asyncio.create_task(self._watch_memory(socket))
        try:
            await super().serve(socket)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _pass(self, descriptor: int, prefix: int, socket: ClientConnection) -> None:
        if prefix == STDOUT:
            await super()._pass(descriptor, prefix, socket)
        else:
            await self._drain(descriptor, socket)

    async def _drain(self, descriptor: int, socket: ClientConnection) -> None:
        """Read all of stderr, and tell the end of what came every now and then."""
        reader = asyncio.StreamReader(limit=READ_SIZE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        kept = bytearray()
        came = asyncio.Event()
        ended = False

        async def tell() -> None:
            while not ended or kept:
                came.clear()
                if kept:
                    text = kept.decode(errors="replace")
                    kept.clear()
                    await socket.send(_json.encode(ServerLog(text)), text=True)
                    await asyncio.sleep(LOG_SECONDS)
                elif not ended:
                    await came.wait()

        telling = asyncio.create_task(tell())
        try:
            while data := await reader.read(READ_SIZE):
                kept += data
                del kept[:-LOG_LIMIT]
                came.set()
            ended = True
            came.set()
            with suppress(ConnectionClosed):
                await telling
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            transport.close()

    async def _watch_memory(self, socket: ClientConnection) -> None:
        told = 0
        pauses, pause = iter(MEMORY_SECONDS), 0.0
        with suppress(ConnectionClosed):
            while not self.child.exited.done():
                used = self.child.memory()
                exceeded = used > self._memory_limit
                # A little more or less is no news.
                if exceeded or abs(used - told) * 50 > told:
                    told = used
                    await socket.send(_json.encode(ServerMemory(used, exceeded)), text=True)
                if exceeded:
                    await self.child.end(*KILL)
                pause = next(pauses, pause)
                await asyncio.sleep(pause)
