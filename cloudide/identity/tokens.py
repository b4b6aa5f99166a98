"""API tokens: what people's programs sign in with.

A token reads `cide_`, 43 characters of base 62 (256 random bits), and six of a CRC-32 over these:
scanners know one when they see it, and one that was mistyped is refused unasked. Only its digest is
kept.
"""

from __future__ import annotations

import secrets
import string
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, or_, select, update

from cloudide.errors import InvalidInput, NotFound, TooMany
from cloudide.identity.credentials import digest
from cloudide.identity.permissions import Scope
from cloudide.storage.database import Database
from cloudide.storage.tables import api_tokens

PREFIX = "cide_"
RANDOM, CHECK = 43, 6  # characters
TOKENS_LIMIT = 100  # of one person
DAYS_LIMIT = 366
MAX_NAME = 64
_USED_RESOLUTION = 60  # seconds; how exactly the last use is noted
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


class ApiToken(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch; `expires_at` None: never. `workspace` "": any."""

    id: str
    user: str
    name: str
    scopes: list[Scope]
    workspace: str
    created_at: float
    expires_at: float | None
    used_at: float | None


def new_token() -> str:
    random = "".join(secrets.choice(_DIGITS) for _ in range(RANDOM))
    return PREFIX + random + _check(random)


def is_token(text: str) -> bool:
    """Whether this has a token's form and checksum; whether it is one, the database knows."""
    random, check = text[len(PREFIX) : -CHECK], text[-CHECK:]
    return (
        text.startswith(PREFIX)
        and len(random) == RANDOM
        and text.isascii()
        and check == _check(random)
    )


def _check(random: str) -> str:
    number, found = zlib.crc32(random.encode()), ""
    for _ in range(CHECK):
        number, digit = divmod(number, len(_DIGITS))
        found = _DIGITS[digit] + found
    return found


class ApiTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, user: str, name: str, scopes: Sequence[Scope], workspace: str, days: int | None
    ) -> tuple[ApiToken, str]:
        """A new token of somebody's; returns it with its secret, which is stored nowhere.

        Raises:
            InvalidInput: as `check`. TooMany: they have too many.
        """
        self.check(name, scopes, days)
        now = time.time()
        token = ApiToken(
            id=secrets.token_hex(8),
            user=user,
            name=name.strip(),
            scopes=sorted(set(scopes)),
            workspace=workspace,
            created_at=now,
            expires_at=None if days is None else now + days * 86400,
            used_at=None,
        )
        secret = new_token()
        row = msgspec.structs.asdict(token)
        row |= {"scopes": ",".join(token.scopes), "workspace": workspace or None}
        async with self._database.begin() as db:
            counted = await db.execute(
                select(func.count()).select_from(api_tokens).where(api_tokens.c.user == user)
            )
            if counted.scalar_one() >= TOKENS_LIMIT:
                raise TooMany(f"You have {TOKENS_LIMIT} tokens, the limit. Revoke one first.")
            await db.execute(insert(api_tokens).values(hash=digest(secret), **row))
        return token, secret

    def check(self, name: str, scopes: Sequence[Scope], days: int | None) -> None:
        """Raises: InvalidInput: no name, no scope, or a time that is none."""
        if not name.strip() or len(name) > MAX_NAME:
            raise InvalidInput(f"A token has a name of 1 to {MAX_NAME} characters.")
        if not scopes:
            raise InvalidInput("A token has at least one scope: read, write, exec or admin.")
        if days is not None and not 1 <= days <= DAYS_LIMIT:
            raise InvalidInput(f"A token is valid for 1 to {DAYS_LIMIT} days, or until revoked.")

    async def list(self, user: str) -> list[ApiToken]:
        """Somebody's tokens, expired ones too, the newest first."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(api_tokens)
                .where(api_tokens.c.user == user)
                .order_by(api_tokens.c.created_at.desc())
            )
            return [_token(row._mapping) for row in found]

    async def revoke(self, user: str, id: str) -> None:
        """Raises: NotFound: they have no such token."""
        async with self._database.begin() as db:
            gone = await db.execute(
                delete(api_tokens).where(api_tokens.c.user == user, api_tokens.c.id == id)
            )
        if not gone.rowcount:
            raise NotFound("There is no such token.")

    async def use(self, secret: str) -> ApiToken | None:
        """The token with this secret, if it is good; its use is noted."""
        if not is_token(secret):
            return None
        now = time.time()
        async with self._database.begin() as db:
            found = await db.execute(
                select(api_tokens).where(
                    api_tokens.c.hash == digest(secret),
                    or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > now),
                )
            )
            row = found.first()
            if row is None:
                return None
            if row.used_at is None or row.used_at < now - _USED_RESOLUTION:
                await db.execute(
                    update(api_tokens).where(api_tokens.c.id == row.id).values(used_at=now)
                )
            return _token(row._mapping)


def _token(row: Mapping[Any, Any]) -> ApiToken:
    return ApiToken(
        id=row["id"],
        user=row["user"],
        name=row["name"],
        scopes=[Scope(each) for each in row["scopes"].split(",")],
        workspace=row["workspace"] or "",
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
    )
