"""One request to a previewed program and its answer, from the browser's connection to the tunnel.

Neither has a task: what the browser sends comes as calls of its connection's parser, what the
program sends as calls of the tunnel, and each is written to the other in the same turn of the loop.
Who is slow to take it has the other side's reading paused, so that the kernel holds it back.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response

from cloudide.agents.tunnels import Tunnel
from cloudide.errors import InvalidInput
from cloudide.ports.headers import Headers, incoming, lines, outgoing
from cloudide.ports.http import Broken, Exchange, NoAnswer, head_of
from cloudide.ports.sites import Target
from cloudide.ports.tunnels import Tunnels
from cloudide.web.preview_door import Head

WORK = 64 * 1024  # bytes
IDEMPOTENT = {"GET", "HEAD", "OPTIONS"}  # of RFC 9110 section 9.2.2, as far as they have no body
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Host(Protocol):
    """What a passage needs of the previews."""

    tunnels: Tunnels
    own_cookies: frozenset[str]
    patience: float  # seconds in which an answer has to begin, or the request to get on

    def began(self, passage: Passage) -> None: ...
    def over(self, passage: Passage) -> None: ...
    def forwarded(self, head: Head, target: Target) -> Headers: ...
    def failure(self, head: Head, target: Target, error: Exception) -> Response: ...
    def refusal(self, head: Head, target: Target) -> Response: ...


class Wire(Protocol):
    """The browser's connection."""

    transport: asyncio.Transport

    def hold_back(self) -> None:
        """Read no more of the request for now."""

    def go_on(self) -> None: ...
    def default_headers(self) -> Headers: ...
    def passed(self, passage: Passage) -> None:
        """The answer is whole; the connection may be used for what is next."""

    @property
    def congested(self) -> bool:
        """Whether the browser is slow to take what was written."""
        ...


class _Unheard:
    def set(self) -> None:
        """uvicorn wakes who waits for a request's body; nobody does."""


class Passage:
    """A request under way. uvicorn's connection takes it for one of its own cycles."""

    message_event = _Unheard()
    scope = None
    disconnected = False
    more_body = False
    response_complete = False

    # How a passage begins; most of it never changes.
    _early: tuple[bytes, ...] = ()  # of the body, before there is a tunnel
    _whole = False  # the body has come
    _sized = False  # there is one
    _again = False  # it may be sent twice
    _tunnel: Tunnel | None = None
    _exchange: Exchange | None = None
    _kept = False  # the tunnel was used before
    _dialling: asyncio.Task[None] | None = None
    _progress = 0.0  # when something of the request was last sent
    _answered = False
    _chunked = False  # the answer, to the browser
    _carried = 0  # bytes of either body since the last look

    def __init__(
        self,
        host: Host,
        wire: Wire,
        head: Head,
        target: Target,
        *,
        own_authorization: bool,
        keep_alive: bool,
        chunks: bool,
        expects: bool,
    ) -> None:
        """`own_authorization`: that header is ours. `chunks`: the browser understands chunked
        answers. `expects`: it waits for 100 (Continue)."""
        self.head = head
        self.target = target
        self.keep_alive = keep_alive
        self._host = host
        self._wire = wire
        self._own_authorization = own_authorization
        self._chunks = chunks
        self._expects = expects

    def start(self, early: bytes = b"", *, whole: bool = False) -> None:
        """Begin; `early` is what has come of the body, which may be the `whole` of it."""
        self._host.began(self)
        codings, lengths = self.head.all(b"transfer-encoding"), self.head.all(b"content-length")
        if codings or lengths:
            if len(codings) + len(lengths) > 1 or (codings and codings[0].lower() != b"chunked"):
                self.keep_alive = False
                self._fail(InvalidInput("Where the request's body ends is not clear."))
                return
            self._sized = lengths != [b"0"]
        # A connection that was kept may be closed by the program in this very moment. What may not
        # be sent twice (RFC 9110 section 9.2.2) gets one of its own.
        self._again = not self._sized and self.head.method in IDEMPOTENT
        if early:
            self.feed(early)
        if whole:
            self.feed_end()
        if self._again and (tunnel := self._host.tunnels.take(self.target)) is not None:
            self._ask(tunnel, kept=True)
        else:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    # ── from the browser ────────────────────────────────────────────────────────────────────────

    def feed(self, data: bytes) -> None:
        """Some of the request's body."""
        if self.response_complete:
            return  # answered already: the rest is read and dropped
        if self._exchange is None:
            self._early += (data,)
            self._wire.hold_back()  # until there is a tunnel
            return
        self._progress = time.monotonic()
        self._carried += len(data)
        self._exchange.send(data)

    def feed_end(self) -> None:
        """The body of the request has come."""
        self._whole = True
        if self._exchange is not None and not self.response_complete:
            self._progress = time.monotonic()
            self._exchange.finish()

    def pause(self) -> None:
        """The browser is slow to take the answer."""
        if self._tunnel is not None:
            self._tunnel.pause_reading()

    def resume(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume_reading()

    def lost(self) -> None:
        """The browser is gone."""
        self._finish()

    def end(self) -> None:
        """The right to it has ended."""
        if self.response_complete:
            return
        if self._answered:
            # Cut off, so that nobody takes it for a whole one.
            self._finish()
            self._wire.transport.close()
        else:
            self._answer(self._host.refusal(self.head, self.target))

    # ── to the program ──────────────────────────────────────────────────────────────────────────

    async def _dial(self) -> None:
        try:
            tunnel = await self._host.tunnels.dial(self.target)
        except Exception as error:
            self._dialling = None
            self._fail(error)
            return
        self._dialling = None
        self._ask(tunnel, kept=False)

    def _ask(self, tunnel: Tunnel, *, kept: bool) -> None:
        self._tunnel, self._kept = tunnel, kept
        head = self.head
        try:
            headers = outgoing(
                head.headers,
                own_cookies=self._host.own_cookies,
                own_authorization=self._own_authorization,
                forwarded=self._host.forwarded(head, self.target),
            )
            data = head_of(head.method, head.address, headers)
        except InvalidInput as error:
            self._fail(error)
            return
        exchange = self._exchange = Exchange(tunnel, self, head.method)
        chunked = self._sized and head.get(b"content-length") is None
        self._progress = time.monotonic()
        exchange.begin(data, body=self._sized, chunked=chunked)
        if self._wire.congested:
            tunnel.pause_reading()
        if self._expects and not self._whole:
            self._expects = False
            self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._wire.go_on()
        early, self._early = self._early, ()
        for each in early:
            exchange.send(each)
        if self._whole:
            exchange.finish()

    def look(self, now: float) -> None:
        """Give up if the answer is overdue; `now` is of time.monotonic()."""
        waits = self._exchange is not None and not self._answered
        if waits and now - self._progress >= self._host.patience:
            self._fail(NoAnswer())

    def worked(self) -> bool:
        """Whether so much has passed since the last time this was asked that somebody up- or
        downloads; an event stream that is open, and ticks, is no use of a workspace."""
        carried, self._carried = self._carried, 0
        return carried >= WORK

    # ── from the program ────────────────────────────────────────────────────────────────────────

    def answered(self, exchange: Exchange, data: bytes) -> None:
        if exchange.switching:
            self._fail(Broken("another protocol, which nobody asked for"))
            return
        headers = incoming(exchange.headers, self._host.own_cookies)
        if exchange.status == 204:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        if exchange.length < 0:
            self._chunked = self._chunks
            self.keep_alive = self.keep_alive and self._chunks
            if self._chunked:
                headers.append((b"transfer-encoding", b"chunked"))
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._write_head(exchange.status, headers, data)

    def body(self, data: bytes) -> None:
        if self.response_complete:
            return
        self._carried += len(data)
        transport = self._wire.transport
        if self._chunked:
            transport.writelines([b"%x\r\n" % len(data), data, b"\r\n"])
        else:
            transport.write(data)

    def complete(self) -> None:
        if self.response_complete:
            return
        if self._chunked:
            self._wire.transport.write(b"0\r\n\r\n")
        self._done()

    def failed(self, error: Broken) -> None:
        exchange = self._exchange
        if self._kept and exchange is not None and exchange.untouched:
            self._exchange = None
            self._hang_up()
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
        else:
            self._fail(error)

    def pause_asking(self) -> None:
        self._wire.hold_back()

    def resume_asking(self) -> None:
        self._progress = time.monotonic()
        self._wire.go_on()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: Exception) -> None:
        if self.response_complete:
            return
        if not self._answered:
            self._answer(self._host.failure(self.head, self.target, error))
            return
        # Cut off, so that nobody takes it for a whole one.
        self._finish()
        if self._chunked or self._chunks:
            self._wire.transport.close()
        else:
            self._wire.transport.abort()

    def _answer(self, response: Response) -> None:
        """Answer in the program's place."""
        if isinstance(response.body, bytes) and self.head.method != "HEAD":
            body = response.body
        else:
            body = b""
        self._write_head(response.status_code, [*response.raw_headers], body)
        self._done()

    def _write_head(self, status: int, headers: Headers, data: bytes) -> None:
        """Write the head of the answer, and `data` behind it."""
        self._answered = True
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        block = lines(self._wire.default_headers() + headers)
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._wire.transport.write(b"".join((line, block, b"\r\n", data)))

    def _done(self) -> None:
        self._finish()
        self._wire.passed(self)

    def _finish(self) -> None:
        """Let go of everything. Idempotent."""
        if self.response_complete:
            return
        self.response_complete = True
        self._host.over(self)
        if self._dialling is not None:
            self._dialling.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.release() and self._tunnel is not None:
            self._host.tunnels.keep(self.target, self._tunnel)
            self._tunnel = None
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            self._host.tunnels.hang_up(self.target, tunnel)
