"""Members and invitations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import update

from cloudide.errors import Conflict, NotFound
from cloudide.identity.accounts import Accounts
from cloudide.identity.membership import Membership
from cloudide.identity.permissions import ALLOWED, Action, Grant, Role
from cloudide.identity.users import User
from cloudide.storage.database import Database
from cloudide.storage.tables import invites
from cloudide.workspaces.store import Store


class Site(NamedTuple):
    database: Database
    accounts: Accounts
    membership: Membership
    owner: User


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    accounts = Accounts(database, "", 30)
    owner, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Ada")
    await Store(database, 5).create("w1", "One", "base", owner.id, ("", ""))
    yield Site(database, accounts, Membership(database, 7), owner)
    await database.close()


def test_the_table_of_permissions() -> None:
    assert ALLOWED[Role.OWNER] == set(Action)
    assert ALLOWED[Role.VIEWER] == {Action.READ}
    assert ALLOWED[Role.EDITOR] == set(Action) - {Action.SHARE, Action.DELETE}
    assert set(ALLOWED) == set(Role)


async def test_a_grant_is_what_its_role_allows(site: Site) -> None:
    for role in Role:
        grant = Grant(site.owner.person, "w1", role)
        assert {action for action in Action if grant.allows(action)} == ALLOWED[role]


async def test_the_owner_is_a_member_and_stays(site: Site) -> None:
    assert await site.membership.role("w1", site.owner.id) is Role.OWNER
    with pytest.raises(Conflict):
        await site.membership.remove("w1", site.owner.id)
    assert [member.name for member in await site.membership.list("w1")] == ["Ada"]


async def test_a_guest_comes_and_goes(site: Site) -> None:
    invite, token = await site.membership.invite("w1", Role.EDITOR, site.owner.person)
    assert await site.membership.find_invite(token) == invite
    assert (invite.workspace_name, invite.invited_by) == ("One", "Ada")
    guest = await site.accounts.create_guest("Bob")
    assert await site.membership.role("w1", guest.id) is None
    assert await site.membership.accept(invite, guest.id) is Role.EDITOR
    assert await site.membership.role("w1", guest.id) is Role.EDITOR
    await site.membership.remove("w1", guest.id)
    assert await site.membership.role("w1", guest.id) is None
    with pytest.raises(NotFound):
        await site.membership.remove("w1", guest.id)


async def test_who_is_a_member_already_keeps_the_role(site: Site) -> None:
    invite, _ = await site.membership.invite("w1", Role.VIEWER, site.owner.person)
    assert await site.membership.accept(invite, site.owner.id) is Role.OWNER


async def test_accepting_twice_at_the_same_moment(site: Site) -> None:
    invite, _ = await site.membership.invite("w1", Role.EDITOR, site.owner.person)
    guest = await site.accounts.create_guest("Bob")
    accepting = [site.membership.accept(invite, guest.id) for _ in range(8)]
    assert set(await asyncio.gather(*accepting)) == {Role.EDITOR}


async def test_invitations_end(site: Site) -> None:
    invite, token = await site.membership.invite("w1", Role.EDITOR, site.owner.person)
    await site.membership.revoke_invite(invite.id)
    with pytest.raises(NotFound):
        await site.membership.find_invite(token)
    with pytest.raises(NotFound):
        await site.membership.get_invite(invite.id)
    _, token = await site.membership.invite("w1", Role.EDITOR, site.owner.person)
    async with site.database.begin() as db:
        await db.execute(update(invites).values(expires_at=1.0))
    with pytest.raises(NotFound):
        await site.membership.find_invite(token)
    assert await site.membership.list_invites("w1") == []
