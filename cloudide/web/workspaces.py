"""`/api/v1/workspaces`: make, list, start, stop, restart, delete, fill from an archive."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied
from cloudide.identity.permissions import Grant, Role
from cloudide.identity.users import User
from cloudide.web.bodies import chunks, json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.services import Services, services
from cloudide.workspaces.lifecycle import Desired, State


class Git(msgspec.Struct):
    url: str
    ref: str = ""


class NewWorkspace(msgspec.Struct):
    name: str
    image: str
    git: Git | None = None


class WorkspaceView(msgspec.Struct):
    id: str
    name: str
    image: str
    state: State
    desired_state: Desired
    owner: str
    owner_name: str
    role: str
    created_at: datetime
    error: str | None = None
    stopped_by: str | None = None  # "idle": nobody used it


class WorkspaceList(msgspec.Struct):
    workspaces: list[WorkspaceView]


class Unpacked(msgspec.Struct):
    entries: int
    bytes: int


async def list_for(provided: Services, user: User) -> list[dict[str, Any]]:
    """The workspaces somebody may open, as the API shows them; administrators may open all."""
    if user.admin:
        found = [(workspace, Role.OWNER) for workspace in await provided.store.all()]
    else:
        found = await provided.store.of_user(user.id)
    only = user.limit.workspace if user.limit is not None else ""
    return [
        {**provided.supervisor.view(workspace.id), "role": role}
        for workspace, role in found
        if provided.supervisor.exists(workspace.id) and only in ("", workspace.id)
    ]


def view_for(provided: Services, grant: Grant) -> dict[str, Any]:
    return {**provided.supervisor.view(grant.workspace), "role": grant.role}


@describe(tag="workspaces", HTTP_200=WorkspaceList)
async def show_all(request: Request) -> Response:
    """The workspaces you may open."""
    user = request.state.caller.user
    return json_response({"workspaces": await list_for(services(request), user)})


@describe(tag="workspaces", body=NewWorkspace, HTTP_201=WorkspaceView)
async def create(request: Request) -> Response:
    """Begin a workspace, empty or from a Git repository; it starts by itself."""
    user = request.state.caller.user
    if not user.admin:
        raise Denied("Only an administrator of this server creates workspaces; ask for one.")
    body = await json_body(request, NewWorkspace)
    provided = services(request)
    git = body.git or Git("")
    workspace = await provided.supervisor.create(user.id, body.name, body.image, git.url, git.ref)
    request.state.audit |= {"workspace": workspace.id, "image": body.image}
    view = {**provided.supervisor.view(workspace.id), "role": "owner"}
    return json_response(view, 201, {"Location": f"/api/v1/workspaces/{workspace.id}"})


@describe(tag="workspaces", HTTP_200=WorkspaceView)
async def show(request: Request) -> Response:
    return json_response(view_for(services(request), request.state.grant))


@describe(tag="workspaces", HTTP_202=WorkspaceView)
async def start(request: Request) -> Response:
    return await _want(request, Desired.RUNNING)


@describe(tag="workspaces", HTTP_202=WorkspaceView)
async def stop(request: Request) -> Response:
    """Stop the container; files and home stay."""
    return await _want(request, Desired.STOPPED)


@describe(tag="workspaces", HTTP_202=WorkspaceView)
async def restart(request: Request) -> Response:
    """Replace the container by a new one; files and home stay."""
    return await _want(request, Desired.RUNNING, anew=True)


@describe(tag="workspaces", HTTP_202=WorkspaceView)
async def delete(request: Request) -> Response:
    """Delete the workspace with all its files."""
    return await _want(request, Desired.DELETED)


async def _want(request: Request, desired: Desired, *, anew: bool = False) -> Response:
    grant: Grant = request.state.grant
    provided = services(request)
    await provided.supervisor.want(grant.workspace, desired, anew=anew)
    return json_response(view_for(provided, grant), 202)


@describe(tag="workspaces", HTTP_200=Unpacked)
async def unpack(request: Request) -> Response:
    """Unpack a `.tar.gz`, `.tar` or `.zip` body into the workspace; all of it or nothing."""
    provided, settings = services(request), services(request).settings
    grant: Grant = request.state.grant
    done = await provided.agents.agent(grant.workspace).unpack(
        chunks(request, settings.upload_limit, settings.upload_stall),
        "",
        settings.upload_limit,
        max_entries=settings.unpack_entries,
        max_bytes=settings.unpack_limit,
    )
    return json_response(Unpacked(done.entries, done.bytes))
