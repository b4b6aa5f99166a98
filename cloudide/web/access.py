"""The door: which host and origin, who asks, and whether they may.

Everything is denied unless a route's `Access` allows it. Cookies count only together with the exact
origin on requests that change something and on every websocket, so that no other site can act in
somebody's name; an API token is not sent by itself and needs no origin, but a wrong one is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloudide.errors import CloudIDEError, Denied, NotFound, NotSignedIn, TooMany
from cloudide.identity.credentials import digest
from cloudide.identity.permissions import Action, Grant, Role, TeamAction, TeamGrant, TeamRole
from cloudide.identity.users import User
from cloudide.ports.sites import Sites, Target
from cloudide.settings import Settings, is_loopback
from cloudide.web.live import Closable, LiveSocket
from cloudide.web.problems import problem
from cloudide.web.proxies import Proxies
from cloudide.web.services import Services, services
from cloudide.web.wire import EXTENSION

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
HOSTLESS = {"/healthz", "/readyz", "/metrics"}  # probes come by address
# Programs that have no token ask here: for one, or with a signature instead.
_ORIGINLESS = re.compile(r"/api/v1/(?:device/(?:authorize|token)|prebuilds/[^/]+/hook)")
# Addresses of the interface that another site may send a browser to.
_ENTRANCES = re.compile(r"/api/v1/(?:providers/[^/]+/callback|workspaces/[^/]+/ports/[0-9]+/open)")
# The features of a browser that the IDE uses; all others are denied to whatever runs in it.
_PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        *("accelerometer", "autoplay", "bluetooth", "browsing-topics", "camera"),
        *("display-capture", "encrypted-media", "geolocation", "gyroscope", "hid"),
        *("identity-credentials-get", "idle-detection", "local-fonts", "magnetometer"),
        *("microphone", "midi", "payment", "publickey-credentials-get", "screen-wake-lock"),
        *("serial", "storage-access", "usb", "window-management", "xr-spatial-tracking"),
    )
)


def content_security_policy(settings: Settings, nonce: str = "") -> str:
    """What a page of ours may load and run (CSP level 3).

    The page's own inline script and the style sheets that our libraries write need `nonce`;
    `style` attributes are not allowed at all, what is set through the CSSOM is not subject to it.
    HTML is written as Trusted Types alone.
    """
    inline = f"'self' 'nonce-{nonce}'" if nonce else "'self'"
    websocket = settings.origin.replace("http", "ws", 1)
    return (
        f"default-src 'self'; script-src {inline}; style-src {inline}; img-src 'self' data: blob:; "
        f"connect-src 'self' {websocket}; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'; require-trusted-types-for 'script'; "
        "trusted-types svelte-trusted-html dompurify default service-worker"
    )


class Public:
    """Access for everybody."""


class SignedIn:
    """Access for everybody who has an account here."""


class InPerson:
    """Access for everybody who is signed in here themselves: not by an API token."""


class Own:
    """Access for somebody themselves, or by a token of theirs that may do all that they may."""


class InWorkspace(msgspec.Struct, frozen=True):
    """Access for members of the workspace in the path whose role allows `action`."""

    action: Action


class InTeam(msgspec.Struct, frozen=True):
    """Access for members of the team in the path whose role allows `action`."""

    action: TeamAction


Access = Public | SignedIn | InPerson | Own | InWorkspace | InTeam


class Caller(msgspec.Struct, frozen=True):
    """Who asks; `session` is the secret of their cookie, if that is how they are known."""

    user: User
    session: str = ""


class Misdirected(CloudIDEError):
    status, close_code, title = 421, 4403, "This server has another address"


def cookie_name(settings: Settings) -> str:
    return "__Host-cloudide" if settings.secure else "cloudide"


async def caller_of(connection: HTTPConnection) -> Caller | None:
    """Who sends this request, by token or by cookie.

    Raises:
        NotSignedIn: a token or cookie that is no longer good.
    """
    accounts = services(connection).accounts
    if authorization := connection.headers.get("authorization"):
        scheme, _, token = authorization.partition(" ")
        user = await accounts.by_token(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise NotSignedIn("The API token is not valid.")
        return Caller(user)
    if secret := connection.cookies.get(cookie_name(services(connection).settings)):
        if user := await accounts.by_session(secret):
            return Caller(user, secret)
        raise NotSignedIn("Your session has ended. Sign in again.")
    return None


def require_administrator(connection: HTTPConnection) -> None:
    """Raises: Denied: the caller is no administrator, or known by a token that is for less."""
    caller: Caller = connection.state.caller
    if not caller.user.admin:
        raise Denied("Only an administrator of this server may do this.")


def require_account(connection: HTTPConnection) -> User:
    """The caller, who is more than a guest and comes with all their rights.

    Raises:
        Denied: they are a guest, or known by a token that is for less.
    """
    user: User = connection.state.caller.user
    if user.guest:
        raise Denied(
            "Guests have only the workspaces that they were invited to. Ask an administrator of "
            "this server for an account."
        )
    if not _unlimited(user):
        raise Denied("This needs an API token of scope admin for all workspaces, or yourself.")
    return user


def _unlimited(user: User) -> bool:
    limit = user.limit
    return limit is None or (not limit.workspace and limit.actions == frozenset(Action))


async def admit(connection: HTTPConnection, access: Access) -> None:
    """Let a request in, or raise; leaves `caller` and `grant` in the request's state.

    Raises:
        NotSignedIn, Denied, NotFound: in this order, so that who is not a member of a workspace or
            team cannot learn whether it exists.
    """
    state = connection.state
    if isinstance(access, Public):
        try:
            state.caller = await caller_of(connection)
        except NotSignedIn:
            state.caller = None
        return
    caller = state.caller = await caller_of(connection)
    if caller is None:
        raise NotSignedIn()
    if isinstance(access, InPerson) and not caller.session:
        raise Denied("An API token cannot do this; sign in to the IDE.")
    if isinstance(access, Own) and not caller.session:
        limit = caller.user.limit
        if limit is None or limit.workspace or limit.actions != frozenset(Action):
            raise Denied(
                "An API token needs the scope admin for this, and to be for all workspaces."
            )
    if isinstance(access, InWorkspace):
        state.grant = await grant_for(connection, caller.user, connection.path_params["workspace"])
        if not state.grant.allows(access.action):
            raise Denied(_why_not(state.grant, access.action))
    elif isinstance(access, InTeam):
        team = connection.path_params["team"]
        state.team_grant = await team_grant_of(services(connection), caller.user, team)
        if not state.team_grant.allows(access.action):
            raise Denied(f"Your role in this team ({state.team_grant.role}) does not allow this.")


def _why_not(grant: Grant, action: Action) -> str:
    if grant.allows_person(action):
        return "This API token's scopes do not allow this; make one that does."
    return f"Your role here ({grant.role}) does not allow this."


async def admit_live(connection: HTTPConnection, access: Access, channel: Closable) -> LiveSocket:
    """Let something in that lasts; `channel` is closed when the right to it ends.

    Raises:
        NotSignedIn, Denied, NotFound: as `admit`. TooMany: there are as many as there may be.
    """
    live = services(connection).live
    while True:
        # A right that ends between the check and the entry would not be seen to end.
        revision = live.revision
        await admit(connection, access)
        if revision == live.revision:
            break
    caller: Caller | None = connection.state.caller
    if caller is None:
        raise NotSignedIn()
    workspace = connection.state.grant.workspace if isinstance(access, InWorkspace) else ""
    session = digest(caller.session) if caller.session else ""
    limit = caller.user.limit
    token, expires_at = (limit.token, limit.expires_at) if limit else ("", None)
    socket = LiveSocket(caller.user.id, session, workspace, channel, token, expires_at)
    live.add(socket)
    return socket


async def grant_for(connection: HTTPConnection, user: User, workspace: str) -> Grant:
    """What `user` may do in a workspace; site administrators own all.

    Raises:
        NotFound: not a member, or no such workspace.
    """
    return await grant_of(services(connection), user, workspace)


async def grant_of(provided: Services, user: User, workspace: str) -> Grant:
    """As `grant_for`."""
    limit = user.limit
    if limit is not None and limit.workspace not in ("", workspace):
        raise NotFound("There is no such workspace, or this API token is not for it.")
    role = await provided.membership.role(workspace, user.id)
    if user.admin and provided.supervisor.exists(workspace):
        role = Role.OWNER
    if role is None:
        raise NotFound("There is no such workspace, or you are not a member of it.")
    return Grant(user.person, workspace, role, limit)


async def team_grant_of(provided: Services, user: User, team: str) -> TeamGrant:
    """What `user` may do in a team; site administrators own all.

    Raises:
        NotFound: not a member, or no such team. Denied: the API token is for less.
    """
    role = await provided.teams.role(team, user.id)
    if user.admin and await provided.teams.exists(team):
        role = TeamRole.OWNER
    if role is None:
        raise NotFound("There is no such team, or you are not a member of it.")
    if not _unlimited(user):
        raise Denied("Teams need an API token of scope admin for all workspaces, or yourself.")
    return TeamGrant(user.person, team, role)


def is_trusted_watcher(connection: HTTPConnection) -> bool:
    """Whether somebody who has not to sign in may read how this server is: an administrator, or
    whoever asks on this machine, past any proxy."""
    caller: Caller | None = connection.state.caller
    settings = services(connection).settings
    if settings.metrics_public or (caller is not None and caller.user.admin):
        return True
    headers = connection.headers
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return (
        connection.client is not None
        and is_loopback(connection.client.host)
        # A proxy on this machine asks for others; and a name that leads here may be a site's whose
        # page runs in a browser on this machine.
        and not {"x-forwarded-for", "forwarded", "via"} & set(headers.keys())
        and (is_loopback(host) or headers.get("host") == settings.host or _is_address(host))
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _from_elsewhere(scope: Scope, headers: Headers) -> bool:
    """Whether another site makes a browser ask for this (Fetch Metadata, W3C).

    Previews are below our own name: what is merely of the same site is as foreign as any other.
    Following a link here is fine, to a page or to an entrance, at the top of a tab.
    """
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False  # our own page, somebody's own doing, or no browser
    path: str = scope["path"]
    return not (
        scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and (not path.startswith("/api/") or _ENTRANCES.fullmatch(path))
    )


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an upgrade with a problem document instead."""
    error = TooMany("Too many connections from your address are not signed in. Close some.")

    async def renamed(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.", 1)})

    await problem(error)({**scope, "type": "http"}, receive, renamed)


PreviewApp = Callable[[Scope, Receive, Send, Target], Awaitable[None]]


class Edge:
    """ASGI middleware in front of everything: host, origin, and the headers of every answer.

    What comes to a preview's host goes to `preview`, and nowhere else; the rules here are not its.
    """

    def __init__(self, app: ASGIApp, settings: Settings, sites: Sites, preview: PreviewApp) -> None:
        self._app = app
        self._sites = sites
        self._preview = preview
        self._settings = settings
        self._proxies = Proxies(settings.trusted_proxies)
        self._anonymous: Counter[str] = Counter()  # sockets of nobody, by their address
        self._headers = [
            (b"content-security-policy", content_security_policy(settings).encode()),
            (b"permissions-policy", _PERMISSIONS_POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if settings.secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            target = self._sites.parse(Headers(scope=scope).getlist("host"))
            if target is not None:
                await self._preview(scope, receive, send, target)
                return
            self._resolve_client(scope)
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._add(message["headers"])
            await send(message)

        if not self._right_host(headers) and scope["path"] not in HOSTLESS:
            await self._elsewhere(scope, headers, receive, with_headers)
            return
        origin = headers.get("origin")
        # Without a cookie there is nothing there that somebody's browser could be misused for.
        by_cookie = "authorization" not in headers and not (
            "cookie" not in headers and _ORIGINLESS.fullmatch(scope["path"])
        )
        unsafe = scope["method"] not in SAFE_METHODS
        if (unsafe and by_cookie and origin != self._settings.origin) or (
            origin is not None and origin != self._settings.origin
        ):
            error = Denied(f"Requests come from {self._settings.origin} or carry an API token.")
            await problem(error)(scope, receive, with_headers)
            return
        if _from_elsewhere(scope, headers):
            error = Denied(f"Another site asked for this; open {self._settings.origin} itself.")
            await problem(error)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        trusted = origin == self._settings.origin or (origin is None and "authorization" in headers)
        if not trusted or not self._right_host(headers):
            # Closing before accepting refuses the upgrade itself (403).
            await send({"type": "websocket.close", "code": 1008})
            return
        nobody = "authorization" not in headers and "cookie" not in headers
        if nobody and not self._enter(scope):
            await _refuse(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _enter(self, scope: Scope) -> bool:
        """Let a websocket of nobody be told that it has to sign in; false: its address has as many
        open as it may. It counts until its connection is closed."""
        address = scope["client"][0] if scope.get("client") else ""
        if self._anonymous[address] >= self._settings.anonymous_sockets:
            return False
        self._anonymous[address] += 1

        def gone() -> None:
            self._anonymous[address] -= 1
            if not self._anonymous[address]:
                del self._anonymous[address]

        scope["extensions"][EXTENSION].on_lost = gone
        return True

    def _resolve_client(self, scope: Scope) -> None:
        """Behind proxies that are trusted, the client is who they say."""
        if self._settings.trusted_proxies and scope.get("client"):
            peer, port = scope["client"]
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            scope["client"] = (self._proxies.client(peer, forwarded), port)

    def _right_host(self, headers: Headers) -> bool:
        return headers.getlist("host") == [self._settings.host]

    async def _elsewhere(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Somebody used another name for this server: send a reader to the right one."""
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            target = self._settings.origin + quote(scope["path"])
            response = {"type": "http.response.start", "status": 307}
            await send({**response, "headers": [(b"location", target.encode())]})
            await send({"type": "http.response.body", "body": b""})
            return
        await problem(Misdirected(f"Use {self._settings.origin} for this server."))(
            scope, receive, send
        )

    def _add(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name.lower() for name, _ in headers}
        return [*headers, *(pair for pair in self._headers if pair[0] not in present)]
