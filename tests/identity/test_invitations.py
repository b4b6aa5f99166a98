"""Invitations, and requests to be let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import func, select, update

from cloudide.errors import NotFound, TooMany
from cloudide.identity import invitations as invitations_
from cloudide.identity.accounts import Accounts
from cloudide.identity.invitations import Answer, Invitations, Place
from cloudide.identity.membership import Membership
from cloudide.identity.permissions import Role
from cloudide.identity.teams import Teams
from cloudide.identity.users import User
from cloudide.storage.database import Database
from cloudide.storage.tables import invites, join_requests
from cloudide.workspaces.store import Store


class Site(NamedTuple):
    database: Database
    accounts: Accounts
    membership: Membership
    invitations: Invitations
    owner: User
    bob: User


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    accounts = Accounts(database, "", 30)
    owner, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Ada")
    bob = await accounts.create("Bob", guest=True)
    await Store(database, 5, 5).create("w1", "One", "base", owner.id, ("", ""))
    yield Site(database, accounts, Membership(database), Invitations(database, 7), owner, bob)
    await database.close()


async def test_a_link_names_where_it_leads(site: Site) -> None:
    team = await Teams(site.database).create("Crew", site.owner.id)
    by = site.owner.person
    links = [
        await site.invitations.create(Place.WORKSPACE, "w1", "editor", by, approval=True),
        await site.invitations.create(Place.TEAM, team.id, "member", by),
        await site.invitations.create(Place.SITE, "", "", by),
    ]
    for invite, token in links:
        assert await site.invitations.find(token) == invite
        assert await site.invitations.get(invite.id) == invite
        assert await site.invitations.list(invite.place, invite.to) == [invite]
        assert (invite.invited_by, invite.inviter) == ("Ada", site.owner.id)
    assert [invite.name for invite, _ in links] == ["One", "Crew", ""]
    assert [invite.approval for invite, _ in links] == [True, False, False]
    async with site.database.begin() as db:
        kept = (await db.execute(select(invites.c.hash))).scalars().all()
    assert not {token for _, token in links} & set(kept)


async def test_links_end(site: Site) -> None:
    invite, token = await site.invitations.create(
        Place.WORKSPACE, "w1", "editor", site.owner.person
    )
    await site.invitations.revoke(invite)
    with pytest.raises(NotFound):
        await site.invitations.find(token)
    with pytest.raises(NotFound):
        await site.invitations.get(invite.id)
    _, token = await site.invitations.create(Place.WORKSPACE, "w1", "editor", site.owner.person)
    async with site.database.begin() as db:
        await db.execute(update(invites).values(expires_at=1.0))
    with pytest.raises(NotFound):
        await site.invitations.find(token)
    assert await site.invitations.list(Place.WORKSPACE, "w1") == []


async def test_links_of_somebody_who_was_deactivated(site: Site) -> None:
    _, token = await site.invitations.create(Place.WORKSPACE, "w1", "editor", site.bob.person)
    await site.accounts.change(site.bob.id, admin=None, active=False)
    with pytest.raises(NotFound):
        await site.invitations.find(token)


async def test_there_are_only_so_many_links(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations_, "INVITES_LIMIT", 1)
    await site.invitations.create(Place.WORKSPACE, "w1", "editor", site.owner.person)
    with pytest.raises(TooMany):
        await site.invitations.create(Place.WORKSPACE, "w1", "editor", site.owner.person)
    assert len(await site.invitations.list(Place.WORKSPACE, "w1")) == 1


async def test_somebody_asks_and_is_let_in_once(site: Site) -> None:
    invite, _ = await site.invitations.create(
        Place.WORKSPACE, "w1", "editor", site.owner.person, approval=True
    )
    asked = await site.invitations.ask(invite, site.bob.id)
    assert (await site.invitations.ask(invite, site.bob.id)).id == asked.id
    assert await site.invitations.waiting("w1") == [asked]
    assert (asked.answer, asked.person) == (Answer.WAITING, site.bob.person)
    assert await site.membership.role("w1", site.bob.id) is None

    # Two people answer at the same moment: one of them decides, and that is what holds.
    answers = await asyncio.gather(
        site.invitations.answer(asked.id, Answer.ACCEPTED),
        site.invitations.answer(asked.id, Answer.DENIED),
        return_exceptions=True,
    )
    assert [type(each) for each in answers].count(NotFound) == 1
    decided = (await site.invitations.request(asked.id)).answer
    role = await site.membership.role("w1", site.bob.id)
    assert role is (Role.EDITOR if decided is Answer.ACCEPTED else None)
    assert await site.invitations.waiting("w1") == []


async def test_who_was_denied_may_ask_again(site: Site) -> None:
    invite, _ = await site.invitations.create(
        Place.WORKSPACE, "w1", "viewer", site.owner.person, approval=True
    )
    first = await site.invitations.ask(invite, site.bob.id)
    await site.invitations.answer(first.id, Answer.DENIED)
    second = await site.invitations.ask(invite, site.bob.id)
    assert second.id != first.id
    await site.invitations.answer(second.id, Answer.ACCEPTED)
    assert await site.membership.role("w1", site.bob.id) is Role.VIEWER


async def test_requests_end_with_their_link_and_by_age(site: Site) -> None:
    invite, _ = await site.invitations.create(
        Place.WORKSPACE, "w1", "viewer", site.owner.person, approval=True
    )
    asked = await site.invitations.ask(invite, site.bob.id)
    async with site.database.begin() as db:
        await db.execute(update(join_requests).values(created_at=1.0))
    assert await site.invitations.waiting("w1") == []
    with pytest.raises(NotFound):
        await site.invitations.answer(asked.id, Answer.ACCEPTED)
    asked = await site.invitations.ask(invite, site.bob.id)
    await site.invitations.revoke(invite)
    with pytest.raises(NotFound):
        await site.invitations.request(asked.id)
    async with site.database.begin() as db:
        count = await db.execute(select(func.count()).select_from(join_requests))
    assert count.scalar_one() == 0


async def test_only_so_many_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations_, "REQUESTS_LIMIT", 1)
    invite, _ = await site.invitations.create(
        Place.WORKSPACE, "w1", "viewer", site.owner.person, approval=True
    )
    await site.invitations.ask(invite, site.bob.id)
    cleo = await site.accounts.create("Cleo", guest=True)
    with pytest.raises(TooMany):
        await site.invitations.ask(invite, cleo.id)
