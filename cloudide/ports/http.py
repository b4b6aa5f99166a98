"""HTTP/1.1 through a tunnel (RFC 9112): one exchange after another on a kept connection.

The other end is a program of a workspace, hostile like all of it: what it sends is parsed by llhttp
in its strict mode, its headers are bounded, and whatever is not HTTP is `Broken`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httptools

from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, InvalidInput
from cloudide.ports.headers import Headers
from cloudide.protocol.agent import Eof

HEADERS_LIMIT = 100 * 1024  # bytes of an answer before its body
_TARGET = re.compile(rb"[!-~]+")  # RFC 9112 section 3.2: no space, no control character
_UNSAFE = re.compile(rb"[\r\n\0]")
_BODILESS = {204, 304}
_SWITCHING = 101
_CODING = b"transfer-encoding"


class Broken(Exception):
    """The program ended the connection, or does not speak HTTP."""


class NoAnswer(Exception):
    """The program does not answer in time, or takes no more of the request."""


class Connection:
    """One connection to a program. `reusable` once an exchange has ended as both sides meant."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.reusable = False
        self._ended = False

    async def read(self) -> bytes:
        """The next bytes; b"" when the program has ended its side. Raises: Broken."""
        while not self._ended:
            try:
                message = await self.stream.recv()
            except AgentUnavailable as error:
                raise Broken(error.message) from error
            if not isinstance(message, bytes):
                if not isinstance(message, Eof):
                    raise Broken("the agent broke the protocol")
                self._ended = True
            elif message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        """Raises: Broken: the connection is gone."""
        try:
            await self.stream.send_all(data)
        except AgentUnavailable as error:
            raise Broken(error.message) from error


class Exchange:
    """One request and its answer: `begin`, then iterate over the body, then `end`.

    The body of the request is sent while the answer comes: a program may answer before it has read
    all, or as it reads.
    """

    def __init__(self, connection: Connection, method: str, patience: float) -> None:
        """`patience`: seconds in which the answer has to begin, or the request to get on."""
        self.connection = connection
        self.status = 0
        self.headers: Headers = []
        self._method = method
        self._patience = patience
        self._parser = httptools.HttpResponseParser(self)
        self._sending: asyncio.Task[None] | None = None
        self._progress = 0.0  # when something of the request was last sent, by the loop's clock
        self._chunks: list[bytes] = []
        self.rest = b""  # what came of another protocol behind a 101
        self._head_size = 0  # bytes since the last ones of a body
        self._begun = False  # the headers are complete
        self._complete = False
        self._keep = False  # both sides can go on
        self._until_end = False  # the body ends with the connection

    async def begin(
        self, target: bytes, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> None:
        """Send the request; returns when the headers of the answer are there.

        Raises:
            InvalidInput: it is no request. Broken, NoAnswer: there is no answer.
        """
        head = _head(self._method, target, headers)
        try:
            async with asyncio.timeout(self._patience):
                await self.connection.write(head)
        except TimeoutError as error:
            raise NoAnswer from error
        if body is not None:
            chunked = any(name == b"transfer-encoding" for name, _ in headers)
            self._progress = asyncio.get_running_loop().time()
            self._sending = asyncio.create_task(self._send(body, chunked))
        while not self._begun:
            await self._receive_in_time()

    async def body(self) -> AsyncIterator[bytes]:
        """The body of the answer, as it comes. Raises: Broken: it breaks off."""
        while True:
            chunks, self._chunks = self._chunks, []
            for chunk in chunks:
                yield chunk
            if self._complete:
                return
            await self._receive()

    async def end(self) -> None:
        """Let go; the connection may be used again if nothing was left half-way."""
        sent = self._sending is None or self._sending.done()
        if self._sending is not None:
            self._sending.cancel()
            results = await asyncio.gather(self._sending, return_exceptions=True)
            sent = sent and results == [None]
        self.connection.reusable = sent and self._complete and self._keep

    @property
    def untouched(self) -> bool:
        """Whether nothing at all came back: a kept connection was closed in this very moment."""
        return not self._head_size

    # ── what the parser calls ───────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # more than was asked for
        elif not self._begun:
            self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._begun:  # what comes after the body (trailers) is nobody's
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._begun:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != _SWITCHING:
            return  # informational; the answer is still to come
        self._begun = True
        coding = [value.strip().lower() for name, value in self.headers if name == _CODING]
        if coding not in ([], [b"chunked"]):
            raise Broken(f"transfer coding {coding}")
        if self._method == "HEAD":
            self._complete = True
            self._keep = self._parser.should_keep_alive()
            return
        measured = coding or any(name == b"content-length" for name, _ in self.headers)
        self._until_end = not measured and self.status not in _BODILESS

    def on_body(self, data: bytes) -> None:
        if not self._complete:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._begun and not self._complete and self.status != _SWITCHING:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # ── the two directions ──────────────────────────────────────────────────────────────────────

    async def _send(self, body: AsyncIterator[bytes], chunked: bool) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async for chunk in body:
                data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk
                await self.connection.write(data)
                self._progress = clock()
            if chunked:
                await self.connection.write(b"0\r\n\r\n")
        except Broken:
            return  # the program may have answered before; the reader finds out
        self._progress = clock()

    async def _receive_in_time(self) -> None:
        """Receive, for as long as the request gets on and `patience` after."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    await self._receive()
                return
            except TimeoutError as error:
                sending = self._sending is not None
                if not sending or loop.time() - self._progress >= self._patience:
                    raise NoAnswer from error

    async def _receive(self) -> None:
        data = await self.connection.read()
        if not data:
            if not (self._begun and self._until_end):
                raise Broken("the connection ended before the answer did")
            self._complete = True
            return
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
            return  # as much as it likes: it is no header
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Broken):
                raise error.__context__ from error
            raise Broken(f"not HTTP: {error}") from error
        if self._chunks or self._complete:
            self._head_size = 1
        elif self._head_size > HEADERS_LIMIT:  # of headers, or of what follows a body
            raise Broken("the headers do not end")


def _head(method: str, target: bytes, headers: Headers) -> bytes:
    """The head of a request. Raises: InvalidInput: it would be another one than meant."""
    lines = [b"%b: %b" % (name, value) for name, value in headers]
    if not _TARGET.fullmatch(target) or any(_UNSAFE.search(line) for line in lines):
        raise InvalidInput("The request is not one of HTTP.")
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method.encode(), target), *lines, b"", b""])
