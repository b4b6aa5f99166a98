"""Accounts and sessions: who somebody is.

The first account is made with a one-time sign-in token that `cloudide serve` prints; the same kind
of token signs its owner in again later. A session is a random secret in a cookie.
"""

from __future__ import annotations

import colorsys
import hashlib
import hmac
import secrets
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import InvalidInput, NotSignedIn
from cloudide.identity.permissions import Person
from cloudide.storage.database import Database
from cloudide.storage.tables import sessions, sign_in_tokens, users

SIGN_IN_TOKEN_SECONDS = 24 * 3600
_USED_RESOLUTION = 3600  # seconds; how exactly the last use of a session is noted
MAX_NAME = 64
AUTOMATION = "automation"  # the user id behind the preset administrator token


class User(msgspec.Struct, frozen=True):
    id: str
    name: str
    color: str
    admin: bool

    @property
    def person(self) -> Person:
        return Person(self.id, self.name, self.color)


class NameNeeded(Exception):
    """The first account is about to be made; its owner has to say a name first."""


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def clean_name(name: str, what: str = "A name") -> str:
    """A name as people may give it: 1 to 64 visible characters, in Unicode's composed form.

    Raises:
        InvalidInput: empty, too long, or with control or invisible formatting characters.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > MAX_NAME:
        raise InvalidInput(f"{what} has 1 to {MAX_NAME} characters.")
    # Cc control, Cf formatting (direction overrides forge names), Cs surrogates, Zl/Zp separators.
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in cleaned):
        raise InvalidInput(f"{what} cannot hold control or invisible characters.")
    return cleaned


class Accounts:
    def __init__(self, database: Database, admin_token: str, session_days: int) -> None:
        self._database = database
        self._admin_token = digest(admin_token) if admin_token else ""
        self._session_seconds = session_days * 86400

    async def start(self) -> None:
        """Make the account of the preset administrator token, where there is one."""
        if self._admin_token:
            async with self._database.begin() as db:
                found = await db.execute(select(users.c.id).where(users.c.id == AUTOMATION))
                if found.first() is None:
                    await db.execute(
                        insert(users).values(**_row(AUTOMATION, "Automation", True, 0))
                    )

    async def create_sign_in_token(self) -> str:
        """A new one-time token for the owner of this server; former ones end."""
        token = new_secret()
        async with self._database.begin() as db:
            await db.execute(delete(sign_in_tokens))
            await db.execute(
                insert(sign_in_tokens).values(
                    hash=digest(token), expires_at=time.time() + SIGN_IN_TOKEN_SECONDS
                )
            )
        return token

    async def sign_in(self, token: str, name: str | None) -> tuple[User, str]:
        """Use a one-time token; returns the owner and a new session's secret.

        Raises:
            NotSignedIn: the token is wrong, used or expired.
            NameNeeded: there is no account yet and no name was given; the token stays usable.
        """
        async with self._database.begin() as db:
            # Taken first: of several requests at the same moment only one finds it. An error below
            # puts it back.
            taken = await db.execute(
                delete(sign_in_tokens).where(
                    sign_in_tokens.c.hash == digest(token),
                    sign_in_tokens.c.expires_at > time.time(),
                )
            )
            if not taken.rowcount:
                raise NotSignedIn(
                    "This sign-in link was used or has expired. Start `cloudide serve` again, or "
                    "run `cloudide user sign-in`, for a new one."
                )
            owner = await db.execute(
                select(users)
                .where(users.c.admin, users.c.id != AUTOMATION)
                .order_by(users.c.created_at)
            )
            row = owner.first()
            if row is None:
                if name is None:
                    raise NameNeeded
                number = await _count(db)
                values = _row(secrets.token_hex(8), clean_name(name), True, number)
                await db.execute(insert(users).values(**values))
                user = _user(values)
            else:
                user = _user(row._mapping)
        return user, await self.create_session(user.id)

    async def create_guest(self, name: str) -> User:
        name = clean_name(name)
        async with self._database.begin() as db:
            values = _row(secrets.token_hex(8), name, False, await _count(db))
            await db.execute(insert(users).values(**values))
        return _user(values)

    async def create_session(self, user: str) -> str:
        """Begin a session; returns its secret, which is stored nowhere."""
        secret = new_secret()
        now = time.time()
        async with self._database.begin() as db:
            await db.execute(
                insert(sessions).values(hash=digest(secret), user=user, created_at=now, used_at=now)
            )
        return secret

    async def end_session(self, secret: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(sessions).where(sessions.c.hash == digest(secret)))

    async def by_session(self, secret: str) -> User | None:
        """Whose session this is, or None when it never was or has ended."""
        now = time.time()
        hash = digest(secret)
        async with self._database.begin() as db:
            found = await db.execute(
                select(users, sessions.c.used_at)
                .join(sessions, sessions.c.user == users.c.id)
                .where(sessions.c.hash == hash, sessions.c.used_at > now - self._session_seconds)
            )
            row = found.first()
            if row is None:
                return None
            if row.used_at < now - _USED_RESOLUTION:
                await db.execute(
                    update(sessions).where(sessions.c.hash == hash).values(used_at=now)
                )
            return _user(row._mapping)

    async def by_token(self, token: str) -> User | None:
        """Whose API token this is."""
        if self._admin_token and hmac.compare_digest(digest(token), self._admin_token):
            return await self.get(AUTOMATION)
        return None

    async def get(self, user: str) -> User | None:
        async with self._database.begin() as db:
            row = (await db.execute(select(users).where(users.c.id == user))).first()
            return _user(row._mapping) if row else None


async def _count(db: AsyncConnection) -> int:
    return (await db.execute(select(func.count()).select_from(users))).scalar_one()


def _user(row: Mapping[Any, Any]) -> User:
    return User(row["id"], row["name"], row["color"], row["admin"])


def _row(id: str, name: str, admin: bool, number: int) -> dict[str, object]:
    """A new account, the `number`-th of this server."""
    return {
        "id": id,
        "name": name,
        "color": _color(number),
        "admin": admin,
        "created_at": time.time(),
    }


def _color(number: int) -> str:
    """A colour of one's own: each hue is the golden angle away from the last, so that any few
    accounts differ clearly; dark enough for white text, light enough to see on a dark page."""
    hue = (0.62 + number * 0.381966) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, 0.4, 0.6)
    return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
