"""What belongs to a workspace, a team or the site, and who may arrange it: webhooks and secrets."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from cloudide.errors import Denied, InvalidInput
from cloudide.identity.permissions import Action, TeamAction
from cloudide.identity.users import User
from cloudide.web.access import (
    Caller,
    grant_for,
    require_administrator,
    team_grant_of,
)
from cloudide.web.services import services


async def may_arrange(connection: HTTPConnection, *, workspace: str = "", team: str = "") -> User:
    """Let in who may share the workspace, configures the team, or administers the site.

    Raises:
        Denied: they may not. NotFound: they may not know that it exists. InvalidInput: both.
    """
    caller: Caller = connection.state.caller
    if workspace and team:
        raise InvalidInput("Name a workspace or a team, not both.", pointer="/team")
    if workspace:
        grant = await grant_for(connection, caller.user, workspace)
        if not grant.allows(Action.SHARE):
            raise Denied("Only who may share this workspace may do this.")
    elif team:
        await may_configure(connection, team)
    else:
        require_administrator(connection)
    return caller.user


async def may_configure(connection: HTTPConnection, team: str) -> None:
    """Raises: NotFound: there is no such team, or the caller is not in it. Denied."""
    caller: Caller = connection.state.caller
    grant = await team_grant_of(services(connection), caller.user, team)
    if not grant.allows(TeamAction.CONFIGURE):
        raise Denied("Only maintainers and owners of this team may do this.")


async def is_in_team(connection: HTTPConnection, team: str) -> bool:
    """Whether the caller may know what happens in a team."""
    caller: Caller = connection.state.caller
    return await services(connection).teams.role(team, caller.user.id) is not None
