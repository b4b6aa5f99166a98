"""`/api/v1/workspaces/{id}/guess`: which stock image would suit what lies in a workspace."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cloudide.identity.permissions import Grant
from cloudide.project.guess import Guess, guess
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services


@describe(tag="workspaces", HTTP_200=Guess)
async def show(request: Request) -> Response:
    """A guess from the names of its files, for a project that says nothing itself, and why."""
    grant: Grant = request.state.grant
    listed = await services(request).agents.agent(grant.workspace).list()
    return json_response(guess({entry.path for entry in listed.entries}))
