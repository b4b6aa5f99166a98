"""What programs of the workspace ask the server (`protocol/questions.py`), over a Unix socket.

A program connects, writes one line of JSON, `{"origin", "question"}`, and reads one, the answer.
What it was granted lasts until it closes the connection; another line says why that failed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cloudide.protocol.questions import Answer, Asked, Declined, Question, Withdrawn

LINE_LIMIT = 1024 * 1024  # bytes
WAITING_LIMIT = 32  # questions at one time

_encoder = msgspec.json.Encoder()
_unreachable = Declined("The CloudIDE server cannot be reached right now; try again.")


class _Line(msgspec.Struct):
    origin: str
    question: Question


_lines = msgspec.json.Decoder(_Line)


class Questions:
    def __init__(self, on_event: Callable[[Asked | Withdrawn], None]) -> None:
        self.connected = False
        self._on_event = on_event
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._told: dict[str, asyncio.StreamWriter] = {}  # those who were granted something
        self._server: asyncio.Server | None = None

    async def listen(self, path: str) -> None:
        """Raises: OSError: there can be no socket."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_LIMIT)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def answer(self, id: str, answer: Answer) -> None:
        future = self._waiting.get(id)
        if future is not None and not future.done():
            future.set_result(answer)
        elif (writer := self._told.get(id)) is not None:
            writer.write(_encoder.encode(answer) + b"\n")  # why what was granted came to nothing

    def cut(self) -> None:
        """The link has gone: nothing that was asked over it is answered."""
        self.connected = False
        for future in self._waiting.values():
            if not future.done():
                future.set_result(_unreachable)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, ValueError, msgspec.DecodeError):
                line = _lines.decode(await reader.readline())
                await self._ask(line, reader, writer)
        finally:
            writer.close()

    async def _ask(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not self.connected or len(self._waiting) >= WAITING_LIMIT:
            writer.write(_encoder.encode(_unreachable) + b"\n")
            return
        id = secrets.token_hex(8)
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        gone = asyncio.create_task(reader.read(1))  # the other end says nothing more
        try:
            self._on_event(Asked(id, line.origin, line.question))
            await asyncio.wait([future, gone], return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                writer.write(_encoder.encode(future.result()) + b"\n")
                await writer.drain()
                self._told[id] = writer
                await gone
        finally:
            gone.cancel()
            self._told.pop(id, None)
            del self._waiting[id]
            self._on_event(Withdrawn(id))
