"""Language servers: programs whose standard input and output are sockets of the server's.

No byte of what the two say to each other comes by here. Two things are never left to chance. What
they print on stderr is always read, whether or not anybody takes it: a full pipe would stop
them. And the memory they use is looked at; one that uses too much is killed before the whole
workspace suffers (there is no cgroup of its own for it).
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.beneath import Root
from cloudide.agent.processes import DRAIN, KILL, READ_SIZE
from cloudide.agent.spawn import spawn
from cloudide.agent.user import User
from cloudide.protocol.agent import Exited, RunLanguageServer, ServerLog, ServerMemory

SEND_BUFFER = 1024 * 1024  # bytes that the kernel keeps for our server, if it lets us
LOG_LIMIT = 16 * 1024  # bytes of stderr that are kept until they are told
LOG_SECONDS = 0.2  # between two tellings
MEMORY_SECONDS = (0.2, 0.5, 1.0, 2.0)  # between two looks: more often while it starts

_json = msgspec.json.Encoder()


class LanguageServer:
    """A started server that speaks with our server itself, and waits for a stream to be watched."""

    def __init__(
        self,
        root: Root,
        user: User,
        request: RunLanguageServer,
        stdin: socket.socket,
        stdout: socket.socket,
    ) -> None:
        """`stdin` and `stdout` lead to our server; the caller closes them afterwards.

        Raises:
            Refused: it cannot be started.
        """
        for end in (stdin, stdout):
            end.setblocking(True)  # which it is to find as usual
        # A long answer is written in one go, without a wait for who reads it.
        stdout.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._memory_limit = request.memory_limit
        self._stderr, stderr = os.pipe()
        theirs = (stdin.fileno(), stdout.fileno(), stderr)
        try:
            self._child = spawn(
                root,
                "",
                request.argv,
                {**user.environment, **request.env},
                [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)],
            )
        except BaseException:
            os.close(self._stderr)
            raise
        finally:
            os.close(stderr)

    async def serve(self, stream: ClientConnection) -> None:
        """Watch the server until it has ended; kill it if the stream closes before."""
        draining = asyncio.create_task(self._drain(self._stderr, stream))
        watching = asyncio.create_task(self._watch_memory(stream))
        closed = asyncio.create_task(stream.wait_closed())
        exited = asyncio.ensure_future(asyncio.shield(self._child.exited))
        try:
            await asyncio.wait([exited, closed], return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                await asyncio.wait(
                    [draining, closed], timeout=DRAIN, return_when=asyncio.FIRST_COMPLETED
                )
                with suppress(ConnectionClosed):
                    await stream.send(_json.encode(Exited(exited.result())), text=True)
        finally:
            tasks = [draining, watching, closed, exited]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._child.exited.done():
                await self._child.end(*KILL)
            await stream.close()

    async def abandon(self) -> None:
        """Kill the server; no stream comes."""
        os.close(self._stderr)
        await self._child.end(*KILL)

    async def _drain(self, descriptor: int, stream: ClientConnection) -> None:
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
                    await stream.send(_json.encode(ServerLog(text)), text=True)
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

    async def _watch_memory(self, stream: ClientConnection) -> None:
        told = 0
        pauses, pause = iter(MEMORY_SECONDS), 0.0
        with suppress(ConnectionClosed):
            while not self._child.exited.done():
                used = self._child.memory()
                exceeded = used > self._memory_limit
                # A little more or less is no news.
                if exceeded or abs(used - told) * 50 > told:
                    told = used
                    await stream.send(_json.encode(ServerMemory(used, exceeded)), text=True)
                if exceeded:
                    await self._child.end(*KILL)
                pause = next(pauses, pause)
                await asyncio.sleep(pause)
