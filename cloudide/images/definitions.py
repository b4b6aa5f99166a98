"""Definitions of images: what a team, or the site, wants built, and which version is in use.

A definition says where an image comes from (`Kind`, `Source`); its versions (`releases.py`) are
what came of it at some time. Names are unique within a team, so that `team/name` means one.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, TooMany
from cloudide.identity.sealing import Sealing
from cloudide.identity.users import clean_name
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import (
    image_builds,
    image_definitions,
    image_secrets,
    pool_slots,
    teams,
    workspace_versions,
    workspaces,
)
from cloudide.workspaces.initialize import check_git_ref, check_git_url

DEFINITIONS_LIMIT = 100  # of one team, and of the site
ARGUMENTS_LIMIT = 64
VALUE_LIMIT = 4096  # characters of a build argument
SECRET_LIMIT = 32 * 1024  # bytes
SECRETS_LIMIT = 50
DESCRIPTION_LIMIT = 500  # characters
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# https://github.com/distribution/reference: a name, then a tag or a digest.
REFERENCE = re.compile(
    r"[a-z0-9](?:[a-z0-9._:/-]*[a-z0-9])?(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


class Kind(StrEnum):
    DOCKERFILE = "dockerfile"
    DEVCONTAINER = "devcontainer"
    REFERENCE = "reference"


class Updates(StrEnum):
    """When workspaces take a newer version: at their next start, or when somebody asks for it."""

    RESTART = "restart"
    ASK = "ask"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where an image comes from. `git` "": an uploaded context; `folder`: only that of it.
    `configuration`: which `devcontainer.json`, where there are several."""

    git: str = ""
    ref: str = ""
    folder: str = ""
    dockerfile: str = "Dockerfile"
    target: str = ""
    reference: str = ""
    configuration: str = ""
    arguments: dict[str, str] = {}


class Definition(msgspec.Struct, frozen=True):
    """`team`, `team_name`: "" for the site's. Numbers of versions are None where there is none."""

    id: str
    team: str
    team_name: str
    name: str
    title: str
    description: str
    kind: Kind
    source: Source
    context: str
    updates: Updates
    active: int | None
    previous: int | None
    canary: int | None
    canary_percent: int
    created_at: float
    created_by: str
    revision: int

    @property
    def reference(self) -> str:
        """What people write."""
        return f"{self.team_name or 'site'}/{self.name}"

    @property
    def repository(self) -> str:
        """Where its versions are tagged on the engine."""
        return f"cloudide-image/{self.id.removeprefix('img_')}"


class Definitions:
    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def create(
        self,
        *,
        team: str,
        name: str,
        title: str,
        description: str,
        kind: Kind,
        source: Source,
        updates: Updates,
        by: str,
    ) -> Definition:
        """Raises: InvalidInput. Conflict: the name is taken. TooMany."""
        if not NAME.fullmatch(name):
            raise InvalidInput(
                "The name of an image has 1 to 40 small letters, digits, dots and dashes.",
                pointer="/name",
            )
        id = "img_" + secrets.token_hex(8)
        values = {
            "id": id,
            "team": team or None,
            "name": name,
            "title": clean_name(title or name, "The title of an image"),
            "description": _description(description),
            "kind": kind,
            "source": _encoded(checked(kind, source)),
            "context": "",
            "updates": updates,
            "canary_percent": 0,
            "created_at": time.time(),
            "created_by": by,
            "revision": 1,
        }
        async with self._database.begin() as db:
            whose = image_definitions.c.team == (team or None)
            same = await db.execute(
                select(image_definitions.c.id).where(whose, image_definitions.c.name == name)
            )
            if same.first() is not None:
                raise Conflict(f"There is an image {name!r} already; choose another name.")
            await db.execute(insert(image_definitions).values(**values))
            count = await db.execute(
                select(func.count()).select_from(image_definitions).where(whose)
            )
            if count.scalar_one() > DEFINITIONS_LIMIT:
                raise TooMany(f"There may be {DEFINITIONS_LIMIT} images; delete one first.")
            about = {"id": id, "name": name, "team": team}
            await emit(db, "image.created", f"images/{id}", about, team=team)
            return await find(db, id)

    async def get(self, id: str) -> Definition:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            return await find(db, id)

    async def all(self) -> list[Definition]:
        query = _select().order_by(teams.c.name, image_definitions.c.name, image_definitions.c.id)
        async with self._database.begin() as db:
            return [_definition(row._mapping) for row in await db.execute(query)]

    async def change(
        self,
        id: str,
        *,
        title: str | None = None,
        description: str | None = None,
        source: Source | None = None,
        context: str | None = None,
        updates: Updates | None = None,
        revision: int | None = None,
    ) -> Definition:
        """Change what is given; versions that are there stay what they are.

        Raises:
            NotFound, InvalidInput. PreconditionFailed: it is not that revision any more.
        """
        async with self._database.begin() as db:
            definition = await find(db, id)
            values: dict[str, Any] = {}
            if title is not None:
                values["title"] = clean_name(title, "The title of an image")
            if description is not None:
                values["description"] = _description(description)
            if source is not None:
                values["source"] = _encoded(checked(definition.kind, source))
            if context is not None:
                if definition.kind is Kind.REFERENCE or definition.source.git:
                    raise InvalidInput("This image has no build context that is uploaded.")
                values["context"] = context
            if updates is not None:
                values["updates"] = updates
            here = [image_definitions.c.id == id]
            if revision is not None:
                here.append(image_definitions.c.revision == revision)
            changed = await db.execute(
                update(image_definitions)
                .where(*here)
                .values(**values, revision=image_definitions.c.revision + 1)
            )
            if not changed.rowcount:
                raise PreconditionFailed("The image has changed since you read it; reload it.")
            return await find(db, id)

    async def delete(self, id: str) -> Definition:
        """Forget it with its versions and builds.

        Raises:
            NotFound. Conflict: workspaces are made of it, or a build is under way.
        """
        async with self._database.begin() as db:
            definition = await find(db, id)
            await db.execute(
                delete(workspace_versions).where(workspace_versions.c.image == id, gone())
            )
            used = await db.execute(
                select(func.count())
                .select_from(workspace_versions)
                .where(workspace_versions.c.image == id)
            )
            if count := used.scalar_one():
                raise Conflict(
                    f"{count} workspace{'s are' if count > 1 else ' is'} made of this image. "
                    "Delete them first."
                )
            building = await db.execute(
                select(image_builds.c.id).where(
                    image_builds.c.image == id, image_builds.c.state.in_(("queued", "running"))
                )
            )
            if building.first() is not None:
                raise Conflict("A build of this image is under way. Cancel it first.")
            about = {"id": id, "name": definition.name, "team": definition.team}
            await emit(db, "image.deleted", f"images/{id}", about, team=definition.team)
            await db.execute(delete(image_definitions).where(image_definitions.c.id == id))
            return definition

    # ── build secrets ───────────────────────────────────────────────────────────────────────────

    async def set_secret(self, id: str, name: str, value: str, by: str) -> None:
        """Raises: NotFound, InvalidInput, TooMany."""
        if not ARGUMENT.fullmatch(name):
            raise InvalidInput("The name of a build secret looks like NPM_TOKEN.")
        if not value or len(value.encode()) > SECRET_LIMIT:
            raise InvalidInput(f"A build secret has 1 to {SECRET_LIMIT:,} bytes.")
        sealed = self._sealing.seal(value.encode(), f"image secret {id} {name}")
        async with self._database.begin() as db:
            await find(db, id)
            here = (image_secrets.c.image == id, image_secrets.c.name == name)
            await db.execute(delete(image_secrets).where(*here))
            await db.execute(
                insert(image_secrets).values(
                    id="ims_" + secrets.token_hex(8),
                    image=id,
                    name=name,
                    value=sealed,
                    created_at=time.time(),
                    created_by=by,
                )
            )
            count = await db.execute(
                select(func.count()).select_from(image_secrets).where(image_secrets.c.image == id)
            )
            if count.scalar_one() > SECRETS_LIMIT:
                raise TooMany(f"An image has at most {SECRETS_LIMIT} build secrets.")

    async def delete_secret(self, id: str, name: str) -> None:
        """Raises: NotFound."""
        here = (image_secrets.c.image == id, image_secrets.c.name == name)
        async with self._database.begin() as db:
            gone = await db.execute(delete(image_secrets).where(*here))
        if not gone.rowcount:
            raise NotFound("There is no such build secret.")

    async def secret_names(self, id: str) -> list[str]:
        query = select(image_secrets.c.name).where(image_secrets.c.image == id)
        async with self._database.begin() as db:
            return sorted((await db.execute(query)).scalars())

    async def secret_values(self, id: str) -> dict[str, bytes]:
        """For a build, and for nothing else."""
        async with self._database.begin() as db:
            rows = await db.execute(select(image_secrets).where(image_secrets.c.image == id))
            return {
                row.name: self._sealing.open(row.value, f"image secret {id} {row.name}")
                for row in rows
            }


def checked(kind: Kind, source: Source) -> Source:
    """The source, if an image of that kind can come from it.

    Raises:
        InvalidInput: it cannot; the message says why.
    """
    if kind is Kind.REFERENCE:
        if not REFERENCE.fullmatch(source.reference) or len(source.reference) > 255:
            raise InvalidInput(
                "reference is the name of an image, such as registry.example.org/tools:1.4.",
                pointer="/source/reference",
            )
        return Source(reference=source.reference)
    if source.reference:
        raise InvalidInput("Only an image of kind reference has one.", pointer="/source/reference")
    if source.git:
        check_git_url(source.git)
        check_git_ref(source.ref)
    if kind is Kind.DEVCONTAINER and (source.target or source.dockerfile != "Dockerfile"):
        raise InvalidInput("devcontainer.json itself says what is built.", pointer="/source")
    if kind is not Kind.DEVCONTAINER and source.configuration:
        raise InvalidInput(
            "Only an image of kind devcontainer has one.", pointer="/source/configuration"
        )
    for name in ("folder", "dockerfile", "configuration"):
        path: str = getattr(source, name)
        climbs = path.startswith("/") or ".." in path.split("/") or "\\" in path
        if climbs or len(path) > 255 or not path.isprintable():
            raise InvalidInput(
                f"{name} is a path within the build context.", pointer=f"/source/{name}"
            )
    if source.target and not re.fullmatch(r"[\w.-]{1,64}", source.target):
        raise InvalidInput("target is the name of a stage.", pointer="/source/target")
    if len(source.arguments) > ARGUMENTS_LIMIT:
        raise InvalidInput(f"There may be {ARGUMENTS_LIMIT} build arguments.")
    for name, value in source.arguments.items():
        if not ARGUMENT.fullmatch(name) or len(value) > VALUE_LIMIT or "\0" in value:
            raise InvalidInput(
                f"The build argument {name[:64]!r} cannot be used.", pointer="/source/arguments"
            )
    return source


def gone() -> ColumnElement[bool]:
    """Of `workspace_versions`: it is no workspace, and nothing that is kept ready to be one."""
    known = select(workspaces.c.id).union(select(pool_slots.c.id))
    return workspace_versions.c.workspace.not_in(known)


async def find(db: AsyncConnection, id: str) -> Definition:
    """Raises: NotFound."""
    row = (await db.execute(_select().where(image_definitions.c.id == id))).first()
    if row is None:
        raise NotFound("There is no such image.")
    return _definition(row._mapping)


def _select() -> Select[Any]:
    return select(image_definitions, teams.c.name.label("team_name")).outerjoin(
        teams, teams.c.id == image_definitions.c.team
    )


def _definition(row: Mapping[Any, Any]) -> Definition:
    values = {name: row[name] for name in Definition.__struct_fields__}
    values["team"] = row["team"] or ""
    values["team_name"] = row["team_name"] or ""
    values["kind"] = Kind(row["kind"])
    values["updates"] = Updates(row["updates"])
    values["source"] = msgspec.json.decode(row["source"], type=Source)
    return Definition(**values)


def _encoded(source: Source) -> str:
    return msgspec.json.encode(source).decode()


def _description(text: str) -> str:
    text = text.strip()
    if len(text) > DESCRIPTION_LIMIT:
        raise InvalidInput(f"A description has up to {DESCRIPTION_LIMIT} characters.")
    return text
