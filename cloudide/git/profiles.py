"""How people sign their commits, and where their dotfiles are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import delete, insert, select

from cloudide.errors import InvalidInput
from cloudide.git.remotes import MAX_URL, parse
from cloudide.identity.permissions import Person
from cloudide.identity.users import User, clean_email
from cloudide.storage.database import Database
from cloudide.storage.tables import git_profiles


class Profile(msgspec.Struct, frozen=True):
    """`email` "": commits carry an address that reaches nobody. `dotfiles` "": none."""

    email: str = ""
    dotfiles: str = ""


class Signature(msgspec.Struct, frozen=True):
    """Who makes a commit; `chosen`: the address is one that the person has set for commits."""

    name: str
    email: str
    chosen: bool

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Profiles:
    """`host` is the server's name, for addresses that reach nobody; `person_of` finds accounts."""

    def __init__(
        self, database: Database, host: str, person_of: Callable[[str], Awaitable[User | None]]
    ) -> None:
        self._database = database
        self._host = host
        self._person_of = person_of

    async def get(self, user: str) -> Profile:
        async with self._database.begin() as db:
            found = await db.execute(select(git_profiles).where(git_profiles.c.user == user))
            row = found.first()
            return Profile(row.email, row.dotfiles) if row else Profile()

    async def set(self, user: str, email: str, dotfiles: str) -> Profile:
        """Raises: InvalidInput: not an email address, or not one of a repository."""
        profile = Profile(clean_email(email) if email.strip() else "", dotfiles.strip())
        if "<" in profile.email or ">" in profile.email:
            raise InvalidInput("This is not an email address.")
        if profile.dotfiles:
            if len(profile.dotfiles) > MAX_URL:
                raise InvalidInput("This is not the address of a repository.")
            parse(profile.dotfiles)
        async with self._database.begin() as db:
            await db.execute(delete(git_profiles).where(git_profiles.c.user == user))
            await db.execute(
                insert(git_profiles).values(
                    user=user, email=profile.email, dotfiles=profile.dotfiles
                )
            )
        return profile

    async def signature(self, person: Person) -> Signature:
        profile = await self.get(person.id)
        name = "".join(char for char in person.name if char not in "<>\n").strip() or "Somebody"
        if profile.email:
            return Signature(name, profile.email, chosen=True)
        return Signature(name, self._noreply(person), chosen=False)

    async def signatures(self, ids: set[str]) -> list[Signature]:
        """Of those who still have an account, by name."""
        found = [await self._person_of(id) for id in ids]
        signed = [await self.signature(user.person) for user in found if user is not None]
        return sorted(signed, key=lambda each: (each.name, each.email))

    def _noreply(self, person: Person) -> str:
        plain = unicodedata.normalize("NFKD", person.name).encode("ascii", "ignore").decode()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-") or "user"
        return f"{person.id}+{slug}@users.noreply.{self._host}"
