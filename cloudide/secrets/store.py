"""Secrets in the database: versions that are sealed, and who may read them. Values only go in."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, TooMany
from cloudide.identity.sealing import Sealing
from cloudide.secrets.names import check_name
from cloudide.secrets.policy import Reader, checked
from cloudide.storage.database import Database
from cloudide.storage.outbox import SELF, SHARE, emit
from cloudide.storage.tables import secret_uses, secret_versions, secrets

SECRETS_LIMIT = 200  # of one person, team or workspace
VERSIONS_LIMIT = 100  # of one secret that still have their value
VALUE_LIMIT = 32 * 1024  # bytes
DESCRIPTION_LIMIT = 200  # characters


class Owner(msgspec.Struct, frozen=True):
    """Whose a secret is: exactly one of them is named."""

    user: str = ""
    team: str = ""
    workspace: str = ""

    @property
    def label(self) -> str:
        kind = "user" if self.user else "team" if self.team else "workspace"
        return f"{kind} {self.user or self.team or self.workspace}"


class Version(msgspec.Struct, frozen=True):
    """`deleted`: its value is gone; its number is not used again."""

    version: int
    created_at: float
    created_by: str
    deleted: bool


class Secret(msgspec.Struct, frozen=True):
    """`last_used_at` in seconds since the epoch; None: no process has had it."""

    id: str
    owner: Owner
    name: str
    description: str
    readers: list[Reader]
    latest: int
    versions: list[Version]
    created_at: float
    created_by: str
    revision: int
    last_used_at: float | None


class Use(msgspec.Struct, frozen=True):
    """The last time that a process of a workspace had a secret, and how often it did."""

    workspace: str
    process: str
    version: int
    user: str
    at: float
    count: int


class Secrets:
    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def create(
        self,
        owner: Owner,
        name: str,
        value: str,
        *,
        description: str = "",
        readers: Sequence[Reader] = (),
        by: str,
    ) -> Secret:
        """Raises: InvalidInput. Conflict: there is one of that name. TooMany."""
        id, now = "sec_" + random.token_hex(8), time.time()
        values: dict[str, Any] = {
            "id": id,
            "user": owner.user or None,
            "team": owner.team or None,
            "workspace": owner.workspace or None,
            "name": check_name(name),
            "description": _checked_description(description),
            "readers": _packed(checked(readers, owner.workspace)),
            "latest": 1,
            "created_at": now,
            "created_by": by,
            "revision": 1,
        }
        sealed = self._seal(id, owner, name, 1, value)
        async with self._database.begin() as db:
            # A write first: two that come at once see each other.
            await db.execute(insert(secrets).values(**values))
            found = await db.execute(select(secrets.c.name).where(*_of(owner)))
            names = list(found.scalars())
            if names.count(name) > 1:
                raise Conflict(f"There is a secret {name} here; add a version to it.")
            if len(names) > SECRETS_LIMIT:
                raise TooMany(f"There are {SECRETS_LIMIT} secrets here, the limit.")
            await _add(db, id, 1, sealed, now, by)
            await _tell(db, "secret.created", id, owner, name, version=1)
        return await self.get(id)

    async def add_version(
        self, id: str, value: str, by: str, revision: int | None = None
    ) -> Secret:
        """Give it a new value, which is its latest. Raises: InvalidInput, NotFound, TooMany,
        PreconditionFailed."""
        secret = await self.get(id)
        version = secret.latest + 1
        sealed = self._seal(id, secret.owner, secret.name, version, value)
        async with self._database.begin() as db:
            changed = await db.execute(
                update(secrets)
                .where(secrets.c.id == id, secrets.c.latest == secret.latest)
                .where(*([] if revision is None else [secrets.c.revision == revision]))
                .values(latest=version, revision=secrets.c.revision + 1)
            )
            if not changed.rowcount:
                raise PreconditionFailed(_CHANGED)
            counted = await db.execute(
                select(func.count())
                .select_from(secret_versions)
                .where(secret_versions.c.secret == id, secret_versions.c.value.is_not(None))
            )
            if counted.scalar_one() >= VERSIONS_LIMIT:
                raise TooMany(f"It has {VERSIONS_LIMIT} versions, the limit. Delete old ones.")
            await _add(db, id, version, sealed, time.time(), by)
            owner, name = secret.owner, secret.name
            await _tell(db, "secret.version_added", id, owner, name, version=version)
        return await self.get(id)

    async def delete_version(self, id: str, version: int) -> Secret:
        """Forget the value of a version. Raises: NotFound. Conflict: it is the latest."""
        secret = await self.get(id)
        if version == secret.latest:
            raise Conflict("The latest version stays: add another one first, or delete the secret.")
        async with self._database.begin() as db:
            gone = await db.execute(
                update(secret_versions)
                .where(secret_versions.c.secret == id, secret_versions.c.version == version)
                .where(secret_versions.c.value.is_not(None))
                .values(value=None)
            )
            if not gone.rowcount:
                raise NotFound("There is no such version.")
            owner, name = secret.owner, secret.name
            await _tell(db, "secret.changed", id, owner, name, deleted_version=version)
        return await self.get(id)

    async def change(
        self,
        id: str,
        *,
        description: str | None = None,
        readers: Sequence[Reader] | None = None,
        revision: int | None = None,
    ) -> Secret:
        """Change what is given. Raises: InvalidInput, NotFound, PreconditionFailed."""
        secret = await self.get(id)
        values: dict[str, Any] = {"revision": secrets.c.revision + 1}
        if description is not None:
            values["description"] = _checked_description(description)
        if readers is not None:
            values["readers"] = _packed(checked(readers, secret.owner.workspace))
        async with self._database.begin() as db:
            query = update(secrets).where(secrets.c.id == id)
            if revision is not None:
                query = query.where(secrets.c.revision == revision)
            if not (await db.execute(query.values(**values))).rowcount:
                raise PreconditionFailed(_CHANGED)
            await _tell(db, "secret.changed", id, secret.owner, secret.name)
        return await self.get(id)

    async def delete(self, id: str, revision: int | None = None) -> None:
        """Raises: NotFound, PreconditionFailed."""
        secret = await self.get(id)
        query = delete(secrets).where(secrets.c.id == id)
        if revision is not None:
            query = query.where(secrets.c.revision == revision)
        async with self._database.begin() as db:
            if not (await db.execute(query)).rowcount:
                raise PreconditionFailed(_CHANGED)
            await _tell(db, "secret.deleted", id, secret.owner, secret.name)

    async def list(self, owner: Owner) -> list[Secret]:
        """Somebody's, by name."""
        return await self._all(_select().where(*_of(owner)).order_by(secrets.c.name))

    async def get(self, id: str) -> Secret:
        """Raises: NotFound."""
        found = await self._all(_select().where(secrets.c.id == id))
        if not found:
            raise NotFound("There is no such secret.")
        return found[0]

    async def uses(self, id: str) -> list[Use]:
        """Where it went, the last first."""
        query = (
            select(secret_uses)
            .where(secret_uses.c.secret == id)
            .order_by(secret_uses.c.at.desc(), secret_uses.c.process)
        )
        async with self._database.begin() as db:
            found = [row._mapping for row in await db.execute(query)]
        return [Use(**{name: row[name] for name in Use.__struct_fields__}) for row in found]

    # ── for delivery alone ──────────────────────────────────────────────────────────────────────

    async def named(self, names: Sequence[str], owners: Sequence[Owner]) -> list[Secret]:
        """The secrets with these names, of the owners in their order."""
        found: list[Secret] = []
        for owner in owners:
            found += await self._all(_select().where(*_of(owner), secrets.c.name.in_(names)))
        return found

    async def open(self, secret: Secret, version: int) -> str:
        """The value of a version. Raises: NotFound: it has no such one any more."""
        query = select(secret_versions.c.value).where(
            secret_versions.c.secret == secret.id, secret_versions.c.version == version
        )
        async with self._database.begin() as db:
            sealed = (await db.execute(query)).scalar()
        if sealed is None:
            raise NotFound(f"The secret {secret.name} has no version {version}.")
        about = about_value(secret.id, secret.owner, secret.name, version)
        return self._sealing.open(sealed, about).decode()

    async def note_use(
        self, secret: Secret, version: int, workspace: str, process: str, user: str
    ) -> None:
        """Keep that a process had it."""
        key = {"secret": secret.id, "workspace": workspace, "process": process}
        where = [secret_uses.c[name] == value for name, value in key.items()]
        values: dict[str, Any] = {"version": version, "user": user, "at": time.time()}
        async with self._database.begin() as db:
            again = await db.execute(
                update(secret_uses).where(*where).values(**values, count=secret_uses.c.count + 1)
            )
            if not again.rowcount:
                await db.execute(insert(secret_uses).values(**key, **values, count=1))

    async def _all(self, query: Select[Any]) -> list[Secret]:
        async with self._database.begin() as db:
            rows = [row._mapping for row in await db.execute(query)]
            ids = [row["id"] for row in rows]
            kept = await db.execute(
                select(
                    secret_versions.c.secret,
                    secret_versions.c.version,
                    secret_versions.c.created_at,
                    secret_versions.c.created_by,
                    secret_versions.c.value.is_(None).label("deleted"),
                )
                .where(secret_versions.c.secret.in_(ids))
                .order_by(secret_versions.c.version.desc())
            )
            versions: dict[str, list[Version]] = {}
            for row in kept:
                version = Version(row.version, row.created_at, row.created_by, bool(row.deleted))
                versions.setdefault(row.secret, []).append(version)
        return [_secret(row, versions.get(row["id"], [])) for row in rows]

    def _seal(self, id: str, owner: Owner, name: str, version: int, value: str) -> bytes:
        try:
            plain = value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput("value holds half a character.", pointer="/value") from error
        if not plain or len(plain) > VALUE_LIMIT or b"\0" in plain:
            raise InvalidInput(
                f"value has 1 to {VALUE_LIMIT:,} bytes, without NUL characters.", pointer="/value"
            )
        return self._sealing.seal(plain, about_value(id, owner, name, version))


_CHANGED = "Somebody changed this meanwhile. Look at it again, then repeat your change."


def about_value(id: str, owner: Owner, name: str, version: int) -> str:
    """What a sealed value is bound to: in another's row, it does not open."""
    return f"secret {id} of {owner.label}: {name} {version}"


def owner_of(row: Mapping[Any, Any]) -> Owner:
    return Owner(row["user"] or "", row["team"] or "", row["workspace"] or "")


async def _add(
    db: AsyncConnection, id: str, version: int, sealed: bytes, now: float, by: str
) -> None:
    values = {"secret": id, "version": version, "value": sealed}
    await db.execute(insert(secret_versions).values(**values, created_at=now, created_by=by))


async def _tell(
    db: AsyncConnection, type: str, id: str, owner: Owner, name: str, **about: Any
) -> None:
    """Write the event, in the transaction of the change."""
    if owner.user:
        whose: dict[str, str] = {"user": owner.user, "needs": SELF}
    elif owner.team:
        whose = {"team": owner.team, "needs": SHARE}
    else:
        whose = {"workspace": owner.workspace, "needs": SHARE}
    data = {"id": id, "name": name, "owner": owner.label, **about}
    await emit(db, type, f"secrets/{id}", data, **whose)


def _of(owner: Owner) -> list[Any]:
    if owner.user:
        return [secrets.c.user == owner.user]
    if owner.team:
        return [secrets.c.team == owner.team]
    return [secrets.c.workspace == owner.workspace]


def _select() -> Select[Any]:
    last = (
        select(func.max(secret_uses.c.at))
        .where(secret_uses.c.secret == secrets.c.id)
        .scalar_subquery()
    )
    return select(secrets, last.label("last_used_at"))


def _packed(readers: Sequence[Reader]) -> str:
    return msgspec.json.encode(readers).decode()


def _checked_description(text: str) -> str:
    if len(text) > DESCRIPTION_LIMIT:
        raise InvalidInput(
            f"description has up to {DESCRIPTION_LIMIT} characters.", pointer="/description"
        )
    return text


def _secret(row: Mapping[Any, Any], versions: list[Version]) -> Secret:
    return Secret(
        id=row["id"],
        owner=owner_of(row),
        name=row["name"],
        description=row["description"],
        readers=msgspec.json.decode(row["readers"], type=list[Reader]),
        latest=row["latest"],
        versions=versions,
        created_at=row["created_at"],
        created_by=row["created_by"],
        revision=row["revision"],
        last_used_at=row["last_used_at"],
    )
