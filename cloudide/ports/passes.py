"""How a browser gets into a preview: a ticket, used once within seconds, becomes a pass.

The IDE's cookie stays on the IDE's origin. Who may see a port is given a ticket there, takes it to
the preview's host, and gets a cookie of that host alone. Tickets live in memory; passes are in the
database, as digests, so that a restart of the server signs nobody out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from cloudide.errors import Denied
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.permissions import Limit
from cloudide.ports.sites import Target
from cloudide.storage.database import Database
from cloudide.storage.tables import preview_passes

TICKET_SECONDS = 30.0
PASS_SECONDS = 24 * 3600.0  # then a new one is fetched, unseen, at the next page
TICKETS_LIMIT = 10_000


class Pass(msgspec.Struct, frozen=True):
    """Of a person, or ("" for `user`) of whoever had the link of that digest."""

    target: Target
    user: str = ""
    link: str = ""


class _Ticket(msgspec.Struct, frozen=True):
    target: Target
    user: str
    session: str | None
    token: str | None
    until: float  # when a pass ends at the latest, in seconds since the epoch
    expires_at: float  # of the loop-independent monotonic clock


class Passes:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._tickets: dict[str, _Ticket] = {}  # by digest, the oldest first

    def ticket(
        self, target: Target, user: str, session: str = "", limit: Limit | None = None
    ) -> str:
        """A ticket for one person and port. `session` is the secret they are signed in with, or
        `limit` that of their API token; the pass is to end with it."""
        now = time.monotonic()
        while self._tickets:
            oldest = next(iter(self._tickets))
            expired = self._tickets[oldest].expires_at < now
            if not expired and len(self._tickets) < TICKETS_LIMIT:
                break
            del self._tickets[oldest]
        secret = new_secret()
        self._tickets[digest(secret)] = _Ticket(
            target,
            user,
            digest(session) if session else None,
            limit.token if limit else None,
            limit.expires_at if limit and limit.expires_at else math.inf,
            now + TICKET_SECONDS,
        )
        return secret

    async def redeem(self, target: Target, ticket: str) -> str:
        """Turn a ticket into a pass; returns its secret.

        Raises:
            Denied: it is none, was used, is too old, or is for another place.
        """
        found = self._tickets.pop(digest(ticket), None)
        if found is None or found.target != target or found.expires_at < time.monotonic():
            raise Denied("This way in was used or is too old. Open the preview from the workspace.")
        until = min(time.time() + PASS_SECONDS, found.until)
        of = {"user": found.user, "session": found.session, "token": found.token}
        try:
            return await self._new(target, of, "", until)
        except IntegrityError as error:
            raise Denied("You were signed out meanwhile. Sign in again.") from error

    async def of_link(self, target: Target, link: str, expires_at: float) -> str:
        """A pass for whoever has a public link (its digest), as long as that is good."""
        return await self._new(target, {}, link, expires_at)

    async def find(self, target: Target, secret: str) -> Pass | None:
        """The pass that this is the secret of, if it is one for this very place."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(preview_passes).where(
                    preview_passes.c.hash == digest(secret),
                    preview_passes.c.workspace == target.workspace,
                    preview_passes.c.port == target.port,
                    preview_passes.c.expires_at > time.time(),
                )
            )
            row = found.first()
        return None if row is None else Pass(target, row.user or "", row.link)

    async def _new(
        self, target: Target, of: Mapping[str, str | None], link: str, expires_at: float
    ) -> str:
        secret = new_secret()
        async with self._database.begin() as db:
            await db.execute(
                delete(preview_passes).where(preview_passes.c.expires_at < time.time())
            )
            await db.execute(
                insert(preview_passes).values(
                    hash=digest(secret),
                    workspace=target.workspace,
                    port=target.port,
                    **of,
                    link=link,
                    expires_at=expires_at,
                )
            )
        return secret
