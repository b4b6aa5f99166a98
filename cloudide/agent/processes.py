"""Programs without a terminal: their input and output are a stream."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.beneath import Root
from cloudide.agent.spawn import spawn
from cloudide.agent.user import User
from cloudide.protocol.agent import STDERR, STDOUT, Eof, Execute, Exited, Signal

READ_SIZE = 64 * 1024
DRAIN = 0.5  # seconds that output of what a program leaves behind is waited for after its end
KILL = ((2.0, (signal.SIGKILL,)),)

_json = msgspec.json.Encoder()
_control = msgspec.json.Decoder(Eof | Signal)


class Process:
    """A started program whose pipes wait for a stream."""

    def __init__(self, root: Root, user: User, request: Execute) -> None:
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        theirs = (stdin, stdout, stderr)
        try:
            self._child = spawn(
                root,
                request.cwd,
                request.argv,
                {**user.environment, **request.env},
                [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)],
                request.files,
            )
        except BaseException:
            for end in (self._stdin, self._stdout, self._stderr):
                os.close(end)
            raise
        finally:
            for end in theirs:
                os.close(end)

    async def serve(self, socket: ClientConnection) -> None:
        """Pass bytes until the program has ended; kill it if the stream closes before."""
        output = asyncio.gather(
            self._pass(self._stdout, STDOUT, socket), self._pass(self._stderr, STDERR, socket)
        )
        feed = asyncio.create_task(self._feed(socket))
        closed = asyncio.create_task(socket.wait_closed())
        exited = asyncio.ensure_future(asyncio.shield(self._child.exited))
        try:
            await asyncio.wait([exited, closed], return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                await asyncio.wait(
                    [output, closed], timeout=DRAIN, return_when=asyncio.FIRST_COMPLETED
                )
                with suppress(ConnectionClosed):
                    await socket.send(_json.encode(Exited(exited.result())), text=True)
        finally:
            tasks = [output, feed, closed, exited]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._child.exited.done():
                await self._child.end(*KILL)
            await socket.close()

    async def abandon(self) -> None:
        """Kill the program; no stream comes."""
        for end in (self._stdin, self._stdout, self._stderr):
            os.close(end)
        await self._child.end(*KILL)

    async def _pass(self, descriptor: int, prefix: int, socket: ClientConnection) -> None:
        reader = asyncio.StreamReader(limit=READ_SIZE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            with suppress(ConnectionClosed):
                while data := await reader.read(READ_SIZE):
                    await socket.send(bytes((prefix,)) + data)
        finally:
            transport.close()

    async def _feed(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(self._stdin, "wb", 0)
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        try:
            # A program may close its input and go on.
            with suppress(ConnectionClosed, BrokenPipeError, ConnectionResetError):
                while not isinstance(frame := await self._next(socket), Eof):
                    writer.write(frame)
                    await writer.drain()
        finally:
            transport.close()
        with suppress(ConnectionClosed):
            while True:  # so that signals, and the close of the stream, are noticed
                await self._next(socket)

    async def _next(self, socket: ClientConnection) -> bytes | Eof:
        """The next input, or its end; signals on the way are sent."""
        while True:
            frame = await socket.recv()
            if isinstance(frame, bytes):
                return frame
            message = _control.decode(frame)
            if isinstance(message, Eof):
                return message
            self._child.send(message.number)
