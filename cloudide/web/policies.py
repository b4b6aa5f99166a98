"""`/api/v1/teams/{team}/policy`: what a team says of its workspaces."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.web.bodies import json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.workspaces.policies import Policy


@describe(tag="teams", HTTP_200=Policy)
async def show(request: Request) -> Response:
    """When running workspaces of the team are restarted for a newer version of their image."""
    return json_response(services(request).maintenance.policy(request.path_params["team"]))


@describe(tag="teams", body=Policy, HTTP_200=Policy)
async def change(request: Request) -> Response:
    """Say it anew, as a whole; people in workspaces that it restarts are told before."""
    body = await json_body(request, Policy)
    provided, team = services(request), request.path_params["team"]
    request.state.audit |= {"team": team, "policy": msgspec.to_builtins(body)}
    await provided.maintenance.set(team, body)
    for id in provided.supervisor.running():
        await provided.supervisor.retell(id)
    return json_response(body)
