"""Accounts and sessions: who somebody is.

The first account is made with a one-time sign-in token that `cloudide serve` prints; the same kind
of token signs its owner in again later, and so does an email address with a password once they are
set. A session is a random secret in a cookie.
"""

from __future__ import annotations

import hmac
import secrets
import time
import unicodedata
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, Denied, NotFound, NotSignedIn
from cloudide.identity.attempts import Attempts
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.passwords import Passwords, checked, is_outdated
from cloudide.identity.permissions import Limit, Scope, actions_of
from cloudide.identity.sessions import Sessions
from cloudide.identity.tokens import ApiTokens
from cloudide.identity.users import (
    MAX_EMAIL,
    Account,
    Profile,
    User,
    clean_email,
    clean_name,
    new_row,
    user_of,
)
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import sessions, sign_in_tokens, users

SIGN_IN_TOKEN_SECONDS = 24 * 3600
AUTOMATION = "automation"  # the user id behind the preset administrator token


class NameNeeded(Exception):
    """The first account is about to be made; its owner has to say a name first."""


class Accounts:
    def __init__(self, database: Database, admin_token: str, session_days: int) -> None:
        self._database = database
        self._passwords = Passwords()
        self._attempts = Attempts()
        self.sessions = Sessions(database, session_days)
        self.tokens = ApiTokens(database)
        self._admin_token = digest(admin_token) if admin_token else ""

    async def start(self) -> None:
        """Make the account of the preset administrator token, where there is one."""
        if self._admin_token:
            async with self._database.begin() as db:
                found = await db.execute(select(users.c.id).where(users.c.id == AUTOMATION))
                if found.first() is None:
                    await db.execute(
                        insert(users).values(**new_row(AUTOMATION, "Automation", 0, admin=True))
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

    async def sign_in(self, token: str, name: str | None, agent: str = "") -> tuple[User, str]:
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
                .where(users.c.admin, users.c.active, users.c.id != AUTOMATION)
                .order_by(users.c.created_at)
            )
            row = owner.first()
            if row is None:
                if name is None:
                    raise NameNeeded
                number = await _count(db)
                values = new_row(secrets.token_hex(8), clean_name(name), number, admin=True)
                await db.execute(insert(users).values(**values))
                user = user_of(values)
                await _tell(db, "account.created", user.id, name=user.name, admin=True)
            else:
                user = user_of(row._mapping)
        return user, await self.sessions.create(user.id, agent)

    async def sign_in_with_password(
        self, email: str, password: str, address: str, agent: str = ""
    ) -> tuple[User, str]:
        """Returns the account and a new session's secret. `address`: whom failures count for.

        Raises:
            NotSignedIn: no such account, or another password; which of them is not told.
            TooMany: there were too many failures.
        """
        account = unicodedata.normalize("NFC", email).strip().casefold()[:MAX_EMAIL]
        self._attempts.check(account, address)
        async with self._database.begin() as db:
            found = await db.execute(select(users).where(users.c.email == account, users.c.active))
            row = found.first()
        kept: str | None = row.password if row is not None else None
        good = await self._passwords.matches(kept, password)
        if row is None or kept is None or not good:
            self._attempts.failed(account, address)
            raise NotSignedIn("This is not the email address and password of an account here.")
        self._attempts.succeeded(account, address)
        if is_outdated(kept):
            await self._keep_password(row.id, await self._passwords.hash(password))
        return user_of(row._mapping), await self.sessions.create(row.id, agent)

    async def create(self, name: str, *, guest: bool) -> User:
        """A new account of somebody who was invited: to a workspace as a `guest`, or to stay.

        Raises:
            InvalidInput: it is no name.
        """
        name = clean_name(name)
        async with self._database.begin() as db:
            values = new_row(secrets.token_hex(8), name, await _count(db), guest=guest)
            await db.execute(insert(users).values(**values))
            user = user_of(values)
            await _tell(db, "account.created", user.id, name=name, admin=False)
        return user

    async def welcome(self, user: str) -> None:
        """A guest is one no longer."""
        async with self._database.begin() as db:
            await db.execute(update(users).where(users.c.id == user).values(guest=False))

    async def by_session(self, secret: str) -> User | None:
        """Whose session this is, or None when it never was or has ended."""
        return await self.sessions.owner(secret)

    async def by_token(self, token: str) -> User | None:
        """Whose API token this is, with what it narrows their rights to."""
        if self._admin_token and hmac.compare_digest(digest(token), self._admin_token):
            return await self.get(AUTOMATION)
        found = await self.tokens.use(token)
        user = await self.get(found.user) if found else None
        if found is None or user is None:
            return None
        actions = actions_of(found.scopes)
        limit = Limit(actions, found.workspace, found.id, found.expires_at)
        # An administrator's powers over the whole site need a token that is for them.
        admin = user.admin and Scope.ADMIN in found.scopes and not found.workspace
        return msgspec.structs.replace(user, admin=admin, limit=limit)

    async def get(self, user: str) -> User | None:
        """An account that is active, by its id."""
        async with self._database.begin() as db:
            found = await db.execute(select(users).where(users.c.id == user, users.c.active))
            row = found.first()
            return user_of(row._mapping) if row else None

    # ── what somebody sets of their own ─────────────────────────────────────────────────────────

    async def profile(self, user: str) -> Profile:
        async with self._database.begin() as db:
            row = (await db.execute(select(users).where(users.c.id == user))).one()
            return Profile(row.name, row.email or "", row.password is not None)

    async def rename(self, user: str, name: str) -> None:
        """Raises: InvalidInput: it is no name."""
        async with self._database.begin() as db:
            values = {"name": clean_name(name)}
            await db.execute(update(users).where(users.c.id == user).values(**values))
            await _tell(db, "account.changed", user, **values)

    async def set_password(self, user: str, email: str, password: str, current: str) -> None:
        """Set the address and password somebody signs in with; `current`: the one they have.

        Raises:
            InvalidInput: no address, or no good password. Denied: `current` is not theirs.
            Conflict: the address is another account's. TooMany: too many guesses of `current`.
        """
        email = clean_email(email)
        async with self._database.begin() as db:
            row = (await db.execute(select(users).where(users.c.id == user))).one()
        password = checked(password, row.name, email)
        if row.password is not None:
            self._attempts.check(row.email, f"account {user}")
            if not await self._passwords.matches(row.password, current):
                self._attempts.failed(row.email, f"account {user}")
                raise Denied("The present password is not this one.")
        await self._keep_password(user, await self._passwords.hash(password), email)

    async def _keep_password(self, user: str, kept: str, email: str | None = None) -> None:
        values = {"password": kept} if email is None else {"password": kept, "email": email}
        try:
            async with self._database.begin() as db:
                await db.execute(update(users).where(users.c.id == user).values(**values))
                if email is not None:
                    await _tell(db, "account.password_changed", user)
        except IntegrityError as error:
            raise Conflict("Another account here has this email address.") from error

    # ── who is here at all ──────────────────────────────────────────────────────────────────────

    async def all(self) -> list[Account]:
        """Everybody but the automation, the oldest account first."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(users).where(users.c.id != AUTOMATION).order_by(users.c.created_at)
            )
            return [
                Account(
                    row.id, row.name, row.color, row.admin, row.email or "", row.active, row.guest
                )
                for row in found
            ]

    async def change(
        self, user: str, *, admin: bool | None, active: bool | None, guest: bool | None = None
    ) -> Account:
        """Make somebody an administrator or a guest, or not, or deactivate them, which ends their
        sessions.

        Raises:
            NotFound: there is no such account. Conflict: the site would have no administrator.
        """
        values = {"admin": admin, "active": active, "guest": False if admin else guest}
        values = {name: value for name, value in values.items() if value is not None}
        async with self._database.begin() as db:
            if values:
                changed = await db.execute(
                    update(users)
                    .where(users.c.id == user, users.c.id != AUTOMATION)
                    .values(**values)
                )
                if changed.rowcount:
                    await _tell(db, "account.changed", user, **values)
            left = await db.execute(
                select(users.c.id).where(users.c.admin, users.c.active, users.c.id != AUTOMATION)
            )
            if left.first() is None:
                raise Conflict("Somebody has to stay this server's administrator.")
            if active is False:
                await db.execute(delete(sessions).where(sessions.c.user == user))
        for account in await self.all():
            if account.id == user:
                return account
        raise NotFound("There is no such account.")


async def _tell(db: AsyncConnection, type: str, user: str, **about: Any) -> None:
    """Write an event of an account, in the transaction of the change."""
    await emit(db, type, f"users/{user}", {"id": user, **about}, user=user)


async def _count(db: AsyncConnection) -> int:
    return (await db.execute(select(func.count()).select_from(users))).scalar_one()
