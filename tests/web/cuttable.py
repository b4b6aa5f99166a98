"""A container engine that can go away: a Unix socket in front of the real one."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

REAL = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


class CuttableEngine:
    """While it is cut nobody listens, and whoever was connected is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.requests: list[bytes] = []  # first lines, as they came
        self.cut_at = b""  # cut by itself once a request holds this
        self.was_cut = asyncio.Event()
        self._open = False
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def restore(self) -> None:
        self._open = True
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        self._open = False
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        own = asyncio.current_task()
        for task in self._pipes - {own}:
            task.cancel()
        await asyncio.gather(*(self._pipes - {own}), return_exceptions=True)
        self.was_cut.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            # Accepted just before the cut, begun just after it.
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            real_reader, real_writer = await asyncio.open_unix_connection(REAL)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(reader, real_writer))
                    group.create_task(_pipe(real_reader, writer))
            finally:
                real_writer.close()
        except (asyncio.CancelledError, ExceptionGroup, OSError):
            pass  # this connection has been cut; the client sees it end
        finally:
            self._pipes.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.requests.append(data.split(b"\r\n", 1)[0])
            writer.write(data)
            await writer.drain()
            if self.cut_at and self.cut_at in data:
                # The engine has the request; its answer is lost.
                self.cut_at = b""
                asyncio.get_running_loop().create_task(self.cut()).add_done_callback(
                    lambda task: task.result()
                )
                await asyncio.Event().wait()
        with suppress(OSError):
            writer.write_eof()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
