"""Which account an identity at a provider belongs to: by issuer and subject, never by email."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection

import msgspec
from sqlalchemy import delete, func, insert, select, update

from cloudide.errors import Conflict, Denied, InvalidInput, NotFound
from cloudide.identity.outside.claims import Claims
from cloudide.identity.users import MAX_EMAIL, MAX_NAME, User, clean_name, new_row, user_of
from cloudide.storage.database import Database
from cloudide.storage.tables import identities, users

OF_ACCOUNT = 20  # identities of one account


class Identity(msgspec.Struct, frozen=True):
    """`name` is what the provider calls somebody: an address, or a name."""

    id: str
    issuer: str
    name: str
    created_at: float
    used_at: float


class Identities:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def sign_in(self, claims: Claims, label: str, *, create: bool) -> User:
        """Whose account this is; a new one where there is none and `create` says so.

        Raises:
            Denied: there is none, or it was deactivated.
        """
        known = identities.c.issuer == claims.issuer, identities.c.subject == claims.subject
        async with self._database.begin() as db:
            found = await db.execute(
                select(users).join(identities, identities.c.user == users.c.id).where(*known)
            )
            row = found.first()
            if row is not None:
                if not row.active:
                    raise Denied("This account was deactivated; ask an administrator.")
                await db.execute(
                    update(identities)
                    .where(*known)
                    .values(used_at=time.time(), name=_shown(claims))
                )
                return user_of(row._mapping)
            if not create:
                raise Denied(
                    f"No account here is linked to this one at {label}. Sign in as you did before "
                    "and link it in “Your account”; or ask somebody for an invitation."
                )
            number = (await db.execute(select(func.count()).select_from(users))).scalar_one()
            values = new_row(secrets.token_hex(8), _name(claims), number)
            await db.execute(insert(users).values(**values))
            await db.execute(insert(identities).values(**_row(claims, str(values["id"]))))
            return user_of(values)

    async def link(self, user: str, claims: Claims, label: str) -> None:
        """Let this identity sign somebody in from now on; once more changes nothing.

        Raises:
            Conflict: it is another account's, or they have too many.
        """
        async with self._database.begin() as db:
            counted = await db.execute(
                select(func.count()).select_from(identities).where(identities.c.user == user)
            )
            if counted.scalar_one() >= OF_ACCOUNT:
                raise Conflict(f"You have {OF_ACCOUNT} linked accounts, the limit. Unlink one.")
            found = await db.execute(
                select(identities.c.user).where(
                    identities.c.issuer == claims.issuer, identities.c.subject == claims.subject
                )
            )
            owner = found.scalar()
            if owner == user:
                return
            if owner is not None:
                raise Conflict(
                    f"This account at {label} belongs to somebody else here. If that is you, sign "
                    "in with it and unlink it there first."
                )
            await db.execute(insert(identities).values(**_row(claims, user)))

    async def list(self, user: str) -> list[Identity]:
        async with self._database.begin() as db:
            found = await db.execute(
                select(identities)
                .where(identities.c.user == user)
                .order_by(identities.c.created_at, identities.c.id)
            )
            return [
                Identity(row.id, row.issuer, row.name, row.created_at, row.used_at) for row in found
            ]

    async def unlink(self, user: str, id: str, issuers: Collection[str]) -> Identity:
        """Take an identity away; returns it. `issuers`: those that can sign anybody in now.

        Raises:
            NotFound: they have no such one. Conflict: nothing would be left to sign in with.
        """
        async with self._database.begin() as db:
            found = await db.execute(select(identities).where(identities.c.user == user))
            rows = {row.id: row for row in found}
            if id not in rows:
                raise NotFound("There is no such linked account.")
            password = await db.execute(select(users.c.password).where(users.c.id == user))
            others = [row for row in rows.values() if row.id != id and row.issuer in issuers]
            if password.scalar() is None and not others:
                raise Conflict(
                    "This is your last way to sign in. Set a password, or link another account, "
                    "before you unlink this one."
                )
            await db.execute(delete(identities).where(identities.c.id == id))
            row = rows[id]
            return Identity(row.id, row.issuer, row.name, row.created_at, row.used_at)


def _row(claims: Claims, user: str) -> dict[str, object]:
    now = time.time()
    return {
        "id": secrets.token_hex(8),
        "user": user,
        "issuer": claims.issuer,
        "subject": claims.subject,
        "name": _shown(claims),
        "created_at": now,
        "used_at": now,
    }


def _shown(claims: Claims) -> str:
    return (claims.email or claims.name)[:MAX_EMAIL]


def _name(claims: Claims) -> str:
    """A name that may be one here; whoever has none chooses another later."""
    try:
        return clean_name(claims.name[:MAX_NAME])
    except InvalidInput:
        return "New here"
