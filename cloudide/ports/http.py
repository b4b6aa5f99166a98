"""HTTP/1.1 through a tunnel (RFC 9112): one exchange after another on a kept connection.

The other end is a program of a workspace, hostile like all of it: the head of what it sends is
parsed by llhttp in its strict mode and its size is bounded; whatever is not HTTP is `Broken`. The
body of a known length is counted and not parsed; a chunked one is taken out of its chunks.

Everything here is called by the loop, from the tunnel or from who asked: an exchange has no task.
"""

from __future__ import annotations

import re
from typing import Protocol

import httptools

from cloudide.agents.tunnels import Tunnel
from cloudide.errors import InvalidInput
from cloudide.ports.headers import Headers, lines

HEADERS_LIMIT = 100 * 1024  # bytes of an answer before its body
_TARGET = re.compile(rb"[!-~]+")  # RFC 9112 section 3.2: no space, no control character
_BODILESS = {204, 304}
_SWITCHING = 101


class Broken(Exception):
    """The program ended the connection, or does not speak HTTP."""


class NoAnswer(Exception):
    """The program does not answer in time, or takes no more of the request."""


class Asker(Protocol):
    """Who asked, and is told what comes of it. Nothing here may block."""

    def answered(self, exchange: Exchange, data: bytes) -> None:
        """The head of the answer is there (`status`, `headers`, `length`, `switching`), and `data`
        of its body."""

    def body(self, data: bytes) -> None:
        """Of the answer; or what came of another protocol behind a 101."""

    def complete(self) -> None:
        """The answer is whole. Nothing more is told."""

    def failed(self, error: Broken) -> None:
        """There is no answer, or it breaks off. Nothing more is told."""

    def pause_asking(self) -> None:
        """The program is slow to take the request: send no more of it for now."""

    def resume_asking(self) -> None: ...


class Exchange:
    """One request and its answer: `begin`, then `send` and `finish` for a body.

    The body of the request is sent while the answer comes: a program may answer before it has read
    all, or as it reads. `length` is that of the answer's body in bytes; -1: it is not known.
    """

    __slots__ = (
        "_begun",
        "_chunks",
        "_complete",
        "_head_size",
        "_keep",
        "_left",
        "_method",
        "_parser",
        "_sent",
        "_told",
        "asker",
        "chunked",
        "headers",
        "length",
        "status",
        "tunnel",
    )

    def __init__(self, tunnel: Tunnel, asker: Asker, method: str) -> None:
        self.tunnel = tunnel
        self.asker = asker
        self.status = 0
        self.headers: Headers = []
        self.length = -1
        self.chunked = False  # the body of the request
        self._method = method
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._head_size = 0  # bytes since the last ones of a body
        self._chunks: list[bytes] = []
        self._left = 0  # bytes of the body that are passed on without being parsed
        self._begun = False  # the headers are complete
        self._told = False  # of them
        self._complete = False
        self._keep = False  # both sides can go on
        self._sent = False  # all of the request

    def begin(self, head: bytes, *, body: bool, chunked: bool) -> None:
        """Send the head of the request (`head_of`); `body`: one follows, be it in chunks."""
        self.chunked = chunked
        self._sent = not body
        self.tunnel.hold(self)
        self.tunnel.write(head)

    def send(self, data: bytes) -> None:
        """Some of the request's body."""
        if self.chunked:
            self.tunnel.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.tunnel.write(data)

    def finish(self) -> None:
        """The body of the request is complete."""
        if not self._sent:
            self._sent = True
            if self.chunked:
                self.tunnel.write(b"0\r\n\r\n")

    def release(self) -> bool:
        """Let go of the tunnel. Whether nothing was left half-way, and it may be used again."""
        self.tunnel.hold(None)
        self._parser = None  # which holds this
        return self._sent and self._complete and self._keep and not self.tunnel.stale

    @property
    def untouched(self) -> bool:
        """Whether nothing at all came back: a kept connection was closed in this very moment."""
        return not self._head_size

    @property
    def switching(self) -> bool:
        """Whether the program goes over to another protocol (RFC 9110 section 15.2.2)."""
        return self.status == _SWITCHING

    # ── what the tunnel calls ───────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        if self._left > 0:
            self._count(data)
            return
        if self._told and self.switching:
            self.asker.body(data)
            return
        self._head_size += len(data)
        parser = self._parser
        if parser is None:
            return  # released
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self.switching:
                self._fail("another protocol, which nobody asked for")
                return
            self._told = True
            self.asker.answered(self, data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self._fail(f"not HTTP: {error.__context__ or error}")
                return
            self._keep = False  # more than was asked for
        if self._chunks or self._complete:
            self._head_size = 1
        elif self._head_size > HEADERS_LIMIT:  # of headers, or of what follows a body
            self._fail("the headers do not end")
            return
        if self._begun:
            self._tell()

    def ended(self, *, cut: bool) -> None:
        if self._told and self.switching:
            if cut:
                self.asker.failed(Broken("the connection was cut"))
            else:
                self.asker.complete()
        elif self._begun and self.length < 0 and not self._is_chunked() and not cut:
            self._complete = True  # the body ends with the connection
            self.asker.complete()
        else:
            self._fail("the connection ended before the answer did")

    def pause_writing(self) -> None:
        self.asker.pause_asking()

    def resume_writing(self) -> None:
        self.asker.resume_asking()

    def _tell(self) -> None:
        chunks, self._chunks = self._chunks, []
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not self._told:
            self._told = True
            self.asker.answered(self, data)
        elif data:
            self.asker.body(data)
        if self._complete:
            self.asker.complete()

    def _count(self, data: bytes) -> None:
        """Some of a body of known length."""
        over = len(data) - self._left
        if over > 0:
            data = data[: self._left]
            self._keep = False  # more than was asked for
        self._left -= len(data)
        self.asker.body(data)
        if not self._left:
            self._complete = True
            self.asker.complete()

    def _fail(self, reason: str) -> None:
        self.tunnel.hold(None)
        self.asker.failed(Broken(reason))

    def _is_chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

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
        parser = self._parser
        if self._begun or parser is None:
            return
        self.status = parser.get_status_code()
        if self.status < 200 and self.status != _SWITCHING:
            return  # informational; the answer is still to come
        self._begun = True
        lengths = [value for name, value in self.headers if name == b"content-length"]
        codings = [
            value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"
        ]
        if codings not in ([], [b"chunked"]) or (codings and lengths):
            raise Broken(f"transfer coding {codings}")
        self._keep = parser.should_keep_alive()
        if self._method == "HEAD" or self.status in _BODILESS:
            # A length that is told here is that of what a GET would bring.
            self.length = 0
            self._complete = True
        elif lengths:
            self.length = self._left = int(lengths[0])

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self._keep = False  # more than was asked for
            return
        self._chunks.append(data)
        if self.length >= 0:
            self._left -= len(data)

    def on_message_complete(self) -> None:
        if self._begun and not self.switching:
            self._complete = True


def head_of(method: str, target: bytes, headers: Headers) -> bytes:
    """The head of a request. Raises: InvalidInput: it would be another one than meant."""
    if not _TARGET.fullmatch(target):
        raise InvalidInput("The request is not one of HTTP.")
    return b"".join((method.encode(), b" ", target, b" HTTP/1.1\r\n", lines(headers), b"\r\n"))
