"""Downloads, uploads and archives on their streams. File work is done in threads."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat as modes
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent import exchange
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal
from cloudide.agent.files import stat_of
from cloudide.protocol.agent import (
    CHUNK,
    HASH_NAME,
    Download,
    Eof,
    Failed,
    FileContent,
    Unpack,
    Upload,
    UploadDone,
)

P = ParamSpec("P")
T = TypeVar("T")

_json = msgspec.json.Encoder()
_eof = msgspec.json.Decoder(Eof)


class Threads:
    """The few threads that touch the disk."""

    def __init__(self, count: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(count, thread_name_prefix="files")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(function, *args, **kwargs))


class Source:
    """A file that is being sent."""

    def __init__(self, root: Root, request: Download) -> None:
        self._path = request.path
        self._file = root.open(request.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(self._file)
            if not modes.S_ISREG(status.st_mode):
                raise Refused("not_a_file", f"{request.path or 'The root'} is not a regular file.")
            if request.offset < 0 or (request.length or 0) < 0:
                raise Refused("invalid", "An offset or length is negative.")
        except BaseException:
            os.close(self._file)
            raise
        self.result = FileContent(hash="", stat=stat_of(status))
        rest = max(0, status.st_size - request.offset)
        self._left = rest if request.length is None else min(rest, request.length)
        self._offset = request.offset

    async def serve(self, socket: ClientConnection, threads: Threads) -> None:
        with suppress(ConnectionClosed):
            try:
                while self._left:
                    data = await threads.run(
                        os.pread, self._file, min(CHUNK, self._left), self._offset
                    )
                    if not data:
                        raise Refused("conflict", f"{self._path} changed while it was read.")
                    self._offset += len(data)
                    self._left -= len(data)
                    await socket.send(data)
                await socket.send(_json.encode(Eof()), text=True)
            except OSError as error:
                failure = refusal(error, self._path).failure
                await socket.send(_json.encode(Failed(failure)), text=True)
            except Refused as refused:
                await socket.send(_json.encode(Failed(refused.failure)), text=True)

    def close(self) -> None:
        os.close(self._file)


async def receive_file(
    root: Root, request: Upload, socket: ClientConnection, threads: Threads
) -> None:
    """Take in a file and put it into place once all of it is there."""

    async def take() -> UploadDone:
        with root.parent(request.path, create=request.parents) as (directory, name):
            part = exchange.Part(directory, name)
            try:
                size, content_hash = await _spool(socket, part.file, request.limit, threads)
                await threads.run(exchange.put, root, part, name, request.path, request.expected)
            finally:
                part.discard()
        return UploadDone(hash=content_hash, bytes=size)

    await _report(socket, request.path, take)


async def receive_archive(
    root: Root, request: Unpack, socket: ClientConnection, threads: Threads
) -> None:
    """Take in an archive and unpack it once all of it is there."""
    from cloudide.agent import archives

    async def take() -> UploadDone:
        with root.opened(request.path, os.O_RDONLY | os.O_DIRECTORY) as directory:
            spool = archives.open_spool(directory)
            try:
                await _spool(socket, spool, request.limit, threads)
                return await threads.run(archives.unpack, directory, spool, request)
            finally:
                os.close(spool)

    await _report(socket, request.path, take)


async def _report(
    socket: ClientConnection, path: str, take: Callable[[], Awaitable[UploadDone]]
) -> None:
    with suppress(ConnectionClosed):
        try:
            await socket.send(_json.encode(await take()), text=True)
        except Refused as refused:
            await socket.send(_json.encode(Failed(refused.failure)), text=True)
        except OSError as error:
            await socket.send(_json.encode(Failed(refusal(error, path).failure)), text=True)


async def _spool(
    socket: ClientConnection, file: int, limit: int, threads: Threads
) -> tuple[int, str]:
    """Write what comes until `eof` to a file; its size and hash.

    Raises:
        ConnectionClosed: the stream ended without one; the sender gave up.
        Refused: it is more than `limit` bytes.
    """
    running = hashlib.new(HASH_NAME, usedforsecurity=False)
    size = 0

    def keep(chunk: bytes) -> None:
        running.update(chunk)
        exchange.write_all(file, chunk)

    while isinstance(frame := await socket.recv(), bytes):
        size += len(frame)
        if size > limit:
            raise Refused("too_large", f"The upload is larger than {limit / (1 << 20):g} MiB.")
        await threads.run(keep, frame)
    _eof.decode(frame)
    return size, running.hexdigest()
