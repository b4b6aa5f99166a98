"""Previews: what a program in a workspace serves, on an origin of its own, through a tunnel.

`Edge` hands over every request whose host is one. Each is admitted by itself, whatever its path;
only a few paths below `/.cloudide/` are answered here. Everything else is a `Passage`, and one of
somebody who was admitted a moment ago becomes that without coming by here (`http_wire`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from urllib.parse import parse_qs, quote

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from cloudide.errors import CloudIDEError, Denied, NotFound, Unavailable
from cloudide.identity.credentials import digest
from cloudide.ports import http
from cloudide.ports.headers import Headers
from cloudide.ports.passes import PASS_SECONDS
from cloudide.ports.sites import Sites, Target
from cloudide.web import preview_pages
from cloudide.web.bodies import bytes_body
from cloudide.web.http_wire import EXTENSION, Handover
from cloudide.web.ports import LINK_PATH, SIGN_IN_PATH, WAIT_PATH, local_path
from cloudide.web.preview_door import Door, Head, from_elsewhere, head_of, is_page
from cloudide.web.preview_passage import Passage
from cloudide.web.preview_socket import Handshake, converse
from cloudide.web.preview_visit import Visit
from cloudide.web.proxies import Proxies
from cloudide.web.services import Services
from cloudide.workspaces.activity import Kind

_log = structlog.get_logger(__name__)

HEADERS_LIMIT = 64 * 1024  # bytes of a request's headers
WAIT_SECONDS = 25.0  # one question of a page that waits
RECHECK_SECONDS = 30.0  # links expire without anybody's doing
LOOKS = 8  # for answers that are overdue, in the time that they have
ADMISSIONS = 3  # tries to let somebody in while rights are being changed
REFUSED_METHODS = {"CONNECT", "TRACE"}  # a tunnel of the client's own; our headers read back
NAME_LIMIT = 300  # bytes of a Host header: of them a name has 255 at most (RFC 1035)
LINK_LIMIT = 256  # bytes of a link's secret
_OURS = b"/.cloudide/"


class Previews:
    """The ASGI application of all previews; a context in which rights that end are noticed."""

    def __init__(self, provided: Services) -> None:
        self.sites: Sites = provided.sites
        self.door = Door(provided)
        self.tunnels = provided.tunnels
        self.own_cookies = self.door.own_cookies
        self.patience = provided.settings.preview_timeout
        trusted = provided.settings.trusted_proxies
        self._proxies = Proxies(trusted) if trusted else None
        # Of these few there are many requests.
        self._site = lru_cache(1024)(lambda host: self.sites.parse([host.decode("latin-1")]))
        self._forwarded = lru_cache(1024)(self._forwarded_by)
        self._provided = provided
        self._visits: set[Visit | Passage] = set()
        self._recheck = asyncio.Event()
        self._rechecking: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None

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
        if self._looking is not None:
            self._looking.cancel()
        self._rechecking.cancel()
        await asyncio.gather(self._rechecking, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, target: Target) -> None:
        head = head_of(scope)
        if scope["type"] == "websocket":
            await self._socket(scope, head, receive, send, target)
            return
        response = await self._respond(scope, receive, head, target)
        if response is None:
            return
        origin = head.get(b"origin") or ""
        if self.sites.sibling(target, origin):
            # So that a page learns why it is refused.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers.add_vary_header("Origin")
        await response(scope, receive, send)

    # ── who may ─────────────────────────────────────────────────────────────────────────────────

    def site(self, hosts: list[bytes]) -> Target | None:
        if len(hosts) != 1 or len(hosts[0]) > NAME_LIMIT:
            return None
        return self._site(hosts[0])

    def known(self, head: Head, target: Target) -> bool | None:
        if (
            head.method in REFUSED_METHODS
            or head.method == "OPTIONS"
            or head.address.startswith(_OURS)
            or head.size > HEADERS_LIMIT
        ):
            return None
        own_authorization = self.door.knows(head, target)
        if not own_authorization and from_elsewhere(head, target, self.sites):
            return None
        return own_authorization

    async def _respond(
        self, scope: Scope, receive: Receive, head: Head, target: Target
    ) -> Response | None:
        """What we answer ourselves; None: the program answers."""
        request = Request(scope, receive)
        for _ in range(ADMISSIONS):
            if response := await self._answer(request, head, target):
                return response
            # A right that has ended since it was looked up is looked up again.
            own_authorization = self.door.knows(head, target)
            if own_authorization is not None:
                handover: Handover = scope["extensions"][EXTENSION]
                handover.take(self, scope, head, target, own_authorization=own_authorization)
                return None
        return preview_pages.plain(503, "Rights are being changed just now. Try again.")

    async def _answer(self, request: Request, head: Head, target: Target) -> Response | None:
        if request.method in REFUSED_METHODS:
            return preview_pages.plain(405, f"{request.method} is not for previews.")
        if head.size > HEADERS_LIMIT:
            return preview_pages.plain(431, f"The headers exceed {HEADERS_LIMIT:,} bytes.")
        path = head.address.partition(b"?")[0].decode("latin-1")
        if path == SIGN_IN_PATH and request.method == "GET":
            return await self._sign_in(request, target)
        if path == LINK_PATH and request.method in ("GET", "POST"):
            return await self._follow_link(request, target)
        if self._is_preflight(head, target):
            return _preflight(request)
        if await self.door.admit(head, target) is None:
            return self.refusal(head, target)
        if from_elsewhere(head, target, self.sites) and not await self.door.token_user(head):
            return preview_pages.plain(403, "Another site may not use this preview.")
        if path == WAIT_PATH:
            opened = await self._provided.openings.wait(target.workspace, target.port, WAIT_SECONDS)
            return Response(status_code=204 if opened else 202)
        return None

    def refusal(self, head: Head, target: Target) -> Response:
        """The answer to who may not."""
        if not is_page(head):
            return preview_pages.plain(401, "Open this preview from its workspace first.")
        path = head.address.decode("latin-1")
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

    def _is_preflight(self, head: Head, target: Target) -> bool:
        """A preflight (Fetch section 4.8) of a sibling. It carries no cookie by nature, so that the
        program must not see it; it is answered in the program's place."""
        origin = head.get(b"origin") or ""
        return (
            head.method == "OPTIONS"
            and head.get(b"access-control-request-method") is not None
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
                    if await self.door.admit(visit.head, visit.target) is None:
                        visit.end()
                except Exception:
                    _log.exception("previews.recheck_failed")
                    visit.end()

    # ── the program answers ─────────────────────────────────────────────────────────────────────

    def began(self, passage: Passage) -> None:
        self._visits.add(passage)
        if self._looking is None:
            self._look_later()
        self._touch(passage)

    def over(self, passage: Passage) -> None:
        self._visits.discard(passage)

    def _touch(self, visit: Visit | Passage) -> None:
        self._provided.activity.touch(visit.target.workspace, Kind.PREVIEW)

    def _look_later(self) -> None:
        # One timer for all: most answers come long before it, and need none of their own.
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(self.patience / LOOKS, self._look_for_overdue)

    def _look_for_overdue(self) -> None:
        self._looking = None
        now = time.monotonic()
        for visit in [*self._visits]:
            if isinstance(visit, Passage):
                visit.look(now)
                if visit.worked():
                    self._touch(visit)
        if self._visits:
            self._look_later()

    def forwarded(self, head: Head, target: Target) -> Headers:
        """What the program is told of how a request came here."""
        client = head.client
        if self._proxies:
            client = self._proxies.client(client, head.all(b"x-forwarded-for"))
        return self._forwarded(client, target)

    def _forwarded_by(self, client: str, target: Target) -> Headers:
        return [
            (b"x-forwarded-for", client.encode()),
            (b"x-forwarded-host", self.sites.origin(target).partition("://")[2].encode()),
            (b"x-forwarded-proto", self.sites.scheme.encode()),
        ]

    def failure(self, head: Head, target: Target, error: Exception) -> Response:
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
                status, title = 504, f"The program on port {port} does not answer"
                sentence = f"It was waited for, {self.patience:g} seconds long. Look at its output."
                return _told(head, status, title, sentence)
            case http.Broken():
                status, title = 502, f"What listens on port {port} did not answer in HTTP"
                sentence = "It ended the connection, or speaks another protocol."
                return _told(head, status, title, sentence)
            case _:
                _log.error("preview.failed", exc_info=error)
                return preview_pages.plain(500, "The server failed at this; its log says how.")
        if is_page(head):
            return preview_pages.waiting(title, sentence, path=WAIT_PATH, status=status)
        return preview_pages.plain(status, f"{title}. {sentence}")

    # ── websockets ──────────────────────────────────────────────────────────────────────────────

    async def _socket(
        self, scope: Scope, head: Head, receive: Receive, send: Send, target: Target
    ) -> None:
        await receive()  # websocket.connect
        if await self.door.admit(head, target) is None:
            await _refuse(send, 401, b"Open this preview from its workspace first.\n")
            return
        own_authorization = await self.door.token_user(head) is not None
        if from_elsewhere(head, target, self.sites) and not own_authorization:
            await _refuse(send, 403, b"Another site may not use this preview.\n")
            return
        visit = Visit(head, target)
        self._visits.add(visit)
        self._touch(visit)
        try:
            await self._upgrade(HTTPConnection(scope), receive, send, visit, own_authorization)
        finally:
            self._visits.discard(visit)

    async def _upgrade(
        self,
        connection: HTTPConnection,
        receive: Receive,
        send: Send,
        visit: Visit,
        own_authorization: bool,
    ) -> None:
        head, target = visit.head, visit.target
        accepted = False
        tunnel = None
        try:
            tunnel = await self.tunnels.dial(target)
            handshake = Handshake(tunnel)
            forwarded = self.forwarded(head, target)
            answer = await handshake.ask(
                head, self.own_cookies, own_authorization, forwarded, self.patience
            )
            accepted = True
            if not answer.switching:
                await _refuse(send, answer.status, b"", answer.headers)
                return
            limit = self._provided.settings.collab_frame_limit
            await converse(answer, connection, receive, send, visit, limit)
        except asyncio.CancelledError:
            if not visit.ended or accepted:
                raise
            visit.resumed()
            await _refuse(send, 401, b"Your access here has ended.\n")
        except Exception as error:
            if accepted:
                raise
            failure = self.failure(head, target, error)
            await _refuse(send, failure.status_code, bytes(failure.body))
        finally:
            if tunnel is not None:
                self.tunnels.hang_up(target, tunnel)


def _told(head: Head, status: int, title: str, sentence: str) -> Response:
    if is_page(head):
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
