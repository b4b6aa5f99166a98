"""`/api/v1/workspaces/{id}/setup`: the lifecycle commands of its development container."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.identity.permissions import Grant
from cloudide.images.devcontainer.setups import Run
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services


class SetupRuns(msgspec.Struct):
    """In the order in which they run, with the end of what each printed."""

    runs: list[Run]


@describe(tag="workspaces", HTTP_200=SetupRuns)
async def show(request: Request) -> Response:
    """The commands that set the workspace up, and what became of them."""
    grant: Grant = request.state.grant
    return json_response(SetupRuns(await services(request).setups.runs(grant.workspace)))


@describe(tag="workspaces", HTTP_202=SetupRuns)
async def again(request: Request) -> Response:
    """Run the command that failed once more, and those that follow it."""
    grant: Grant = request.state.grant
    setups = services(request).setups
    setups.again(grant.workspace)
    return json_response(SetupRuns(await setups.runs(grant.workspace)), 202)
