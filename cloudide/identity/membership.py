"""Who is what in a workspace: its members, and the members of the team that owns it."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, NotFound, PreconditionFailed
from cloudide.identity.permissions import Role, TeamRole, role_in_workspace, strongest
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import members, team_members, users, workspaces


class Member(msgspec.Struct, frozen=True):
    """Somebody who may enter. `team`: by being in the team that owns the workspace."""

    id: str
    name: str
    color: str
    role: Role
    guest: bool
    team: bool = False


class Membership:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def role(self, workspace: str, user: str) -> Role | None:
        """The most that any way in gives them; None: there is none."""
        async with self._database.begin() as db:
            own = await _own_role(db, workspace, user)
            found = await db.execute(
                select(team_members.c.role, workspaces.c.team_role)
                .join(workspaces, workspaces.c.team == team_members.c.team)
                .where(workspaces.c.id == workspace, team_members.c.user == user)
            )
            row = found.first()
        by_team = role_in_workspace(TeamRole(row.role), row.team_role) if row else None
        return strongest((own, by_team))

    async def add(self, workspace: str, user: str, role: Role) -> None:
        """Make somebody a member; who is one already keeps their role."""
        with suppress(IntegrityError):
            async with self._database.begin() as db:
                await db.execute(insert(members).values(workspace=workspace, user=user, role=role))
                await _emit(db, "member.added", workspace, user, role=role)

    async def list(self, workspace: str) -> list[Member]:
        """Everybody who may enter, by name; once, with the most that they may."""
        person = (users.c.id, users.c.name, users.c.color, users.c.guest)
        async with self._database.begin() as db:
            own = await db.execute(
                select(*person, members.c.role)
                .join(members, members.c.user == users.c.id)
                .where(members.c.workspace == workspace, users.c.active)
            )
            found = {
                row.id: Member(row.id, row.name, row.color, Role(row.role), row.guest)
                for row in own
            }
            by_team = await db.execute(
                select(*person, team_members.c.role, workspaces.c.team_role)
                .join(team_members, team_members.c.user == users.c.id)
                .join(workspaces, workspaces.c.team == team_members.c.team)
                .where(workspaces.c.id == workspace, users.c.active)
            )
            for row in by_team:
                role = role_in_workspace(TeamRole(row.role), row.team_role)
                had = found.get(row.id)
                if role and (had is None or strongest((had.role, role)) is not had.role):
                    found[row.id] = Member(row.id, row.name, row.color, role, row.guest, team=True)
        return sorted(found.values(), key=lambda member: (member.name.casefold(), member.id))

    async def change(
        self, workspace: str, user: str, role: Role, former: Role | None = None
    ) -> None:
        """Give a member another role. `former`: the one that they have to have still.

        Raises:
            NotFound: no such member. Conflict: the owner stays what they are.
            PreconditionFailed: somebody has changed their role meanwhile.
        """
        query = update(members).where(members.c.workspace == workspace, members.c.user == user)
        if former is not None:
            query = query.where(members.c.role == former)
        async with self._database.begin() as db:
            await _check_changeable(db, workspace, user)
            if not (await db.execute(query.values(role=role))).rowcount:
                raise PreconditionFailed("Somebody has given them another role meanwhile.")
            await _emit(db, "member.changed", workspace, user, role=role)

    async def remove(self, workspace: str, user: str) -> None:
        """Take a member out.

        Raises:
            NotFound: no such member. Conflict: the owner stays.
        """
        async with self._database.begin() as db:
            await _check_changeable(db, workspace, user)
            await db.execute(
                delete(members).where(members.c.workspace == workspace, members.c.user == user)
            )
            await _emit(db, "member.removed", workspace, user)


async def _own_role(db: AsyncConnection, workspace: str, user: str) -> Role | None:
    found = await db.execute(
        select(members.c.role).where(members.c.workspace == workspace, members.c.user == user)
    )
    role = found.scalar()
    return Role(role) if role else None


async def _check_changeable(db: AsyncConnection, workspace: str, user: str) -> None:
    if await _own_role(db, workspace, user) is None:
        raise NotFound(
            "This person is not a member of the workspace itself. Members of the team that owns it "
            "are changed in the team."
        )
    owner = await db.execute(
        select(workspaces.c.owner).where(workspaces.c.id == workspace, workspaces.c.team.is_(None))
    )
    if owner.scalar() == user:
        raise Conflict("This person owns the workspace; give it to somebody else first.")


async def _emit(db: AsyncConnection, type: str, workspace: str, user: str, **about: object) -> None:
    subject = f"workspaces/{workspace}/members/{user}"
    await emit(db, type, subject, {"user": user, **about}, workspace=workspace)
