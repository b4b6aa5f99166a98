"""Teams: people who own workspaces together.

Whatever ends a right says whose it was, so that the edge can cut what is open at once.
"""

from __future__ import annotations

import secrets
import time

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, Denied, NotFound, TooMany
from cloudide.identity.permissions import TeamAction, TeamGrant, TeamRole
from cloudide.identity.users import clean_name
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import image_definitions, team_members, teams, users, workspaces

TEAMS_LIMIT = 50  # of one person
MEMBERS_LIMIT = 1000  # of one team


class Team(msgspec.Struct, frozen=True):
    """A team as somebody sees it; `role` is theirs in it. `created_at`: seconds since the epoch."""

    id: str
    name: str
    role: TeamRole
    members: int
    workspaces: int
    created_at: float


class TeamMember(msgspec.Struct, frozen=True):
    id: str
    name: str
    color: str
    role: TeamRole


class Teams:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, owner: str) -> Team:
        """A new team, of which `owner` is the only member.

        Raises:
            InvalidInput: it is no name. TooMany: they are in as many as one person may be in.
        """
        name, id, now = (
            clean_name(name, "The name of a team"),
            "t" + secrets.token_hex(6),
            time.time(),
        )
        async with self._database.begin() as db:
            await db.execute(insert(teams).values(id=id, name=name, created_at=now))
            await db.execute(insert(team_members).values(team=id, user=owner, role=TeamRole.OWNER))
            await _check_count_of(db, owner)
            await _emit(db, "team.created", id, name=name)
        return Team(id, name, TeamRole.OWNER, 1, 0, now)

    async def of_user(self, user: str, *, everything: bool = False) -> list[Team]:
        """Somebody's teams by name; `everything`: all there are, which are an administrator's."""
        role = (
            select(team_members.c.role)
            .where(team_members.c.team == teams.c.id, team_members.c.user == user)
            .scalar_subquery()
        )
        members = (
            select(func.count())
            .select_from(team_members)
            .where(team_members.c.team == teams.c.id)
            .scalar_subquery()
        )
        owned = (
            select(func.count())
            .select_from(workspaces)
            .where(workspaces.c.team == teams.c.id)
            .scalar_subquery()
        )
        query = select(
            teams, role.label("role"), members.label("members"), owned.label("workspaces")
        ).order_by(teams.c.name, teams.c.id)
        if not everything:
            query = query.where(role.is_not(None))
        async with self._database.begin() as db:
            return [
                Team(
                    row.id,
                    row.name,
                    TeamRole.OWNER if everything else TeamRole(row.role),
                    row.members,
                    row.workspaces,
                    row.created_at,
                )
                for row in await db.execute(query)
            ]

    async def exists(self, team: str) -> bool:
        async with self._database.begin() as db:
            found = await db.execute(select(teams.c.id).where(teams.c.id == team))
            return found.first() is not None

    async def role(self, team: str, user: str) -> TeamRole | None:
        async with self._database.begin() as db:
            return await _role(db, team, user)

    async def members(self, team: str) -> list[TeamMember]:
        """By name."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(users.c.id, users.c.name, users.c.color, team_members.c.role)
                .join(team_members, team_members.c.user == users.c.id)
                .where(team_members.c.team == team)
                .order_by(users.c.name, users.c.id)
            )
            return [TeamMember(row.id, row.name, row.color, TeamRole(row.role)) for row in found]

    async def workspaces(self, team: str) -> list[str]:
        """The ids of those that are the team's."""
        async with self._database.begin() as db:
            found = await db.execute(select(workspaces.c.id).where(workspaces.c.team == team))
            return [row.id for row in found]

    async def rename(self, team: str, name: str) -> None:
        """Raises: InvalidInput: it is no name."""
        values = {"name": clean_name(name, "The name of a team")}
        async with self._database.begin() as db:
            await db.execute(update(teams).where(teams.c.id == team).values(**values))
            await _emit(db, "team.changed", team, **values)

    async def delete(self, team: str) -> None:
        """Raises: Conflict: it still owns workspaces or images."""
        async with self._database.begin() as db:
            count = await db.execute(
                select(func.count()).select_from(workspaces).where(workspaces.c.team == team)
            )
            if left := count.scalar_one():
                raise Conflict(
                    f"The team still owns {left} workspace{'s' if left > 1 else ''}. Delete them, "
                    "or give them to somebody, first."
                )
            images = await db.execute(
                select(func.count())
                .select_from(image_definitions)
                .where(image_definitions.c.team == team)
            )
            if left := images.scalar_one():
                raise Conflict(
                    f"The team still has {left} image{'s' if left > 1 else ''}. Delete them first."
                )
            await _emit(db, "team.deleted", team)
            await db.execute(delete(teams).where(teams.c.id == team))

    # ── members ─────────────────────────────────────────────────────────────────────────────────

    async def add(self, team: str, user: str, role: TeamRole) -> TeamRole:
        """Make somebody a member, who is no guest from then on; a member keeps their role.

        Raises:
            TooMany: the team, or the person, has as many as there may be.
        """
        async with self._database.begin() as db:
            if present := await _role(db, team, user):
                return present
            await db.execute(insert(team_members).values(team=team, user=user, role=role))
            await db.execute(update(users).where(users.c.id == user).values(guest=False))
            await _check_count_of(db, user)
            count = await db.execute(
                select(func.count()).select_from(team_members).where(team_members.c.team == team)
            )
            if count.scalar_one() > MEMBERS_LIMIT:
                raise TooMany(f"A team has at most {MEMBERS_LIMIT:,} members.")
            await _emit(db, "team.member_added", team, user=user, role=role)
        return role

    async def appoint(self, by: TeamGrant, user: str, role: TeamRole) -> None:
        """Give a member another role.

        Raises:
            NotFound: they are no member. Conflict: the team would have no owner.
        """
        async with self._database.begin() as db:
            if await _role(db, by.team, user) is None:
                raise NotFound("This person is not a member of the team.")
            await db.execute(
                update(team_members)
                .where(team_members.c.team == by.team, team_members.c.user == user)
                .values(role=role)
            )
            await _check_owner(db, by.team)
            await _emit(db, "team.member_changed", by.team, user=user, role=role)

    async def remove(self, by: TeamGrant, user: str) -> None:
        """Take somebody out of the team; anybody may leave it.

        Raises:
            NotFound: they are no member. Denied: only owners remove owners and maintainers.
            Conflict: the team would have no owner.
        """
        async with self._database.begin() as db:
            role = await _role(db, by.team, user)
            if user != by.person.id and not by.allows(TeamAction.INVITE):
                raise Denied("Only maintainers and owners of a team remove members.")
            if role is None:
                raise NotFound("This person is not a member of the team.")
            appointed = role is not TeamRole.MEMBER and user != by.person.id
            if appointed and not by.allows(TeamAction.APPOINT):
                raise Denied("Only an owner of the team removes its maintainers and owners.")
            await db.execute(
                delete(team_members).where(
                    team_members.c.team == by.team, team_members.c.user == user
                )
            )
            await _check_owner(db, by.team)
            await _emit(db, "team.member_removed", by.team, user=user)


async def _role(db: AsyncConnection, team: str, user: str) -> TeamRole | None:
    found = await db.execute(
        select(team_members.c.role).where(team_members.c.team == team, team_members.c.user == user)
    )
    role = found.scalar()
    return TeamRole(role) if role else None


async def _check_owner(db: AsyncConnection, team: str) -> None:
    owners = await db.execute(
        select(team_members.c.user).where(
            team_members.c.team == team, team_members.c.role == TeamRole.OWNER
        )
    )
    if owners.first() is None:
        raise Conflict("A team has at least one owner; appoint another one first.")


async def _check_count_of(db: AsyncConnection, user: str) -> None:
    count = await db.execute(
        select(func.count()).select_from(team_members).where(team_members.c.user == user)
    )
    if count.scalar_one() > TEAMS_LIMIT:
        raise TooMany(f"One person is in at most {TEAMS_LIMIT} teams. Leave one first.")


async def _emit(db: AsyncConnection, type: str, team: str, **about: object) -> None:
    await emit(db, type, f"teams/{team}", {"id": team, **about}, team=team)
