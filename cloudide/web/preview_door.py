"""Who may see a preview: by the pass in a cookie of its host, or by an API token; on every request.

Looking that up takes the database. What was found is kept for some seconds, and forgotten at once
when any right ends (`LiveSockets.revision`) or a port is shared differently.
"""

from __future__ import annotations

import time
from functools import lru_cache

import msgspec
from starlette.types import Scope

from cloudide.errors import NotFound
from cloudide.identity.credentials import digest
from cloudide.identity.users import User
from cloudide.ports.headers import CACHED_LIMIT, Headers, cookies
from cloudide.ports.sites import Sites, Target
from cloudide.ports.visibility import NEEDED, Visibility
from cloudide.web.access import cookie_name, grant_of
from cloudide.web.services import Services

FRESH_SECONDS = 10.0
KNOWN_LIMIT = 10_000
COOKIES_LIMIT = 4  # of our name that are looked at; a sibling site may have set others
_PREVIEW_COOKIE = "cloudide-preview"


class Head:
    """What a request, or the handshake of a websocket, says before its body.

    `address` is its path and query as they were sent, `client` the address that it came from,
    a proxy's perhaps. Names of headers are lower case.
    """

    __slots__ = ("_first", "address", "client", "headers", "method", "websocket")

    def __init__(
        self, method: str, address: bytes, headers: Headers, client: str, *, websocket: bool = False
    ) -> None:
        self.method = method
        self.address = address
        self.headers = headers
        self.client = client
        self.websocket = websocket
        self._first = dict(reversed(headers))

    @property
    def size(self) -> int:
        """Of the headers, in bytes."""
        return sum([len(name) + len(value) + 4 for name, value in self.headers])

    def get(self, name: bytes) -> str | None:
        """The first header of that name."""
        value = self._first.get(name)
        return None if value is None else value.decode("latin-1")

    def all(self, name: bytes) -> list[bytes]:
        """The values of that name, in order."""
        if name not in self._first:
            return []
        return [value for each, value in self.headers if each == name]


def head_of(scope: Scope) -> Head:
    """The head of an ASGI request or websocket."""
    query = scope["query_string"]
    client = scope.get("client")
    return Head(
        scope.get("method", "GET"),
        scope["raw_path"] + (b"?" + query if query else b""),
        list(scope["headers"]),
        client[0] if client else "",
        websocket=scope["type"] == "websocket",
    )


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who may see a preview. `user` is "" for who has a public link."""

    user: str
    by_token: bool = False


class Door:
    def __init__(self, provided: Services) -> None:
        self._provided = provided
        self._secure = provided.sites.secure
        self.cookie = f"__Host-{_PREVIEW_COOKIE}" if self._secure else _PREVIEW_COOKIE
        # None of these is for the program to read, or to set.
        self.own_cookies = frozenset(
            {cookie_name(provided.settings), _PREVIEW_COOKIE, f"__Host-{_PREVIEW_COOKIE}"}
        )
        self._changes = 0
        self._digests = lru_cache(1024)(self._digests_of)
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

    async def admit(self, head: Head, target: Target) -> Visitor | None:
        """Who comes, if they may; None for everybody else."""
        live = self._provided.live
        for secret in cookies(head.headers, self.cookie)[:COOKIES_LIMIT]:
            key = (target, digest(secret))
            if visitor := self._fresh(key, live.revision):
                return visitor
            # A right that ends while it is looked up was not there.
            revision = live.revision, self._changes
            if visitor := await self._by_pass(target, secret):
                return self._keep(key, revision, visitor)
        user = await self.token_user(head)
        if user is None:
            return None
        key = (target, user.known_as)
        if visitor := self._fresh(key, live.revision):
            return visitor
        revision = live.revision, self._changes
        if await may_see(self._provided, user, target):
            return self._keep(key, revision, Visitor(user.id, by_token=True))
        return None

    def knows(self, head: Head, target: Target) -> bool | None:
        """Whether the Authorization header is ours, of somebody who is known to be admitted; None:
        that has to be asked of `admit` and `token_user`."""
        user = None
        if head.get(b"authorization") is not None:
            token = _bearer(head)
            if token:
                known = self._tokens.get(digest(token))
                if known is None or known[0] != self._provided.live.revision:
                    return None
                if known[1] <= time.monotonic():
                    return None
                user = known[2]
        revision = self._provided.live.revision
        for line in head.all(b"cookie"):
            digests = self._digests if len(line) <= CACHED_LIMIT else self._digests_of
            for key in digests(line):
                if self._fresh((target, key), revision):
                    return user is not None
        if user is not None and self._fresh((target, user.known_as), revision):
            return True
        return None

    def _digests_of(self, line: bytes) -> list[str]:
        """What the passes in a Cookie header are known by."""
        passes = cookies([(b"cookie", line)], self.cookie)[:COOKIES_LIMIT]
        return [digest(each) for each in passes]

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

    async def token_user(self, head: Head) -> User | None:
        """Whose API token the Authorization header is; None: the header is not ours."""
        token = _bearer(head)
        if not token:
            return None
        key, revision, now = digest(token), self._provided.live.revision, time.monotonic()
        if (known := self._tokens.get(key)) and known[0] == revision and known[1] > now:
            return known[2]
        user = await self._provided.accounts.by_token(token)
        if len(self._tokens) >= KNOWN_LIMIT:
            self._tokens.clear()
        self._tokens[key] = (revision, now + FRESH_SECONDS, user)
        return user

    async def _by_pass(self, target: Target, secret: str) -> Visitor | None:
        provided = self._provided
        found = await provided.passes.find(target, secret)
        if found is None:
            return None
        if found.link:
            sharing = provided.visibilities.get(target.workspace, target.port)
            return Visitor("") if sharing.opens(found.link) else None
        user = await provided.accounts.get(found.user)
        if user is None or not await may_see(self._provided, user, target):
            return None
        return Visitor(user.id)


async def may_see(provided: Services, user: User, target: Target) -> bool:
    """Whether somebody may see a port, as it is shared now."""
    visibility = provided.visibilities.get(target.workspace, target.port).visibility
    try:
        grant = await grant_of(provided, user, target.workspace)
    except NotFound:
        return visibility is Visibility.TEAM and await _is_in_team(provided, user, target)
    return grant.allows(NEEDED[visibility])


async def _is_in_team(provided: Services, user: User, target: Target) -> bool:
    """Whether somebody who has no role in the workspace is in the team that owns it."""
    if user.limit is not None or not provided.supervisor.exists(target.workspace):
        return False
    team = provided.supervisor.view(target.workspace)["team"]
    return bool(team) and await provided.teams.role(team, user.id) is not None


def is_page(head: Head) -> bool:
    """Whether a person is to read the answer: a document at the top of a tab."""
    return (
        head.method in ("GET", "HEAD")
        and not head.websocket
        and "text/html" in (head.get(b"accept") or "")
        and head.get(b"sec-fetch-mode") in (None, "navigate")
    )


def from_elsewhere(head: Head, target: Target, sites: Sites) -> bool:
    """Whether another site makes a browser send this (cross-site request forgery).

    The previews of one workspace may use one another. Other workspaces' previews are other sites,
    though a browser may count them as the same and send them the cookie.
    """
    fetched = head.get(b"sec-fetch-site")
    origin = head.get(b"origin")
    if not head.websocket and fetched in ("same-origin", "none"):
        return False  # a browser says so itself; a page with no referrer has no origin either
    if origin is not None:
        return not sites.sibling(target, origin)
    if fetched is None:
        return False  # no browser, or one that would have said its origin were it to be feared
    top = head.get(b"sec-fetch-mode") == "navigate" and head.get(b"sec-fetch-dest") == "document"
    if top and not head.websocket and head.method in ("GET", "HEAD"):
        return False  # somebody followed a link
    return not sites.sibling(target, _referrer(head))


def _referrer(head: Head) -> str:
    """The origin of the page that a request comes from."""
    scheme, separator, rest = (head.get(b"referer") or "").partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0]}"


def _bearer(head: Head) -> str:
    """The token of RFC 6750 in the Authorization header, be it whose it may; "" without one."""
    scheme, _, token = (head.get(b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
