"""What people sign in to Git hosts with: kept sealed, told to nobody, sent to that host alone."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

from cloudide.errors import Conflict, InvalidInput, NotFound, TooMany
from cloudide.git.remotes import Remote, clean_host, parse, within
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.tables import git_credentials

CREDENTIALS_LIMIT = 50  # of one person
MAX_USERNAME = 200  # characters
MAX_SECRET = 8000


class Credential(msgspec.Struct, frozen=True):
    """Without its secret. `path` "": any repository of the host; else those below it.

    Times are seconds since the epoch; `used_at` None: never.
    """

    id: str
    user: str
    host: str
    path: str
    username: str
    created_at: float
    used_at: float | None


class Login(msgspec.Struct, frozen=True):
    """A credential about to be used. It is never logged: `repr` shows no secret."""

    credential: Credential
    secret: str

    def __repr__(self) -> str:
        return f"Login({self.credential.id})"


class Credentials:
    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def add(self, user: str, address: str, username: str, secret: str) -> Credential:
        """Keep what somebody signs in to a host with.

        `address`: a host, or the address of a group or a repository below which alone it is used.

        Raises:
            InvalidInput: one of them is none. Conflict: there is one for that place and name.
            TooMany: they have as many as one person may have.
        """
        host, path = _place(address)
        username = username.strip()
        if not username or len(username) > MAX_USERNAME or not username.isprintable():
            raise InvalidInput(
                "Name the user that you are on that host; with a token of GitHub or GitLab, your "
                "user name there."
            )
        if ":" in username:
            raise InvalidInput("A user name cannot hold a colon.")  # RFC 7617, section 2
        if not secret or len(secret) > MAX_SECRET or not secret.isprintable():
            raise InvalidInput("Give the token or password; it is one line.")
        credential = Credential(
            id=secrets.token_hex(8),
            user=user,
            host=host,
            path=path,
            username=username,
            created_at=time.time(),
            used_at=None,
        )
        row = msgspec.structs.asdict(credential)
        sealed = self._sealing.seal(secret.encode(), _about(credential))
        async with self._database.begin() as db:
            own = git_credentials.c.user == user
            counted = await db.execute(select(func.count()).select_from(git_credentials).where(own))
            if counted.scalar_one() >= CREDENTIALS_LIMIT:
                raise TooMany(f"You have {CREDENTIALS_LIMIT} Git credentials, the limit.")
            same = await db.execute(
                select(git_credentials.c.id).where(
                    own,
                    git_credentials.c.host == host,
                    git_credentials.c.path == path,
                    git_credentials.c.username == username,
                )
            )
            if same.first() is not None:
                raise Conflict(f"You have one for {username} on {host} already; delete that first.")
            await db.execute(insert(git_credentials).values(sealed=sealed, **row))
        return credential

    async def list(self, user: str) -> list[Credential]:
        """Somebody's credentials, by host."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(git_credentials)
                .where(git_credentials.c.user == user)
                .order_by(git_credentials.c.host, git_credentials.c.path)
            )
            return [_credential(row._mapping) for row in found]

    async def delete(self, user: str, id: str) -> Credential:
        """Raises: NotFound: they have no such credential."""
        async with self._database.begin() as db:
            where = (git_credentials.c.user == user, git_credentials.c.id == id)
            row = (await db.execute(select(git_credentials).where(*where))).first()
            if row is None:
                raise NotFound("You have no such Git credential.")
            await db.execute(delete(git_credentials).where(*where))
            return _credential(row._mapping)

    async def find(self, user: str, remote: Remote) -> Credential | None:
        """The one that somebody would reach a repository with: that for the narrowest place."""
        fitting = [
            each
            for each in await self.list(user)
            if each.host == remote.host
            and within(remote.path, each.path)
            and remote.user in ("", each.username)
        ]
        return max(fitting, key=lambda each: (len(each.path), each.created_at), default=None)

    async def use(self, credential: Credential) -> Login:
        """Open it, and note that it was used.

        Raises:
            NotFound: it was deleted meanwhile. Unsealable: the key is not here.
        """
        where = git_credentials.c.id == credential.id
        async with self._database.begin() as db:
            row = (await db.execute(select(git_credentials.c.sealed).where(where))).first()
            if row is None:
                raise NotFound("The Git credential was deleted meanwhile.")
            await db.execute(update(git_credentials).where(where).values(used_at=time.time()))
        return Login(credential, self._sealing.open(row.sealed, _about(credential)).decode())


def _about(credential: Credential) -> str:
    """All that decides where a secret is sent: a row that was changed does not open."""
    return "\0".join(
        (
            "git credential",
            credential.id,
            credential.user,
            credential.host,
            credential.path,
            credential.username,
        )
    )


def _place(address: str) -> tuple[str, str]:
    address = address.strip().rstrip("/")
    if "://" not in address:
        address = f"https://{address}"
    scheme, _, rest = address.partition("://")
    if "/" in rest:
        remote = parse(address)
        return remote.host, remote.path
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", rest, re.ASCII)
    if found is None or int(found[2] or 443) > 65535:
        raise InvalidInput("This is not the name of a host, such as github.com.")
    if scheme not in ("https", "http"):
        raise InvalidInput("Git credentials are for https:// addresses.")
    return clean_host(found[1].strip("[]"), int(found[2]) if found[2] else None, scheme), ""


def _credential(row: Mapping[Any, Any]) -> Credential:
    return Credential(**{name: row[name] for name in Credential.__struct_fields__})
