"""Sessions: browsers that are signed in.

Each is a random secret in a cookie, of which only the digest is kept. It ends when it was not used
for some time, or when somebody ends it.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import msgspec
from sqlalchemy import delete, insert, select, update

from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.users import User, user_of
from cloudide.storage.database import Database
from cloudide.storage.tables import sessions, users

MAX_AGENT = 200  # characters of a User-Agent that are kept
ID_LENGTH = 16  # characters of the digest that name a session to its owner
_USED_RESOLUTION = 3600  # seconds; how exactly the last use is noted


class Session(msgspec.Struct, frozen=True):
    """A session as its owner sees it. `hash` is its secret's digest."""

    id: str
    hash: str
    agent: str
    created_at: float
    used_at: float


class Sessions:
    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._seconds = days * 86400

    async def create(self, user: str, agent: str = "") -> str:
        """Begin a session; returns its secret, which is stored nowhere. `agent`: the browser."""
        secret = new_secret()
        now = time.time()
        row = {"hash": digest(secret), "user": user, "created_at": now, "used_at": now}
        async with self._database.begin() as db:
            await db.execute(delete(sessions).where(sessions.c.used_at <= self._ended_before()))
            await db.execute(insert(sessions).values(**row, agent=agent[:MAX_AGENT]))
        return secret

    async def end(self, secret: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(sessions).where(sessions.c.hash == digest(secret)))

    async def end_all(self, user: str, hashes: Collection[str]) -> None:
        async with self._database.begin() as db:
            await db.execute(
                delete(sessions).where(sessions.c.user == user, sessions.c.hash.in_(hashes))
            )

    async def list(self, user: str) -> list[Session]:
        """Somebody's sessions that have not ended, the one used last first."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(sessions)
                .where(sessions.c.user == user, sessions.c.used_at > self._ended_before())
                .order_by(sessions.c.used_at.desc(), sessions.c.created_at.desc())
            )
            return [
                Session(row.hash[:ID_LENGTH], row.hash, row.agent, row.created_at, row.used_at)
                for row in found
            ]

    async def owner(self, secret: str) -> User | None:
        """Whose session this is, or None when it never was or has ended."""
        now = time.time()
        hash = digest(secret)
        async with self._database.begin() as db:
            found = await db.execute(
                select(users, sessions.c.used_at)
                .join(sessions, sessions.c.user == users.c.id)
                .where(sessions.c.hash == hash, sessions.c.used_at > self._ended_before())
                .where(users.c.active)
            )
            row = found.first()
            if row is None:
                return None
            if row.used_at < now - _USED_RESOLUTION:
                await db.execute(
                    update(sessions).where(sessions.c.hash == hash).values(used_at=now)
                )
            return user_of(row._mapping)

    def _ended_before(self) -> float:
        return time.time() - self._seconds
