"""Members of a workspace, by themselves and by the team that owns it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cloudide.errors import Conflict, Denied, NotFound, TooMany
from cloudide.identity import teams as teams_
from cloudide.identity.accounts import Accounts
from cloudide.identity.membership import Membership
from cloudide.identity.permissions import (
    ALLOWED,
    TEAM_ALLOWED,
    Action,
    Grant,
    Role,
    TeamAction,
    TeamGrant,
    TeamRole,
    role_in_workspace,
    strongest,
)
from cloudide.identity.teams import Teams
from cloudide.identity.users import User
from cloudide.storage.database import Database
from cloudide.workspaces.store import Store


class Site(NamedTuple):
    accounts: Accounts
    membership: Membership
    teams: Teams
    store: Store
    owner: User
    bob: User
    cleo: User


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    accounts = Accounts(database, "", 30)
    owner, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Ada")
    bob = await accounts.create("Bob", guest=True)
    cleo = await accounts.create("Cleo", guest=False)
    store = Store(database, per_user=2, per_team=2)
    await store.create("w1", "One", "base", owner.id, ("", ""))
    yield Site(accounts, Membership(database), Teams(database), store, owner, bob, cleo)
    await database.close()


def test_each_role_may_what_those_before_it_may() -> None:
    assert set(ALLOWED) == set(Role)
    assert ALLOWED[Role.VIEWER] == {Action.READ}
    assert ALLOWED[Role.EDITOR] == {Action.READ, Action.WRITE, Action.OPERATE}
    assert ALLOWED[Role.TERMINAL] == ALLOWED[Role.EDITOR] | {Action.EXECUTE}
    assert ALLOWED[Role.OWNER] == set(Action)
    for table, roles in ((ALLOWED, list(Role)), (TEAM_ALLOWED, list(TeamRole))):
        for lower, higher in itertools.pairwise(roles):
            assert table[lower] < table[higher]  # type: ignore[index]
    assert TEAM_ALLOWED[TeamRole.OWNER] == set(TeamAction)
    assert TeamAction.APPOINT not in TEAM_ALLOWED[TeamRole.MAINTAINER]


async def test_a_grant_is_what_its_role_allows(site: Site) -> None:
    for role in Role:
        grant = Grant(site.owner.person, "w1", role)
        assert {action for action in Action if grant.allows(action)} == ALLOWED[role]


def test_what_a_team_member_is_in_its_workspaces() -> None:
    assert role_in_workspace(TeamRole.OWNER, "") is Role.OWNER
    assert role_in_workspace(TeamRole.MAINTAINER, "viewer") is Role.OWNER
    assert role_in_workspace(TeamRole.MEMBER, "viewer") is Role.VIEWER
    assert role_in_workspace(TeamRole.MEMBER, "") is None
    assert strongest((None, Role.VIEWER, Role.TERMINAL, Role.EDITOR)) is Role.TERMINAL
    assert strongest((None, None)) is None


async def test_the_owner_is_a_member_and_stays(site: Site) -> None:
    assert await site.membership.role("w1", site.owner.id) is Role.OWNER
    for change in (
        site.membership.remove("w1", site.owner.id),
        site.membership.change("w1", site.owner.id, Role.VIEWER),
    ):
        with pytest.raises(Conflict):
            await change
    assert [member.name for member in await site.membership.list("w1")] == ["Ada"]


async def test_a_guest_comes_changes_and_goes(site: Site) -> None:
    bob = site.bob.id
    assert await site.membership.role("w1", bob) is None
    await site.membership.add("w1", bob, Role.EDITOR)
    await site.membership.add("w1", bob, Role.VIEWER)  # who is one already keeps the role
    assert await site.membership.role("w1", bob) is Role.EDITOR
    await site.membership.change("w1", bob, Role.TERMINAL)
    assert [(each.name, each.role, each.guest) for each in await site.membership.list("w1")] == [
        ("Ada", Role.OWNER, False),
        ("Bob", Role.TERMINAL, True),
    ]
    await site.membership.remove("w1", bob)
    assert await site.membership.role("w1", bob) is None
    with pytest.raises(NotFound):
        await site.membership.remove("w1", bob)
    with pytest.raises(NotFound):
        await site.membership.change("w1", bob, Role.VIEWER)


async def test_members_of_the_team_that_owns_a_workspace(site: Site) -> None:
    team = await site.teams.create("Crew", site.owner.id)
    await site.teams.add(team.id, site.cleo.id, TeamRole.MEMBER)
    await site.store.create("w2", "Two", "base", site.owner.id, ("", ""), team.id)
    roles = {user: await site.membership.role("w2", user) for user in (site.owner.id, site.cleo.id)}
    assert list(roles.values()) == [Role.OWNER, Role.TERMINAL]
    await site.store.describe("w2", name=None, team_role="viewer")
    assert await site.membership.role("w2", site.cleo.id) is Role.VIEWER
    # Being a member of the workspace itself adds to that, and never takes away.
    await site.membership.add("w2", site.cleo.id, Role.EDITOR)
    assert await site.membership.role("w2", site.cleo.id) is Role.EDITOR
    await site.store.describe("w2", name=None, team_role="")
    await site.membership.remove("w2", site.cleo.id)
    assert await site.membership.role("w2", site.cleo.id) is None
    assert [each.name for each in await site.membership.list("w2")] == ["Ada"]
    assert [each.id for each, _ in await site.store.of_user(site.cleo.id)] == []
    assert [(each.id, role) for each, role in await site.store.of_user(site.owner.id)] == [
        ("w2", Role.OWNER),
        ("w1", Role.OWNER),
    ]


async def test_a_workspace_is_given_away(site: Site) -> None:
    team = await site.teams.create("Crew", site.cleo.id)
    await site.store.give("w1", site.cleo.id, team.id)
    assert await site.membership.role("w1", site.owner.id) is Role.TERMINAL
    assert await site.membership.role("w1", site.cleo.id) is Role.OWNER
    await site.store.give("w1", site.owner.id, "")
    assert await site.membership.role("w1", site.owner.id) is Role.OWNER
    assert await site.membership.role("w1", site.cleo.id) is None
    assert (await site.store.get("w1")).team == ""


async def test_limits_of_people_and_teams(site: Site) -> None:
    team = await site.teams.create("Crew", site.owner.id)
    for number in range(2):
        await site.store.create(f"t{number}", "x", "base", site.owner.id, ("", ""), team.id)
    with pytest.raises(TooMany, match="The team owns 2"):
        await site.store.create("t2", "x", "base", site.owner.id, ("", ""), team.id)
    await site.store.create("w2", "x", "base", site.owner.id, ("", ""))
    with pytest.raises(TooMany, match="You own 2"):
        await site.store.create("w3", "x", "base", site.owner.id, ("", ""))
    with pytest.raises(TooMany):
        await site.store.give("w1", site.owner.id, team.id)
    assert (await site.store.get("w1")).team == ""  # nothing half-done
    assert {each.id for each in await site.store.all()} == {"w1", "w2", "t0", "t1"}


async def test_who_may_remove_whom_from_a_team(site: Site) -> None:
    team = (await site.teams.create("Crew", site.owner.id)).id
    grants = {
        role: TeamGrant(person.person, team, role)
        for role, person in (
            (TeamRole.OWNER, site.owner),
            (TeamRole.MAINTAINER, site.bob),
            (TeamRole.MEMBER, site.cleo),
        )
    }
    await site.teams.add(team, site.bob.id, TeamRole.MAINTAINER)
    await site.teams.add(team, site.cleo.id, TeamRole.MEMBER)
    assert not (await site.accounts.get(site.bob.id)).guest  # type: ignore[union-attr]
    with pytest.raises(Denied):
        await site.teams.remove(grants[TeamRole.MEMBER], site.bob.id)
    with pytest.raises(Denied):
        await site.teams.remove(grants[TeamRole.MAINTAINER], site.owner.id)
    with pytest.raises(NotFound):
        await site.teams.remove(grants[TeamRole.OWNER], "nobody")
    with pytest.raises(Conflict):
        await site.teams.remove(grants[TeamRole.OWNER], site.owner.id)
    with pytest.raises(Conflict):
        await site.teams.appoint(grants[TeamRole.OWNER], site.owner.id, TeamRole.MEMBER)
    assert len(await site.teams.members(team)) == 3
    await site.teams.remove(grants[TeamRole.MEMBER], site.cleo.id)  # anybody may leave
    await site.teams.appoint(grants[TeamRole.OWNER], site.bob.id, TeamRole.OWNER)
    await site.teams.remove(grants[TeamRole.OWNER], site.owner.id)
    assert [(each.name, each.role) for each in await site.teams.members(team)] == [
        ("Bob", TeamRole.OWNER)
    ]


async def test_a_team_that_owns_something_stays(site: Site) -> None:
    team = (await site.teams.create("Crew", site.owner.id)).id
    await site.store.give("w1", site.owner.id, team)
    with pytest.raises(Conflict, match="still owns 1 workspace"):
        await site.teams.delete(team)
    await site.store.give("w1", site.owner.id, "")
    await site.teams.delete(team)
    assert await site.teams.of_user(site.owner.id) == []


async def test_a_person_is_in_so_many_teams_and_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams_, "TEAMS_LIMIT", 1)
    monkeypatch.setattr(teams_, "MEMBERS_LIMIT", 1)
    team = (await site.teams.create("One", site.owner.id)).id
    with pytest.raises(TooMany):
        await site.teams.create("Two", site.owner.id)
    with pytest.raises(TooMany):
        await site.teams.add(team, site.cleo.id, TeamRole.MEMBER)
    assert [each.members for each in await site.teams.of_user(site.owner.id)] == [1]
