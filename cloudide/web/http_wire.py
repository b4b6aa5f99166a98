"""The HTTP connection itself: uvicorn's protocol class, with a way past ASGI for previews.

ASGI decides who may, which can take the database. A request of somebody who is known already never
gets there: it is passed on as soon as its headers are parsed. Any other request to a preview whose
answer is the program's is *taken over* from ASGI, with what has come of its body. `wire` has the
same for websockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cloudide.ports.headers import Headers
from cloudide.ports.sites import Target
from cloudide.web.preview_door import Head
from cloudide.web.preview_passage import Host, Passage

HEAD_LIMIT = 64 * 1024  # bytes of a request's head
EXTENSION = "cloudide.http"  # in the ASGI scope's `extensions`


_CLOSING = b"Connection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\n" + _CLOSING
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + _CLOSING


class Previews(Host, Protocol):
    """Decides, without waiting for anything, what may go past ASGI."""

    def site(self, hosts: list[bytes]) -> Target | None:
        """The preview that the Host headers of a request name, if they do."""

    def known(self, head: Head, target: Target) -> bool | None:
        """Whether the Authorization header is ours, of a request that is for the program and
        admitted; None: ASGI has to see it."""


class HttpWire(HttpToolsProtocol):
    """One connection of a browser; a `Wire` of the passages on it, one after the other."""

    def __init__(
        self, previews: Previews, head_timeout: float, *arguments: Any, **options: Any
    ) -> None:
        """`head_timeout`: seconds in which a request's head has to come."""
        super().__init__(*arguments, **options)
        self._previews = previews
        self._head_timeout = head_timeout
        self._head_since = 0.0  # when a head began to be waited for; 0: none is
        self._head_size = 0  # bytes since
        self._head_timer: asyncio.TimerHandle | None = None
        self._passage: Passage | None = None  # the one under way
        self._idle_since = 0.0  # by the loop's clock; 0: it is at work

    # ── from the parser and the transport ───────────────────────────────────────────────────────

    def connection_made(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        self._head_size += len(data)
        super().data_received(data)
        if self._head_since and self._head_size > HEAD_LIMIT:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        if not self._head_since:
            self._wait_for_head()
        # What ASGI needs besides is made when the request goes there.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._head_since = 0.0
        if self._head_size > HEAD_LIMIT:
            head = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
            if head > HEAD_LIMIT:
                raise ValueError("the head is too large")  # answered with 400
        passage = self._direct()
        if passage is not None:
            self.cycle = self._passage = passage  # pyright: ignore[reportAttributeAccessIssue]
            passage.start()
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            handover = Handover(self, self.cycle)
            self.scope["extensions"] = {EXTENSION: handover}  # pyright: ignore

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, Passage):
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if isinstance(self.cycle, Passage):
            self.cycle.feed_end()
        else:
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._passage is not None:
            self._passage.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._passage is not None:
            self._passage.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.lost()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    # ── heads that do not come: uvicorn would wait for ever ─────────────────────────────────────

    def _wait_for_head(self) -> None:
        self._head_since, self._head_size = self.loop.time(), 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout, self._look_for_head)

    def _look_for_head(self) -> None:
        self._head_timer = None
        if not self._head_since or self.transport.is_closing():
            return
        left = self._head_since + self._head_timeout - self.loop.time()
        answering = self.cycle is not None and not self.cycle.response_complete
        if left > 0 or answering:
            seconds = left if left > 0 else self._head_timeout
            self._head_timer = self.loop.call_later(seconds, self._look_for_head)
        else:
            self._refuse(_TOO_SLOW)

    def _refuse(self, answer: bytes) -> None:
        self._head_since = 0.0
        self.transport.write(answer)
        self.transport.close()

    # ── connections that nobody uses: one timer each, not one for each request ──────────────────

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = 0.0

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._time_idleness(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._idle_since:
            return  # the answer that is under way begins it anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._time_idleness(left)
        else:
            super().timeout_keep_alive_handler()

    def _time_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    # ── a passage's wire ────────────────────────────────────────────────────────────────────────

    @property
    def congested(self) -> bool:
        return self.flow.write_paused

    def hold_back(self) -> None:
        self.flow.pause_reading()

    def go_on(self) -> None:
        if not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()

    def default_headers(self) -> Headers:
        return self.server_state.default_headers

    def passed(self, passage: Passage) -> None:
        self._passage = None
        if not passage.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def take(self, cycle: RequestResponseCycle, passage: Passage) -> None:
        """Let `passage` go on with what was a request to the ASGI application."""
        if cycle.disconnected:
            return
        # uvicorn asks whether the application has answered: that is no longer its matter.
        cycle.response_started = cycle.response_complete = True
        if self.cycle is cycle:
            self.cycle = passage  # pyright: ignore[reportAttributeAccessIssue]
        self._passage = passage
        passage.start(bytes(cycle.body), whole=not cycle.more_body)

    def _direct(self) -> Passage | None:
        """The passage of the request whose headers have come, if it need not be waited for."""
        busy = self._passage is not None or self.pipeline
        if busy or (self.cycle is not None and not self.cycle.response_complete):
            return None  # a pipelined request waits for its turn
        client = self.client[0] if self.client else ""
        head = Head("", self.url, self.headers, client)
        target = self._previews.site(head.all(b"host"))
        parser, url = self.parser, self.url
        if (
            target is None
            or parser is None
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
            or not url.startswith(b"/")
            or url.startswith(b"//")
            or b"#" in url
        ):
            return None
        head.method = parser.get_method().decode("ascii")
        own_authorization = self._previews.known(head, target)
        if own_authorization is None:
            return None
        return Passage(
            self._previews,
            self,
            head,
            target,
            own_authorization=own_authorization,
            keep_alive=parser.should_keep_alive(),
            chunks=True,
            expects=self.expect_100_continue,
        )


class Handover:
    """A request that ASGI has, for `Previews` to take it over."""

    def __init__(self, wire: HttpWire, cycle: RequestResponseCycle) -> None:
        self._wire = wire
        self._cycle = cycle

    def take(
        self, previews: Host, scope: Scope, head: Head, target: Target, *, own_authorization: bool
    ) -> None:
        """Pass it on to the program; ASGI has nothing more to do with it."""
        passage = Passage(
            previews,
            self._wire,
            head,
            target,
            own_authorization=own_authorization,
            keep_alive=self._cycle.keep_alive,
            chunks=scope["http_version"] == "1.1",
            expects=self._cycle.waiting_for_100_continue,
        )
        self._wire.take(self._cycle, passage)


def http_protocol(previews: Previews, head_timeout: float) -> Callable[..., HttpWire]:
    """What uvicorn is to make of each connection (`http` of its configuration)."""

    def make(*arguments: Any, **options: Any) -> HttpWire:
        return HttpWire(previews, head_timeout, *arguments, **options)

    return make
