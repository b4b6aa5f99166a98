"""Workspaces in the database: what is wanted of each, and since when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update

from cloudide.errors import NotFound, TooMany
from cloudide.identity.permissions import Role
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import members, users, workspaces
from cloudide.workspaces.lifecycle import Desired


class Workspace(msgspec.Struct, frozen=True):
    """One row. `error` is the sentence people are shown; `git_url` is what it is filled from.
    `stopped_by` is "idle" when it is to be stopped because nobody used it."""

    id: str
    name: str
    image: str
    owner: str
    owner_name: str
    git_url: str
    git_ref: str
    initialized: bool
    desired: Desired
    generation: int
    error: str
    stopped_by: str
    created_at: float


class Store:
    def __init__(self, database: Database, workspaces_per_user: int) -> None:
        self._database = database
        self._per_user = workspaces_per_user

    async def create(
        self, id: str, name: str, image: str, owner: str, git: tuple[str, str]
    ) -> None:
        """Insert a workspace and its owner's membership.

        Raises:
            TooMany: the owner has as many as one person may have.
        """
        async with self._database.begin() as db:
            # One transaction: two requests at the same moment cannot both take the last place.
            await db.execute(
                insert(workspaces).values(
                    id=id,
                    name=name,
                    image=image,
                    owner=owner,
                    git_url=git[0],
                    git_ref=git[1],
                    initialized=False,
                    desired_state=Desired.RUNNING,
                    generation=1,
                    error="",
                    created_at=time.time(),
                )
            )
            count = await db.execute(
                select(func.count()).select_from(workspaces).where(workspaces.c.owner == owner)
            )
            if count.scalar_one() > self._per_user:
                raise TooMany(
                    f"You own {self._per_user} workspaces, which is the limit. Delete one first."
                )
            await db.execute(insert(members).values(workspace=id, user=owner, role=Role.OWNER))
            about = {"id": id, "name": name, "image": image, "owner": owner}
            await emit(db, "workspace.created", f"workspaces/{id}", about, workspace=id)

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
        """The workspaces somebody is a member of, newest first, with their role in each."""
        async with self._database.begin() as db:
            found = await db.execute(
                _select()
                .add_columns(members.c.role)
                .join(members, members.c.workspace == workspaces.c.id)
                .where(members.c.user == user)
                .order_by(workspaces.c.created_at.desc())
            )
            return [(_workspace(row._mapping), Role(row.role)) for row in found]

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

    async def initialized(self, id: str) -> None:
        async with self._database.begin() as db:
            await db.execute(
                update(workspaces).where(workspaces.c.id == id).values(initialized=True)
            )

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
            readers = list(found.scalars())
            gone = await db.execute(delete(workspaces).where(workspaces.c.id == id))
            if gone.rowcount:
                subject, about = f"workspaces/{id}", {"id": id}
                await emit(db, "workspace.deleted", subject, about, workspace=id, readers=readers)


def _select() -> Select[Any]:
    return select(workspaces, users.c.name.label("owner_name")).join(
        users, users.c.id == workspaces.c.owner
    )


def _workspace(row: Mapping[Any, Any]) -> Workspace:
    return Workspace(
        id=row["id"],
        name=row["name"],
        image=row["image"],
        owner=row["owner"],
        owner_name=row["owner_name"],
        git_url=row["git_url"],
        git_ref=row["git_ref"],
        initialized=row["initialized"],
        desired=Desired(row["desired_state"]),
        generation=row["generation"],
        error=row["error"],
        stopped_by=row["stopped_by"],
        created_at=row["created_at"],
    )
