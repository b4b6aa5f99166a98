"""Versions of images in the database: what came of a definition, and which one is for whom.

`versions.after` is the one transition function; each change of a state goes through `_move`. Which
version a workspace is made of is kept beside it (`Binding`): it takes a newer one at a start of its
own, never while it runs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, InvalidInput, NotFound
from cloudide.images.definitions import Definition, Updates, find, gone
from cloudide.images.versions import USABLE, Event, VersionState, after
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import (
    image_builds,
    image_definitions,
    image_versions,
    workspace_versions,
    workspaces,
)


class Version(msgspec.Struct, frozen=True):
    """`made_from`: what the inputs were, for people. `security`: of `security.Verdict`, or None."""

    image: str
    number: int
    inputs: str
    made_from: dict[str, Any]
    state: VersionState
    engine_id: str
    size: int
    error: str
    security: dict[str, Any] | None
    created_at: float
    created_by: str
    built_at: float | None
    activated_at: float | None
    workspaces: int = 0  # how many are made of it


class Binding(msgspec.Struct, frozen=True):
    """Which version a workspace is made of."""

    workspace: str
    image: str
    version: int
    pinned: bool
    wanted: bool


class Releases:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, image: str) -> list[Version]:
        """The newest first."""
        async with self._database.begin() as db:
            return await _versions(db, image_versions.c.image == image)

    async def get(self, image: str, number: int) -> Version:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            return await _version(db, image, number)

    async def by_inputs(self, image: str, inputs: str) -> Version | None:
        same = (image_versions.c.image == image) & (image_versions.c.inputs == inputs)
        async with self._database.begin() as db:
            found = await _versions(db, same)
        return found[0] if found else None

    async def begin(
        self, image: str, inputs: str, made_from: Mapping[str, Any], by: str
    ) -> Version:
        """The version of these inputs, which is being built from now on.

        Raises:
            Conflict: it is being built already, or in use.
        """
        async with self._database.begin() as db:
            same = (image_versions.c.image == image) & (image_versions.c.inputs == inputs)
            found = await _versions(db, same)
            if found:
                number = found[0].number
            else:
                highest = await db.execute(
                    select(func.max(image_versions.c.number)).where(image_versions.c.image == image)
                )
                number = (highest.scalar() or 0) + 1
                await db.execute(
                    insert(image_versions).values(
                        image=image,
                        number=number,
                        inputs=inputs,
                        made_from=msgspec.json.encode(made_from).decode(),
                        state=VersionState.DRAFT,
                        engine_id="",
                        size=0,
                        error="",
                        created_at=time.time(),
                        created_by=by,
                    )
                )
                found = [await _version(db, image, number)]
            if found[0].state is VersionState.ACTIVE:
                return found[0]  # its image vanished from the engine, and is made again
            return await _move(db, image, number, Event.BUILD, error="")

    async def failed(self, image: str, number: int, error: str) -> None:
        """Its build failed; it is a draft again."""
        async with self._database.begin() as db:
            version = await _version(db, image, number)
            if version.state is VersionState.BUILDING:
                await _move(db, image, number, Event.FAIL, error=error)

    async def built(self, image: str, number: int, engine_id: str, size: int) -> None:
        async with self._database.begin() as db:
            values = {"engine_id": engine_id, "size": size, "built_at": time.time()}
            await _finish(db, image, number, Event.BUILT, **values)

    async def checked(self, image: str, number: int, security: Mapping[str, Any]) -> None:
        async with self._database.begin() as db:
            text = msgspec.json.encode(security).decode()
            await _finish(db, image, number, Event.CHECKED, security=text)

    async def look(self, image: str, number: int, security: Mapping[str, Any]) -> None:
        """What was found at another look."""
        async with self._database.begin() as db:
            await db.execute(
                update(image_versions)
                .where(image_versions.c.image == image, image_versions.c.number == number)
                .values(security=msgspec.json.encode(security).decode())
            )

    async def unfit(self, image: str, number: int, error: str) -> None:
        """Its check failed: it stays built, which is not enough to be used."""
        async with self._database.begin() as db:
            await db.execute(
                update(image_versions)
                .where(image_versions.c.image == image, image_versions.c.number == number)
                .values(error=error)
            )

    # ── which one is in use ─────────────────────────────────────────────────────────────────────

    async def promote(self, image: str, number: int) -> Definition:
        """Put a version in use: all new workspaces get it, the others are told.

        Raises:
            NotFound. Conflict: it is not checked, or collected.
        """
        async with self._database.begin() as db:
            definition = await find(db, image)
            version = await _version(db, image, number)
            _require_image(version)
            await _move(db, image, number, Event.PROMOTE, activated_at=time.time())
            values: dict[str, Any] = {"active": number}
            if definition.active not in (None, number):
                await _move(db, image, definition.active or 0, Event.REPLACED)
                values["previous"] = definition.active
            if definition.canary == number:
                values |= {"canary": None, "canary_percent": 0}
            return await _choose(db, definition, number, 100, values)

    async def try_out(self, image: str, number: int, percent: int) -> Definition:
        """Give a version to a share of the new workspaces; 0 percent ends that.

        Raises:
            NotFound. InvalidInput. Conflict: it is not checked, or there is none in use.
        """
        if not 0 <= percent < 100:
            raise InvalidInput("percent is a number from 0 to 99; 100 is a promotion.")
        async with self._database.begin() as db:
            definition = await find(db, image)
            version = await _version(db, image, number)
            if percent == 0:
                if definition.canary != number:
                    raise Conflict("This version is not tried out.")
                none = {"canary": None, "canary_percent": 0}
                return await _choose(db, definition, number, 0, none)
            _require_image(version)
            if version.state is not VersionState.CHECKED:
                after(version.state, Event.PROMOTE)
                raise Conflict("This version is in use for everybody already.")
            if definition.active is None:
                raise Conflict("No version is in use yet; promote one first.")
            values = {"canary": number, "canary_percent": percent}
            return await _choose(db, definition, number, percent, values)

    async def roll_back(self, image: str) -> Definition:
        """Put the version in use again that was before this one.

        Raises:
            NotFound. Conflict: there is none, or it is gone.
        """
        async with self._database.begin() as db:
            definition = await find(db, image)
        if definition.previous is None:
            raise Conflict("There is no version before this one to roll back to.")
        return await self.promote(image, definition.previous)

    async def retire(self, image: str, number: int) -> Version:
        """Nobody new gets it any more. Raises: NotFound. Conflict: it is in use or being built."""
        async with self._database.begin() as db:
            definition = await find(db, image)
            if definition.canary == number:
                raise Conflict("It is tried out by a share of workspaces; end that first.")
            moved = await _move(db, image, number, Event.RETIRE)
            if definition.previous == number:
                await db.execute(
                    update(image_definitions)
                    .where(image_definitions.c.id == image)
                    .values(previous=None)
                )
            return moved

    # ── workspaces ──────────────────────────────────────────────────────────────────────────────

    async def bindings(self) -> list[Binding]:
        async with self._database.begin() as db:
            rows = await db.execute(select(workspace_versions))
            return [Binding(**row._mapping) for row in rows]

    async def bind(self, workspace: str, image: str, pinned: int | None) -> tuple[Binding, Version]:
        """The version that the next container of a workspace is made of, which it keeps.

        Raises:
            NotFound: there is no such image or version. Conflict: none can be used.
        """
        async with self._database.begin() as db:
            definition = await find(db, image)
            query = select(workspace_versions).where(workspace_versions.c.workspace == workspace)
            row = (await db.execute(query)).first()
            # What is kept ready is nobody's yet, and gets what a new workspace gets.
            is_anybodys = await db.execute(
                select(workspaces.c.id).where(workspaces.c.id == workspace)
            )
            claimed = is_anybodys.first() is not None
            had = Binding(**row._mapping) if row else None
            number = choose(definition, workspace, had if claimed else None, pinned)
            if number is None:
                raise Conflict(_none_in_use(definition))
            version = await _version(db, image, number)
            kept = had is not None and had.version == number
            usable = version.state in USABLE or (kept and version.engine_id)
            if not usable:
                raise Conflict(
                    f"Version {number} of {definition.reference} cannot be used: it is "
                    f"{version.state}. Choose another one."
                )
            binding = Binding(workspace, image, number, pinned is not None, False)
            if binding != had:
                await db.execute(
                    delete(workspace_versions).where(workspace_versions.c.workspace == workspace)
                )
                await db.execute(insert(workspace_versions).values(msgspec.structs.asdict(binding)))
            return binding, version

    async def forget(self, workspace: str) -> None:
        """A workspace is gone."""
        here = workspace_versions.c.workspace == workspace
        async with self._database.begin() as db:
            await db.execute(delete(workspace_versions).where(here))

    async def forget_gone(self) -> None:
        """Those of what was kept ready and is no more; only while nothing is being made."""
        async with self._database.begin() as db:
            await db.execute(delete(workspace_versions).where(gone()))

    async def want(self, workspace: str) -> Binding:
        """Somebody asked for the newest version, for the workspace's next start.

        Raises:
            Conflict: it has the newest, or asked for one by its number.
        """
        here = workspace_versions.c.workspace == workspace
        async with self._database.begin() as db:
            row = (await db.execute(select(workspace_versions).where(here))).first()
            had = Binding(**row._mapping) if row else None
            if had is None or had.pinned:
                raise Conflict("This workspace has no image that is updated.")
            definition = await find(db, had.image)
            if update_of(definition, had) is None:
                raise Conflict("This workspace has the newest version of its image.")
            await db.execute(update(workspace_versions).where(here).values(wanted=True))
            return msgspec.structs.replace(had, wanted=True)

    # ── what is not needed any more ─────────────────────────────────────────────────────────────

    async def unneeded(self, kept: int) -> list[Version]:
        """Versions whose image on the engine nothing needs: not in use, tried out or rolled back
        to, of no workspace, not being built, and not among the `kept` newest unless retired."""
        async with self._database.begin() as db:
            definitions = (await db.execute(select(image_definitions))).all()
            needed = {
                (row.id, number)
                for row in definitions
                for number in (row.active, row.previous, row.canary)
            }
            used = await db.execute(select(workspace_versions).where(~gone()))
            needed |= {(row.image, row.version) for row in used}
            builds = await db.execute(
                select(image_builds).where(image_builds.c.state.in_(("queued", "running")))
            )
            needed |= {(row.image, row.version) for row in builds}
            found: list[Version] = []
            for row in definitions:
                versions = await _versions(db, image_versions.c.image == row.id)
                whole = [v for v in versions if v.state in (VersionState.BUILT, *USABLE)]
                newest = {v.number for v in whole[:kept]}
                found += [
                    v
                    for v in versions
                    if v.engine_id
                    and v.state is not VersionState.BUILDING
                    and v.number not in newest
                    and (v.image, v.number) not in needed
                ]
            return found

    async def collect(self, version: Version) -> bool:
        """Mark that its image goes; False: something needs it since, and it has to stay."""
        still = {(v.image, v.number) for v in await self.unneeded(0)}
        if (version.image, version.number) not in still:
            return False
        here = (image_versions.c.image == version.image, image_versions.c.number == version.number)
        async with self._database.begin() as db:
            bound = select(workspace_versions.c.workspace).where(
                workspace_versions.c.image == version.image,
                workspace_versions.c.version == version.number,
            )
            named = select(image_definitions.c.id).where(
                image_definitions.c.id == version.image,
                (image_definitions.c.active == version.number)
                | (image_definitions.c.previous == version.number)
                | (image_definitions.c.canary == version.number),
            )
            changed = await db.execute(
                update(image_versions)
                .where(
                    *here,
                    image_versions.c.state != VersionState.BUILDING,
                    ~bound.exists(),
                    ~named.exists(),
                )
                .values(engine_id="", state=VersionState.RETIRED)
            )
            return bool(changed.rowcount)


def choose(
    definition: Definition, workspace: str, had: Binding | None, pinned: int | None
) -> int | None:
    """Which version the next container of a workspace is made of. Pure.

    A new one gets what is in use, or, for a share of them, what is tried out. One that had a
    version stays with it unless it is to take newer ones by itself, or somebody asked.
    """
    if pinned is not None:
        return pinned
    if had is not None and had.image == definition.id:
        takes = definition.updates is Updates.RESTART or had.wanted or had.pinned
        update = update_of(definition, had)
        return update if takes and update is not None else had.version
    if definition.canary is not None and _share(workspace) < definition.canary_percent:
        return definition.canary
    return definition.active


def update_of(definition: Definition, had: Binding) -> int | None:
    """The version that a workspace would get by an update; None: it has it."""
    if had.pinned or definition.active is None:
        return None
    if had.version in (definition.active, definition.canary):
        return None
    return definition.active


def _share(workspace: str) -> int:
    """Where a workspace falls among a hundred; always at the same place."""
    return int.from_bytes(hashlib.sha256(workspace.encode()).digest()[:4], "big") % 100


def _none_in_use(definition: Definition) -> str:
    return (
        f"No version of {definition.reference} is in use yet. Build it, and promote what was built."
    )


def _require_image(version: Version) -> None:
    if version.state in USABLE and not version.engine_id:
        raise Conflict("The image of this version was collected; build it again first.")


async def _choose(
    db: AsyncConnection, definition: Definition, number: int, percent: int, values: dict[str, Any]
) -> Definition:
    await db.execute(
        update(image_definitions).where(image_definitions.c.id == definition.id).values(**values)
    )
    about = {"id": definition.id, "version": number, "percent": percent}
    subject = f"images/{definition.id}"
    await emit(db, "image.promoted", subject, about, team=definition.team)
    return await find(db, definition.id)


async def _move(
    db: AsyncConnection, image: str, number: int, event: Event, **values: Any
) -> Version:
    version = await _version(db, image, number)
    await db.execute(
        update(image_versions)
        .where(image_versions.c.image == image, image_versions.c.number == number)
        .values(state=after(version.state, event), **values)
    )
    return await _version(db, image, number)


async def _finish(
    db: AsyncConnection, image: str, number: int, event: Event, **values: Any
) -> None:
    """As `_move`, but the version in use stays that: its image was made again."""
    if (await _version(db, image, number)).state is not VersionState.ACTIVE:
        await _move(db, image, number, event, **values)
        return
    await db.execute(
        update(image_versions)
        .where(image_versions.c.image == image, image_versions.c.number == number)
        .values(**values)
    )


async def _version(db: AsyncConnection, image: str, number: int) -> Version:
    here = (image_versions.c.image == image) & (image_versions.c.number == number)
    found = await _versions(db, here)
    if not found:
        raise NotFound(f"There is no version {number} of this image.")
    return found[0]


async def _versions(db: AsyncConnection, where: Any) -> list[Version]:
    used = (
        select(func.count())
        .select_from(workspace_versions)
        .where(
            workspace_versions.c.image == image_versions.c.image,
            workspace_versions.c.version == image_versions.c.number,
            ~gone(),  # as a prebuild's container that has ended
        )
        .scalar_subquery()
    )
    query = (
        select(image_versions, used.label("workspaces"))
        .where(where)
        .order_by(image_versions.c.number.desc())
    )
    return [_read(row._mapping) for row in await db.execute(query)]


def _read(row: Mapping[Any, Any]) -> Version:
    values = {name: row[name] for name in Version.__struct_fields__}
    values["state"] = VersionState(row["state"])
    values["made_from"] = msgspec.json.decode(row["made_from"])
    values["security"] = msgspec.json.decode(row["security"]) if row["security"] else None
    return Version(**values)
