"""Who may see a preview: by the pass in a cookie of its host, or by an API token; on every request.

Looking that up takes the database. What was found is kept for some seconds, and forgotten at once
when any right ends (`LiveSockets.revision`) or a port is shared differently.
"""

from __future__ import annotations

import time

import msgspec
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from cloudide.errors import NotFound
from cloudide.identity.accounts import User, digest
from cloudide.ports.headers import cookies
from cloudide.ports.sites import Target
from cloudide.ports.visibility import NEEDED
from cloudide.settings import Settings
from cloudide.web.access import cookie_name, grant_for
from cloudide.web.services import services

FRESH_SECONDS = 10.0
KNOWN_LIMIT = 10_000
COOKIES_LIMIT = 4  # of our name that are looked at; a sibling site may have set others
_PREVIEW_COOKIE = "cloudide-preview"


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who may see a preview. `user` is "" for who has a public link."""

    user: str
    by_token: bool = False


class Door:
    def __init__(self, settings: Settings, secure: bool) -> None:
        self.cookie = f"__Host-{_PREVIEW_COOKIE}" if secure else _PREVIEW_COOKIE
        # None of these is for the program to read, or to set.
        self.own_cookies = frozenset(
            {cookie_name(settings), _PREVIEW_COOKIE, f"__Host-{_PREVIEW_COOKIE}"}
        )
        self._secure = secure
        self._changes = 0
        self._known: dict[tuple[Target, str], tuple[tuple[int, int], float, Visitor]] = {}
        self._tokens: dict[str, tuple[int, float, User | None]] = {}

    def changed(self) -> None:
        """Somebody may have lost a right that no session or membership tells of."""
        self._changes += 1

    def set_cookie(self, secret: str, seconds: int) -> str:
        """The Set-Cookie line of a pass: of this host alone (RFC 6265bis section 4.1.3.2)."""
        line = f"{self.cookie}={secret}; Path=/; Max-Age={seconds}; HttpOnly"
        if self._secure:
            return f"{line}; Secure; SameSite=None; Partitioned"
        return f"{line}; SameSite=Lax"

    async def admit(self, connection: HTTPConnection, target: Target) -> Visitor | None:
        """Who comes, if they may; None for everybody else."""
        live = services(connection).live
        for secret in cookies(connection.scope["headers"], self.cookie)[:COOKIES_LIMIT]:
            key = (target, digest(secret))
            if visitor := self._fresh(key, live.revision):
                return visitor
            # A right that ends while it is looked up was not there.
            revision = live.revision, self._changes
            if visitor := await self._by_pass(connection, target, secret):
                return self._keep(key, revision, visitor)
        user = await self.token_user(connection)
        if user is None:
            return None
        key = (target, user.id)
        if visitor := self._fresh(key, live.revision):
            return visitor
        revision = live.revision, self._changes
        if await self._may(connection, target, user):
            return self._keep(key, revision, Visitor(user.id, by_token=True))
        return None

    def _fresh(self, key: tuple[Target, str], revision: int) -> Visitor | None:
        known = self._known.get(key)
        if known and known[0] == (revision, self._changes) and known[1] > time.monotonic():
            return known[2]
        return None

    def _keep(
        self, key: tuple[Target, str], revision: tuple[int, int], visitor: Visitor
    ) -> Visitor:
        if len(self._known) >= KNOWN_LIMIT:
            self._known.clear()
        self._known[key] = (revision, time.monotonic() + FRESH_SECONDS, visitor)
        return visitor

    async def token_user(self, connection: HTTPConnection) -> User | None:
        """Whose API token the Authorization header is; None: the header is not ours."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        provided = services(connection)
        key, revision, now = digest(token.strip()), provided.live.revision, time.monotonic()
        if (known := self._tokens.get(key)) and known[0] == revision and known[1] > now:
            return known[2]
        user = await provided.accounts.by_token(token.strip())
        if len(self._tokens) >= KNOWN_LIMIT:
            self._tokens.clear()
        self._tokens[key] = (revision, now + FRESH_SECONDS, user)
        return user

    async def _by_pass(
        self, connection: HTTPConnection, target: Target, secret: str
    ) -> Visitor | None:
        provided = services(connection)
        found = await provided.passes.find(target, secret)
        if found is None:
            return None
        if found.link:
            sharing = provided.visibilities.get(target.workspace, target.port)
            return Visitor("") if sharing.opens(found.link) else None
        user = await provided.accounts.get(found.user)
        if user is None or not await self._may(connection, target, user):
            return None
        return Visitor(user.id)

    async def _may(self, connection: HTTPConnection, target: Target, user: User) -> bool:
        try:
            grant = await grant_for(connection, user, target.workspace)
        except NotFound:
            return False
        sharing = services(connection).visibilities.get(target.workspace, target.port)
        return grant.allows(NEEDED[sharing.visibility])


def is_page(connection: HTTPConnection) -> bool:
    """Whether a person is to read the answer: a document at the top of a tab."""
    headers = connection.headers
    return (
        connection.scope.get("method") in ("GET", "HEAD")
        and "text/html" in headers.get("accept", "")
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
    )


def from_elsewhere(connection: HTTPConnection, target: Target) -> bool:
    """Whether another site makes a browser send this (cross-site request forgery).

    The previews of one workspace may use one another. Other workspaces' previews are other sites,
    though a browser may count them as the same and send them the cookie.
    """
    headers, sites = connection.headers, services(connection).sites
    fetched = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if connection.scope["type"] == "http" and fetched in ("same-origin", "none"):
        return False  # a browser says so itself; a page with no referrer has no origin either
    if origin is not None:
        return not sites.sibling(target, origin)
    if fetched is None:
        return False  # no browser, or one that would have said its origin were it to be feared
    top = (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )
    if top and connection.scope.get("method") in ("GET", "HEAD"):
        return False  # somebody followed a link
    return not sites.sibling(target, _origin_of(headers))


def _origin_of(headers: Headers) -> str:
    scheme, separator, rest = headers.get("referer", "").partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0]}"
