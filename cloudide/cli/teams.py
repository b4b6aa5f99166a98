"""`cloudide team …`: who works together."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudide.cli.output import Output
from cloudide.cli.people import user_id
from cloudide.cli.remotely import Yes, confirmed, remotely
from cloudide.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

team = typer.Typer(no_args_is_help=True, help="Teams, which own workspaces together.")

TEAMS = "/api/v1/teams"
TeamName = Annotated[str, typer.Argument(help="Id or name of a team.")]


class TeamRole(StrEnum):
    MEMBER = "member"
    MAINTAINER = "maintainer"
    OWNER = "owner"


@team.command("list")
@remotely
def list_teams(remote: Remote, out: Output) -> None:
    """List your teams."""
    out.rows(remote.list(TEAMS, "teams"), "name", "id", "role", "members", "workspaces")


@team.command("create")
@remotely
def create(
    remote: Remote, out: Output, name: Annotated[str, typer.Argument(help="What to call it.")]
) -> None:
    """Make a team, which you own."""
    out.one(remote.post(TEAMS, {"name": name}))


@team.command("members")
@remotely
def members(remote: Remote, out: Output, team: TeamName) -> None:
    """List who is in a team."""
    found = remote.list(f"{TEAMS}/{team_id(remote, team)}/members", "members")
    out.rows(found, "name", "id", "role")


@team.command("appoint")
@remotely
def appoint(
    remote: Remote,
    out: Output,
    team: TeamName,
    user: Annotated[str, typer.Argument(help="Id of somebody; administrators: or a name.")],
    role: Annotated[TeamRole, typer.Argument(help="What they are there.")] = TeamRole.MEMBER,
) -> None:
    """Put somebody into a team, or give them another role there."""
    id = team_id(remote, team)
    remote.put_json(f"{TEAMS}/{id}/members/{_person(remote, id, user)}", {"role": role})
    out.said(f"{user} is {role} of {team}.", team=id, role=role)


@team.command("remove")
@remotely
def remove(
    remote: Remote,
    out: Output,
    team: TeamName,
    user: Annotated[str, typer.Argument(help="Id or name of a member.")],
) -> None:
    """Take somebody out of a team; what they had through it ends at once."""
    id = team_id(remote, team)
    remote.delete(f"{TEAMS}/{id}/members/{_person(remote, id, user)}")
    out.said(f"{user} is out of {team}.", team=id)


@team.command("delete")
@remotely
def delete(remote: Remote, out: Output, team: TeamName, yes: Yes = False) -> None:
    """Disband a team."""
    id = team_id(remote, team)
    confirmed(yes, f"Disband the team {team!r}?")
    remote.delete(f"{TEAMS}/{id}")
    out.said(f"{team} is disbanded.", id=id)


def team_id(remote: Remote, named: str) -> str:
    """Raises: NotFound: you know of no such team. InvalidInput: several have that name."""
    found: list[dict[str, Any]] = remote.list(TEAMS, "teams")
    for field in ("id", "name"):
        ids = [each["id"] for each in found if each[field] == named]
        if len(ids) > 1:
            raise InvalidInput(f"Several teams are called {named!r}; use one of {ids}.")
        if ids:
            return ids[0]
    raise NotFound(f"There is no team {named!r} of yours; see `cloudide team list`.")


def _person(remote: Remote, team: str, named: str) -> str:
    """The id of a member, by their id or name, or of anybody whom the server lets you find."""
    members = remote.list(f"{TEAMS}/{team}/members", "members")
    ids = [each["id"] for each in members if named in (each["id"], each["name"])]
    return ids[0] if len(ids) == 1 else user_id(remote, named)
