"""Members of a workspace, and the invitation links by which they become members."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from sqlalchemy import Select, delete, insert, select
from sqlalchemy.exc import IntegrityError

from cloudide.errors import Conflict, NotFound
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.permissions import Person, Role
from cloudide.storage.database import Database
from cloudide.storage.tables import invites, members, users, workspaces

DAY = 86400


class Member(msgspec.Struct, frozen=True):
    id: str
    name: str
    color: str
    role: Role


class Invite(msgspec.Struct, frozen=True):
    """An invitation. Its token exists only in the link that was given out."""

    id: str
    workspace: str
    workspace_name: str
    role: Role
    invited_by: str  # a name
    expires_at: float


class Membership:
    def __init__(self, database: Database, invite_days: int) -> None:
        self._database = database
        self._invite_seconds = invite_days * DAY

    async def role(self, workspace: str, user: str) -> Role | None:
        async with self._database.begin() as db:
            found = await db.execute(
                select(members.c.role).where(
                    members.c.workspace == workspace, members.c.user == user
                )
            )
            role = found.scalar()
            return Role(role) if role else None

    async def add(self, workspace: str, user: str, role: Role) -> None:
        async with self._database.begin() as db:
            await db.execute(insert(members).values(workspace=workspace, user=user, role=role))

    async def list(self, workspace: str) -> list[Member]:
        async with self._database.begin() as db:
            found = await db.execute(
                select(users.c.id, users.c.name, users.c.color, members.c.role)
                .join(members, members.c.user == users.c.id)
                .where(members.c.workspace == workspace)
                .order_by(users.c.name)
            )
            return [Member(row.id, row.name, row.color, Role(row.role)) for row in found]

    async def remove(self, workspace: str, user: str) -> None:
        """Raises: NotFound: no such member. Conflict: the owner stays."""
        role = await self.role(workspace, user)
        if role is None:
            raise NotFound("This person is not a member of the workspace.")
        if role is Role.OWNER:
            raise Conflict("The owner of a workspace cannot be removed from it.")
        async with self._database.begin() as db:
            await db.execute(
                delete(members).where(members.c.workspace == workspace, members.c.user == user)
            )

    # ── invitations ─────────────────────────────────────────────────────────────────────────────

    async def invite(self, workspace: str, role: Role, by: Person) -> tuple[Invite, str]:
        """Make an invitation; returns it with its token. It can be used until it expires."""
        token = new_secret()
        id = secrets.token_hex(8)
        now = time.time()
        async with self._database.begin() as db:
            await db.execute(
                insert(invites).values(
                    id=id,
                    hash=digest(token),
                    workspace=workspace,
                    role=role,
                    invited_by=by.id,
                    created_at=now,
                    expires_at=now + self._invite_seconds,
                )
            )
        return await self.find_invite(token), token

    async def find_invite(self, token: str) -> Invite:
        """Raises: NotFound: it never was, was revoked or has expired."""
        async with self._database.begin() as db:
            row = (await db.execute(_invites().where(invites.c.hash == digest(token)))).first()
        if row is None:
            raise NotFound("This invitation was revoked or has expired. Ask for a new one.")
        return _invite(row._mapping)

    async def list_invites(self, workspace: str) -> list[Invite]:
        async with self._database.begin() as db:
            found = await db.execute(_invites().where(invites.c.workspace == workspace))
            return [_invite(row._mapping) for row in found]

    async def get_invite(self, id: str) -> Invite:
        async with self._database.begin() as db:
            row = (await db.execute(_invites().where(invites.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such invitation.")
        return _invite(row._mapping)

    async def revoke_invite(self, id: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(invites).where(invites.c.id == id))

    async def accept(self, invite: Invite, user: str) -> Role:
        """Become a member; somebody who is one already keeps their role."""
        with suppress(IntegrityError):
            await self.add(invite.workspace, user, invite.role)
        return await self.role(invite.workspace, user) or invite.role


def _invites() -> Select[Any]:
    return (
        select(invites, workspaces.c.name.label("workspace_name"), users.c.name.label("by_name"))
        .join(workspaces, workspaces.c.id == invites.c.workspace)
        .join(users, users.c.id == invites.c.invited_by)
        .where(invites.c.expires_at > time.time())
    )


def _invite(row: Mapping[Any, Any]) -> Invite:
    return Invite(
        id=row["id"],
        workspace=row["workspace"],
        workspace_name=row["workspace_name"],
        role=Role(row["role"]),
        invited_by=row["by_name"],
        expires_at=row["expires_at"],
    )
