"""Previews: what a program in a workspace serves, on an origin of its own, through a tunnel.

`Edge` hands over every request whose host is one. Each is admitted by itself, whatever its path;
only a few paths below `/.cloudide/` are answered here. Everything else is streamed, both ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from urllib.parse import parse_qs, quote

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from cloudide.errors import CloudIDEError, Denied, NotFound, Unavailable
from cloudide.identity.accounts import digest
from cloudide.ports import http
from cloudide.ports.headers import Headers, incoming, outgoing
from cloudide.ports.passes import PASS_SECONDS
from cloudide.ports.sites import Sites, Target
from cloudide.web import preview_pages
from cloudide.web.bodies import bytes_body
from cloudide.web.ports import LINK_PATH, SIGN_IN_PATH, WAIT_PATH, local_path
from cloudide.web.preview_door import Door, from_elsewhere, is_page
from cloudide.web.preview_socket import converse
from cloudide.web.preview_visit import Body, Visit
from cloudide.web.services import Services
from cloudide.workspaces.activity import Kind

_log = structlog.get_logger(__name__)

HEADERS_LIMIT = 64 * 1024  # bytes of a request's headers
WAIT_SECONDS = 25.0  # one question of a page that waits
RECHECK_SECONDS = 30.0  # links expire without anybody's doing
SWITCHING = 101  # RFC 9110 section 15.2.2
IDEMPOTENT = {"GET", "HEAD", "OPTIONS"}
REFUSED_METHODS = {"CONNECT", "TRACE"}  # a tunnel of the client's own; our headers read back
LINK_LIMIT = 256  # bytes of a link's secret


class Previews:
    """The ASGI application of all previews; a context in which rights that end are noticed."""

    def __init__(self, provided: Services) -> None:
        self.sites: Sites = provided.sites
        self.door = Door(provided.settings, provided.sites.secure)
        self._provided = provided
        self._visits: set[Visit] = set()
        self._recheck = asyncio.Event()
        self._rechecking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Previews:
        self._provided.live.on_revoke = self._recheck.set
        self._provided.visibilities.on_change = self._changed
        self._rechecking = asyncio.create_task(self._look_again())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._rechecking is not None
        self._rechecking.cancel()
        await asyncio.gather(self._rechecking, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, target: Target) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, target)
            return
        request = Request(scope, receive)
        response = await self._answer(request, target)
        if response is None:
            await self._forward(request, send, target)
            return
        origin = request.headers.get("origin", "")
        if self.sites.sibling(target, origin):
            # So that a page learns why it is refused.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers.add_vary_header("Origin")
        await response(scope, receive, send)

    # ── who may ─────────────────────────────────────────────────────────────────────────────────

    async def _answer(self, request: Request, target: Target) -> Response | None:
        """What we answer ourselves; None: the program is to answer."""
        if request.method in REFUSED_METHODS:
            return preview_pages.plain(405, f"{request.method} is not for previews.")
        if sum(len(name) + len(value) + 4 for name, value in request.headers.raw) > HEADERS_LIMIT:
            return preview_pages.plain(431, f"The headers exceed {HEADERS_LIMIT:,} bytes.")
        path = request.url.path
        if path == SIGN_IN_PATH and request.method == "GET":
            return await self._sign_in(request, target)
        if path == LINK_PATH and request.method in ("GET", "POST"):
            return await self._follow_link(request, target)
        if self._is_preflight(request, target):
            return _preflight(request)
        if await self.door.admit(request, target) is None:
            return self._refusal(request, target)
        if from_elsewhere(request, target) and not await self.door.token_user(request):
            return preview_pages.plain(403, "Another site may not use this preview.")
        if path == WAIT_PATH:
            opened = await self._provided.openings.wait(target.workspace, target.port, WAIT_SECONDS)
            return Response(status_code=204 if opened else 202)
        return None

    def _refusal(self, request: Request, target: Target) -> Response:
        if not is_page(request):
            return preview_pages.plain(401, "Open this preview from its workspace first.")
        path = request.scope["raw_path"].decode("latin-1")
        if query := request.scope["query_string"].decode("latin-1"):
            path += f"?{query}"
        entrance = f"/api/v1/workspaces/{target.workspace}/ports/{target.port}/open"
        return RedirectResponse(
            f"{self._provided.settings.origin}{entrance}?path={quote(path, safe='')}",
            303,
            {"Cache-Control": "no-store"},
        )

    async def _sign_in(self, request: Request, target: Target) -> Response:
        query = parse_qs(request.scope["query_string"].decode("latin-1"), max_num_fields=4)
        try:
            secret = await self._provided.passes.redeem(target, query.get("ticket", [""])[0])
        except Denied as error:
            return preview_pages.page(error.status, "This way in has ended", error.message)
        return self._entered(secret, int(PASS_SECONDS), query.get("path", ["/"])[0])

    def _entered(self, secret: str, seconds: int, path: str) -> Response:
        headers = {
            "Set-Cookie": self.door.set_cookie(secret, seconds),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return RedirectResponse(local_path(path), 303, headers)

    async def _follow_link(self, request: Request, target: Target) -> Response:
        if request.method == "GET":
            return preview_pages.link()
        link = digest((await bytes_body(request, LINK_LIMIT)).decode("latin-1"))
        sharing = self._provided.visibilities.get(target.workspace, target.port)
        if not sharing.opens(link):
            return preview_pages.plain(403, "This link has ended or was withdrawn.")
        secret = await self._provided.passes.of_link(target, link, sharing.expires_at)
        return Response(
            status_code=204,
            headers={"Set-Cookie": self.door.set_cookie(secret, int(PASS_SECONDS))},
        )

    def _is_preflight(self, request: Request, target: Target) -> bool:
        """A preflight (Fetch section 4.8) of a sibling. It carries no cookie by nature, so that the
        program must not see it; it is answered in the program's place."""
        origin = request.headers.get("origin", "")
        return (
            request.method == "OPTIONS"
            and "access-control-request-method" in request.headers
            and origin != self.sites.origin(target)
            and self.sites.sibling(target, origin)
        )

    # ── rights that end ─────────────────────────────────────────────────────────────────────────

    def _changed(self, _workspace: str) -> None:
        self.door.changed()
        self._recheck.set()

    async def _look_again(self) -> None:
        """End what nobody may see any longer, whenever a right has ended."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._recheck.wait()
            self._recheck.clear()
            for visit in [*self._visits]:
                try:
                    if await self.door.admit(visit.connection, visit.target) is None:
                        visit.end()
                except Exception:
                    _log.exception("previews.recheck_failed")
                    visit.end()

    # ── the program answers ─────────────────────────────────────────────────────────────────────

    async def _request(self, connection: HTTPConnection, target: Target) -> Headers:
        """The headers of the request, as the program gets them."""
        client = connection.client.host if connection.client else ""
        scheme = self.sites.scheme
        forwarded = [
            (b"x-forwarded-for", client.encode()),
            (b"x-forwarded-host", self.sites.origin(target).partition("://")[2].encode()),
            (b"x-forwarded-proto", scheme.encode()),
        ]
        return outgoing(
            connection.scope["headers"],
            own_cookies=self.door.own_cookies,
            own_authorization=await self.door.token_user(connection) is not None,
            forwarded=forwarded,
        )

    async def _forward(self, request: Request, send: Send, target: Target) -> None:
        visit = Visit(request, target)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self._visits.add(visit)
        self._provided.activity.touch(target.workspace, Kind.PREVIEW)
        try:
            await self._stream(request, sending, target, visit)
            return
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if not visit.ended:
                raise
            visit.resumed()
            response = self._refusal(request, target)
        except Exception as error:
            response = self._failure(request, target, error)
        finally:
            self._visits.discard(visit)
        # An answer that was begun is cut off, so that nobody takes it for a whole one.
        if not started:
            await response(request.scope, request.receive, send)

    async def _stream(self, request: Request, send: Send, target: Target, visit: Visit) -> None:
        headers = await self._request(request, target)
        body = Body(request, visit)
        try:
            async with self._asked(request, target, headers, body) as answer:
                await send(
                    {
                        "type": "http.response.start",
                        "status": answer.status,
                        "headers": incoming(answer.headers, self.door.own_cookies),
                    }
                )
                async for chunk in answer.body():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            await body.close()
        # Last, when nobody watches for the client any longer: it may be gone with this.
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def _asked(
        self, request: HTTPConnection, target: Target, headers: Headers, body: Body | None
    ) -> AsyncIterator[http.Exchange]:
        """The program's answer, from its headers on."""
        scope = request.scope
        method = scope.get("method", "GET")
        query = scope["query_string"]
        address = scope["raw_path"] + (b"?" + query if query else b"")
        content = body.content() if body is not None else None
        patience = self._provided.settings.preview_timeout
        # A connection that was kept may be closed by the program in this very moment. What may not
        # be sent twice (RFC 9110 section 9.2.2) gets one of its own.
        again = content is None and method in IDEMPOTENT
        for last in (False, True) if again else (True,):
            async with self._provided.tunnels.http(target, fresh=last) as connection:
                exchange = http.Exchange(connection, method, patience)
                try:
                    try:
                        await exchange.begin(address, headers, content)
                    except http.Broken:
                        if last or not exchange.untouched:
                            raise
                        continue
                    if exchange.status == SWITCHING and scope["type"] == "http":
                        raise http.Broken("another protocol, which nobody asked for")
                    yield exchange
                    return
                finally:
                    await exchange.end()

    def _failure(self, request: HTTPConnection, target: Target, error: Exception) -> Response:
        """An answer in the program's place."""
        port = target.port
        match error:
            case NotFound():
                status, title = 502, f"Nothing listens on port {port} yet"
                sentence = "Start the program in the workspace."
            case Unavailable():
                status, title = 503, "The workspace is not running"
                sentence = "Start it, and then the program."
            case CloudIDEError():
                return preview_pages.plain(error.status, error.message)
            case http.NoAnswer():
                seconds = self._provided.settings.preview_timeout
                status, title = 504, f"The program on port {port} does not answer"
                sentence = f"It was waited for, {seconds:g} seconds long. Look at its output."
                return _told(request, status, title, sentence)
            case http.Broken():
                status, title = 502, f"What listens on port {port} did not answer in HTTP"
                sentence = "It ended the connection, or speaks another protocol."
                return _told(request, status, title, sentence)
            case _:
                _log.error("preview.failed", exc_info=error)
                return preview_pages.plain(500, "The server failed at this; its log says how.")
        if is_page(request):
            return preview_pages.waiting(title, sentence, path=WAIT_PATH, status=status)
        return preview_pages.plain(status, f"{title}. {sentence}")

    # ── websockets ──────────────────────────────────────────────────────────────────────────────

    async def _socket(self, scope: Scope, receive: Receive, send: Send, target: Target) -> None:
        connection = HTTPConnection(scope)
        await receive()  # websocket.connect
        if await self.door.admit(connection, target) is None:
            await _refuse(send, 401, b"Open this preview from its workspace first.\n")
            return
        if from_elsewhere(connection, target) and not await self.door.token_user(connection):
            await _refuse(send, 403, b"Another site may not use this preview.\n")
            return
        visit = Visit(connection, target)
        self._visits.add(visit)
        self._provided.activity.touch(target.workspace, Kind.PREVIEW)
        try:
            await self._upgrade(connection, receive, send, target, visit)
        finally:
            self._visits.discard(visit)

    async def _upgrade(
        self,
        connection: HTTPConnection,
        receive: Receive,
        send: Send,
        target: Target,
        visit: Visit,
    ) -> None:
        headers = [
            (name, value)
            for name, value in await self._request(connection, target)
            # Compression would have to be undone and done again for the browser.
            if name != b"sec-websocket-extensions"
        ]
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        accepted = False
        try:
            async with self._asked(connection, target, headers, None) as answer:
                answered = incoming(answer.headers, self.door.own_cookies)
                accepted = True
                if answer.status != SWITCHING:
                    await _refuse(send, answer.status, b"", answered)
                    return
                limit = self._provided.settings.collab_frame_limit
                await converse(answer, answered, connection, receive, send, visit, limit)
        except asyncio.CancelledError:
            if not visit.ended or accepted:
                raise
            visit.resumed()
            await _refuse(send, 401, b"Your access here has ended.\n")
        except Exception as error:
            if accepted:
                raise
            failure = self._failure(connection, target, error)
            await _refuse(send, failure.status_code, bytes(failure.body))


def _told(request: HTTPConnection, status: int, title: str, sentence: str) -> Response:
    if is_page(request):
        return preview_pages.page(status, title, sentence)
    return preview_pages.plain(status, f"{title}. {sentence}")


def _preflight(request: Request) -> Response:
    """Yes to what a sibling asks; the request itself is then admitted like every other."""
    asked = request.headers
    headers = {
        "Access-Control-Allow-Methods": asked["access-control-request-method"],
        "Access-Control-Max-Age": "600",
    }
    if names := asked.get("access-control-request-headers"):
        headers["Access-Control-Allow-Headers"] = names
    return Response(status_code=204, headers=headers)


async def _refuse(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """Refuse an upgrade by an answer of HTTP (ASGI's websocket.http.response)."""
    kept = [pair for pair in headers or [] if pair[0] != b"content-length"]
    if not headers:
        kept = [(b"content-type", b"text/plain; charset=utf-8")]
    kept.append((b"content-length", str(len(body)).encode()))
    await send({"type": "websocket.http.response.start", "status": status, "headers": kept})
    await send({"type": "websocket.http.response.body", "body": body})
