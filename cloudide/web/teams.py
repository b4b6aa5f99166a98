"""`/api/v1/teams`: teams, and who is in them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.identity.permissions import TeamGrant, TeamRole
from cloudide.identity.teams import Team, TeamMember
from cloudide.web.access import require_account
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.services import Services, services
from cloudide.web.workspaces import require_creating


class TeamName(msgspec.Struct):
    name: str


class TeamView(msgspec.Struct):
    """`role`: yours. `members` and `workspaces` are counted."""

    id: str
    name: str
    role: TeamRole
    members: int
    workspaces: int
    created_at: datetime


class TeamList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    teams: list[TeamView]
    next: str | None


class TeamMembers(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    members: list[TeamMember]
    next: str | None


class Appointment(msgspec.Struct):
    role: TeamRole


@describe(tag="teams", paged=MOST, HTTP_200=TeamList)
async def show_all(request: Request) -> Response:
    """Your teams; administrators see all."""
    user = request.state.caller.user
    found = await services(request).teams.of_user(user.id, everything=user.admin)
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(TeamList([_view(each) for each in page], following))


@describe(tag="teams", body=TeamName, HTTP_201=TeamView)
async def create(request: Request) -> Response:
    """Begin a team, which you own."""
    user = require_account(request)
    require_creating(request, user)
    body = await json_body(request, TeamName)
    team = await services(request).teams.create(body.name, user.id)
    request.state.audit["team"] = team.id
    return json_response(_view(team), 201, {"Location": f"/api/v1/teams/{team.id}"})


@describe(tag="teams", HTTP_200=TeamView)
async def show(request: Request) -> Response:
    return json_response(_view(await _team(request)))


@describe(tag="teams", body=TeamName, HTTP_200=TeamView)
async def rename(request: Request) -> Response:
    body = await json_body(request, TeamName)
    grant: TeamGrant = request.state.team_grant
    provided = services(request)
    await provided.teams.rename(grant.team, body.name)
    await provided.images.relearn_teams()
    await _retell(provided, grant.team)
    return json_response(_view(await _team(request)))


@describe(tag="teams", HTTP_204=None)
async def delete(request: Request) -> Response:
    """End a team that owns no workspace any longer."""
    grant: TeamGrant = request.state.team_grant
    await services(request).teams.delete(grant.team)
    return no_content()


@describe(tag="teams", paged=MOST, HTTP_200=TeamMembers)
async def members(request: Request) -> Response:
    grant: TeamGrant = request.state.team_grant
    found = await services(request).teams.members(grant.team)
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(TeamMembers([*page], following))


@describe(tag="teams", body=Appointment, HTTP_204=None)
async def appoint(request: Request) -> Response:
    """Give a member another role; it holds at once, in the team's workspaces too."""
    body = await json_body(request, Appointment)
    grant: TeamGrant = request.state.team_grant
    user = request.path_params["user"]
    request.state.audit["role"] = body.role
    provided = services(request)
    await provided.teams.appoint(grant, user, body.role)
    for workspace in await provided.teams.workspaces(grant.team):
        provided.live.renew(workspace=workspace, user=user)
    return no_content()


@describe(tag="teams", HTTP_204=None)
async def remove(request: Request) -> Response:
    """Take somebody out of the team, or leave it; sockets in its workspaces close at once."""
    grant: TeamGrant = request.state.team_grant
    user = request.path_params["user"]
    provided = services(request)
    await provided.teams.remove(grant, user)
    for workspace in await provided.teams.workspaces(grant.team):
        if await provided.membership.role(workspace, user) is None:
            provided.live.revoke(user=user, workspace=workspace)
        else:
            provided.live.renew(workspace=workspace, user=user)
    return no_content()


async def _team(request: Request) -> Team:
    grant: TeamGrant = request.state.team_grant
    user = request.state.caller.user
    found = await services(request).teams.of_user(user.id, everything=user.admin)
    return next(team for team in found if team.id == grant.team)


async def _retell(provided: Services, team: str) -> None:
    for workspace in await provided.teams.workspaces(team):
        await provided.supervisor.retell(workspace)


def _view(team: Team) -> TeamView:
    return TeamView(
        team.id,
        team.name,
        team.role,
        team.members,
        team.workspaces,
        datetime.fromtimestamp(team.created_at, UTC),
    )
