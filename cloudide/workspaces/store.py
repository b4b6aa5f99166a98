"""Workspaces in the database: what is wanted of each, and since when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import NotFound, TooMany
from cloudide.identity.permissions import Role, TeamRole, role_in_workspace, strongest
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import members, team_members, teams, users, workspaces
from cloudide.workspaces.lifecycle import Desired
from cloudide.workspaces.pool_store import leave_pool

DEFAULT_IMAGE = "base"


class Workspace(msgspec.Struct, frozen=True):
    """One row. `error` is the sentence people are shown; `git_url` is what it is filled from.
    `image` is "" until the project was asked which one it wants.
    `stopped_by` is "idle" when it is to be stopped because nobody used it."""

    id: str
    name: str
    image: str
    owner: str
    owner_name: str
    team: str  # which owns it instead, ""
    team_name: str
    team_role: str  # what its plain members are here, "" for nothing
    git_url: str
    git_ref: str
    initialized: bool
    desired: Desired
    generation: int
    error: str
    stopped_by: str
    created_at: float
    prebuilt: str = ""  # the prebuild's seed that it was filled from before anybody claimed it

    @property
    def made_from(self) -> str:
        """The image of its next container."""
        return self.image or DEFAULT_IMAGE


class Store:
    def __init__(self, database: Database, per_user: int, per_team: int) -> None:
        self._database = database
        self._per_user = per_user
        self._per_team = per_team

    async def create(
        self,
        id: str,
        name: str,
        image: str,
        owner: str,
        git: tuple[str, str],
        team: str = "",
        *,
        from_pool: bool = False,
        prebuilt: str = "",
        initialized: bool = False,
    ) -> None:
        """Insert a workspace of a person, with their membership, or of a team.

        `from_pool`: it was a slot of a pool until now, which a prebuild's seed may have filled.
        `initialized`: there is nothing that it is to be filled with.

        Raises:
            Conflict: it is none any more.
            TooMany: the person, or the team, has as many as there may be.
        """
        async with self._database.begin() as db:
            # One transaction: two requests at the same moment cannot both take the last place.
            await db.execute(
                insert(workspaces).values(
                    id=id,
                    name=name,
                    image=image,
                    owner=owner,
                    team=team or None,
                    git_url=git[0],
                    git_ref=git[1],
                    initialized=initialized,
                    desired_state=Desired.RUNNING,
                    generation=1,
                    error="",
                    created_at=time.time(),
                    prebuilt=prebuilt,
                )
            )
            if from_pool:
                await leave_pool(db, id)
            await self._check_count(db, owner, team)
            if not team:
                await db.execute(insert(members).values(workspace=id, user=owner, role=Role.OWNER))
            about = {"id": id, "name": name, "image": image, "owner": owner, "team": team}
            scope = {"workspace": id, "team": team}
            await emit(db, "workspace.created", f"workspaces/{id}", about, **scope)

    async def _check_count(self, db: AsyncConnection, owner: str, team: str) -> None:
        """Raises: TooMany: what was just given to them is one too many."""
        whose = workspaces.c.team == team
        if not team:
            whose = (workspaces.c.owner == owner) & workspaces.c.team.is_(None)
        count = await db.execute(select(func.count()).select_from(workspaces).where(whose))
        limit = self._per_team if team else self._per_user
        if count.scalar_one() > limit:
            raise TooMany(
                f"{'The team owns' if team else 'You own'} {limit} workspaces, which is the limit. "
                "Delete one first."
            )

    async def get(self, id: str) -> Workspace:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            row = (await db.execute(_select().where(workspaces.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such workspace.")
        return _workspace(row._mapping)

    async def all(self) -> list[Workspace]:
        """Every workspace, newest first."""
        query = _select().order_by(workspaces.c.created_at.desc())
        async with self._database.begin() as db:
            return [_workspace(row._mapping) for row in await db.execute(query)]

    async def of_user(self, user: str) -> list[tuple[Workspace, Role]]:
        """The workspaces somebody may enter, newest first, with their role in each."""
        own = members.alias("own")
        by_team = team_members.alias("by_team")
        query = (
            _select()
            .add_columns(own.c.role.label("own_role"), by_team.c.role.label("role_in_team"))
            .outerjoin(own, (own.c.workspace == workspaces.c.id) & (own.c.user == user))
            .outerjoin(by_team, (by_team.c.team == workspaces.c.team) & (by_team.c.user == user))
            .where(own.c.role.is_not(None) | by_team.c.role.is_not(None))
            .order_by(workspaces.c.created_at.desc())
        )
        async with self._database.begin() as db:
            rows = [row._mapping for row in await db.execute(query)]
        return [(_workspace(row), role) for row in rows if (role := _role(row)) is not None]

    async def describe(self, id: str, *, name: str | None, team_role: str | None) -> None:
        """Change what a workspace is called, and what plain members of its team are in it."""
        values = {"name": name, "team_role": team_role}
        values = {key: value for key, value in values.items() if value is not None}
        if values:
            async with self._database.begin() as db:
                await db.execute(update(workspaces).where(workspaces.c.id == id).values(**values))

    async def give(self, id: str, owner: str, team: str) -> None:
        """Give a workspace to a person, or to a team of `owner`'s.

        Whoever owned it stays a member who may run programs; so does nobody of a former team.

        Raises:
            TooMany: they have as many as there may be.
        """
        async with self._database.begin() as db:
            await db.execute(
                update(members)
                .where(members.c.workspace == id, members.c.role == Role.OWNER)
                .values(role=Role.TERMINAL)
            )
            if not team:
                this = (members.c.workspace == id, members.c.user == owner)
                await db.execute(delete(members).where(*this))
                await db.execute(insert(members).values(workspace=id, user=owner, role=Role.OWNER))
            await db.execute(
                update(workspaces)
                .where(workspaces.c.id == id)
                .values(owner=owner, team=team or None)
            )
            await self._check_count(db, owner, team)

    async def want(
        self,
        id: str,
        desired: Desired,
        *,
        anew: bool = False,
        error: str = "",
        stopped_by: str = "",
    ) -> None:
        """Change what is wanted; `anew` asks for a new container."""
        async with self._database.begin() as db:
            await db.execute(
                update(workspaces)
                .where(workspaces.c.id == id, workspaces.c.desired_state != Desired.DELETED)
                .values(
                    desired_state=desired,
                    generation=workspaces.c.generation + (1 if anew else 0),
                    error=error,
                    stopped_by=stopped_by,
                )
            )

    async def initialized(self, id: str, image: str) -> None:
        """It is filled, and its project has said which image it is made from."""
        async with self._database.begin() as db:
            this = update(workspaces).where(workspaces.c.id == id)
            await db.execute(this.values(initialized=True, image=image))

    async def reimage(self, id: str, image: str) -> None:
        """Its containers are made from another image from now on, beginning with a new one."""
        async with self._database.begin() as db:
            this = update(workspaces).where(workspaces.c.id == id)
            await db.execute(this.values(image=image, generation=workspaces.c.generation + 1))

    async def announce(self, id: str, state: str, **about: str) -> None:
        """Tell as an event that a workspace has `started`, `stopped` or `failed`, once each time:
        what was told last is kept, so that a restart of the server tells nothing again."""
        async with self._database.begin() as db:
            changed = await db.execute(
                update(workspaces)
                .where(workspaces.c.id == id, workspaces.c.announced != state)
                .values(announced=state)
            )
            if changed.rowcount:
                type, subject = f"workspace.{state}", f"workspaces/{id}"
                await emit(db, type, subject, {"id": id, **about}, workspace=id)

    async def delete(self, id: str) -> None:
        async with self._database.begin() as db:
            found = await db.execute(select(members.c.user).where(members.c.workspace == id))
            by_team = await db.execute(
                select(team_members.c.user)
                .join(workspaces, workspaces.c.team == team_members.c.team)
                .where(workspaces.c.id == id)
            )
            readers = [*found.scalars(), *by_team.scalars()]
            gone = await db.execute(delete(workspaces).where(workspaces.c.id == id))
            if gone.rowcount:
                subject, about = f"workspaces/{id}", {"id": id}
                await emit(db, "workspace.deleted", subject, about, workspace=id, readers=readers)


def _select() -> Select[Any]:
    return (
        select(workspaces, users.c.name.label("owner_name"), teams.c.name.label("team_name"))
        .join(users, users.c.id == workspaces.c.owner)
        .outerjoin(teams, teams.c.id == workspaces.c.team)
    )


def _role(row: Mapping[Any, Any]) -> Role | None:
    own = Role(row["own_role"]) if row["own_role"] else None
    by_team = row["role_in_team"]
    return strongest(
        (own, role_in_workspace(TeamRole(by_team), row["team_role"]) if by_team else None)
    )


def _workspace(row: Mapping[Any, Any]) -> Workspace:
    return Workspace(
        id=row["id"],
        name=row["name"],
        image=row["image"],
        owner=row["owner"],
        owner_name=row["owner_name"],
        team=row["team"] or "",
        team_name=row["team_name"] or "",
        team_role=row["team_role"],
        git_url=row["git_url"],
        git_ref=row["git_ref"],
        initialized=row["initialized"],
        desired=Desired(row["desired_state"]),
        generation=row["generation"],
        error=row["error"],
        stopped_by=row["stopped_by"],
        created_at=row["created_at"],
        prebuilt=row["prebuilt"],
    )
