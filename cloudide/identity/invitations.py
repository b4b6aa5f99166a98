"""Invitations: links by which people come to a workspace, a team or this site.

A link's secret (256 random bits) is kept as its digest, and can be used until it expires, is taken
back, or whoever made it may not invite any longer. One that needs approval makes a request, which
somebody who may share the workspace answers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from cloudide.errors import NotFound, TooMany
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.permissions import Person
from cloudide.storage.database import Database
from cloudide.storage.outbox import SHARE, emit
from cloudide.storage.tables import invites, join_requests, members, teams, users, workspaces

DAY = 86400
INVITES_LIMIT = 200  # that can be used at a time, of one workspace or team
REQUESTS_LIMIT = 50  # that wait in one workspace
_REQUEST_SECONDS = DAY  # a request that nobody answers is forgotten


class Place(StrEnum):
    WORKSPACE = "workspace"
    TEAM = "team"
    SITE = "site"


class Invite(msgspec.Struct, frozen=True):
    """An invitation. Its token exists only in the link that was given out.

    `to` is the id of the workspace or team, "" for the site, and `name` its name. `role` is a
    `Role`, a `TeamRole`, or "". `expires_at` in seconds since the epoch.
    """

    id: str
    place: Place
    to: str
    name: str
    role: str
    approval: bool
    invited_by: str  # a name
    inviter: str  # an id
    expires_at: float


class Answer(StrEnum):
    WAITING = "waiting"
    ACCEPTED = "accepted"
    DENIED = "denied"


class JoinRequest(msgspec.Struct, frozen=True):
    """Somebody who followed a link and waits to be let in."""

    id: str
    workspace: str
    role: str
    person: Person
    answer: Answer
    created_at: float


class Invitations:
    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._seconds = days * DAY

    async def create(
        self, place: Place, to: str, role: str, by: Person, *, approval: bool = False
    ) -> tuple[Invite, str]:
        """Make an invitation; returns it with its token.

        Raises:
            TooMany: there are as many as there may be.
        """
        token, id, now = new_secret(), secrets.token_hex(8), time.time()
        async with self._database.begin() as db:
            await db.execute(delete(invites).where(invites.c.expires_at <= now))
            await db.execute(
                insert(invites).values(
                    id=id,
                    hash=digest(token),
                    workspace=to if place is Place.WORKSPACE else None,
                    team=to if place is Place.TEAM else None,
                    role=role,
                    approval=approval,
                    invited_by=by.id,
                    created_at=now,
                    expires_at=now + self._seconds,
                )
            )
            count = await db.execute(
                select(func.count()).select_from(invites).where(_of(place, to))
            )
            if count.scalar_one() > INVITES_LIMIT:
                raise TooMany(f"{INVITES_LIMIT} links can be used here, the limit. Take one back.")
            about = {"id": id, "place": place, "to": to, "role": role, "by": by.id}
            await emit(
                db, "invite.created", f"invites/{id}", about, needs=SHARE, **_scope(place, to)
            )
        return await self.find(token), token

    async def find(self, token: str) -> Invite:
        """Raises: NotFound: it never was, was revoked or has expired."""
        async with self._database.begin() as db:
            row = (await db.execute(_select().where(invites.c.hash == digest(token)))).first()
        if row is None:
            raise NotFound("This invitation was revoked or has expired. Ask for a new one.")
        return _invite(row._mapping)

    async def get(self, id: str) -> Invite:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            row = (await db.execute(_select().where(invites.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such invitation.")
        return _invite(row._mapping)

    async def list(self, place: Place, to: str) -> list[Invite]:
        """Those that can be used, the newest first."""
        query = _select().where(_of(place, to)).order_by(invites.c.created_at.desc())
        async with self._database.begin() as db:
            return [_invite(row._mapping) for row in await db.execute(query)]

    async def revoke(self, invite: Invite) -> None:
        """Take it back; whoever asked to be let in by it does so no longer."""
        async with self._database.begin() as db:
            await db.execute(delete(invites).where(invites.c.id == invite.id))
            scope = _scope(invite.place, invite.to)
            about = {"id": invite.id, "place": invite.place, "to": invite.to}
            await emit(db, "invite.revoked", f"invites/{invite.id}", about, needs=SHARE, **scope)

    # ── approval ────────────────────────────────────────────────────────────────────────────────

    async def ask(self, invite: Invite, user: str) -> JoinRequest:
        """Ask to be let in; asking again is the same request.

        Raises:
            TooMany: so many wait that there may be no more.
        """
        now = time.time()
        async with self._database.begin() as db:
            await db.execute(
                delete(join_requests).where(join_requests.c.created_at < now - _REQUEST_SECONDS)
            )
            found = await db.execute(
                select(join_requests.c.id).where(
                    join_requests.c.invite == invite.id,
                    join_requests.c.user == user,
                    join_requests.c.state == Answer.WAITING,
                )
            )
            id = found.scalar()
            if id is None:
                waiting = await db.execute(
                    select(func.count())
                    .select_from(join_requests)
                    .join(invites, invites.c.id == join_requests.c.invite)
                    .where(
                        invites.c.workspace == invite.to,
                        join_requests.c.state == Answer.WAITING,
                    )
                )
                if waiting.scalar_one() >= REQUESTS_LIMIT:
                    raise TooMany("Very many wait to be let in there. Try again later.")
                id = secrets.token_hex(8)
                await db.execute(
                    insert(join_requests).values(
                        id=id, invite=invite.id, user=user, created_at=now, state=Answer.WAITING
                    )
                )
        return await self.request(id)

    async def request(self, id: str) -> JoinRequest:
        """Raises: NotFound: there is none, or the invitation was taken back."""
        async with self._database.begin() as db:
            row = (await db.execute(_requests().where(join_requests.c.id == id))).first()
        if row is None:
            raise NotFound("This request is over: the invitation was taken back, or it is too old.")
        return _request(row._mapping)

    async def waiting(self, workspace: str) -> list[JoinRequest]:
        """Who waits to be let in, the first to come first."""
        query = (
            _requests()
            .where(invites.c.workspace == workspace, join_requests.c.state == Answer.WAITING)
            .order_by(join_requests.c.created_at)
        )
        async with self._database.begin() as db:
            return [_request(row._mapping) for row in await db.execute(query)]

    async def answer(self, id: str, answer: Answer) -> None:
        """Answer a request; who is accepted becomes a member.

        Raises:
            NotFound: nobody waits for that answer.
        """
        asked = await self.request(id)
        async with self._database.begin() as db:
            done = await db.execute(
                update(join_requests)
                .where(join_requests.c.id == id, join_requests.c.state == Answer.WAITING)
                .values(state=answer)
            )
            if not done.rowcount:
                raise NotFound("Nobody waits for this answer; somebody else may have given it.")
            if answer is Answer.ACCEPTED:
                member = {"workspace": asked.workspace, "user": asked.person.id}
                await db.execute(
                    delete(members).where(
                        members.c.workspace == asked.workspace, members.c.user == asked.person.id
                    )
                )
                await db.execute(insert(members).values(**member, role=asked.role))
                subject = f"workspaces/{asked.workspace}/members/{asked.person.id}"
                about = {"user": asked.person.id, "role": asked.role}
                await emit(db, "member.added", subject, about, workspace=asked.workspace)


def _scope(place: Place, to: str) -> dict[str, str]:
    """Whose matter an invitation is; the site's where nothing is named."""
    return {place: to} if place is not Place.SITE else {}


def _of(place: Place, to: str) -> ColumnElement[bool]:
    match place:
        case Place.WORKSPACE:
            return invites.c.workspace == to
        case Place.TEAM:
            return invites.c.team == to
        case Place.SITE:
            return invites.c.workspace.is_(None) & invites.c.team.is_(None)


def _select() -> Select[Any]:
    return (
        select(
            invites,
            workspaces.c.name.label("workspace_name"),
            teams.c.name.label("team_name"),
            users.c.name.label("by_name"),
        )
        .join(users, users.c.id == invites.c.invited_by)
        .outerjoin(workspaces, workspaces.c.id == invites.c.workspace)
        .outerjoin(teams, teams.c.id == invites.c.team)
        .where(invites.c.expires_at > time.time(), users.c.active)
    )


def _invite(row: Mapping[Any, Any]) -> Invite:
    place, to, name = Place.SITE, "", ""
    if row["workspace"]:
        place, to, name = Place.WORKSPACE, row["workspace"], row["workspace_name"]
    elif row["team"]:
        place, to, name = Place.TEAM, row["team"], row["team_name"]
    return Invite(
        id=row["id"],
        place=place,
        to=to,
        name=name,
        role=row["role"],
        approval=row["approval"],
        invited_by=row["by_name"],
        inviter=row["invited_by"],
        expires_at=row["expires_at"],
    )


def _requests() -> Select[Any]:
    return (
        select(join_requests, invites.c.workspace, invites.c.role, users.c.name, users.c.color)
        .join(invites, invites.c.id == join_requests.c.invite)
        .join(users, users.c.id == join_requests.c.user)
        .where(join_requests.c.created_at > time.time() - _REQUEST_SECONDS)
    )


def _request(row: Mapping[Any, Any]) -> JoinRequest:
    person = Person(row["user"], row["name"], row["color"])
    return JoinRequest(
        row["id"], row["workspace"], row["role"], person, Answer(row["state"]), row["created_at"]
    )
