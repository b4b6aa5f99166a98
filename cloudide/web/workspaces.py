"""`/api/v1/workspaces`: make, list, start, stop, restart, delete, fill from an archive."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, InvalidInput, NotFound
from cloudide.identity.permissions import Grant, Role, TeamAction
from cloudide.identity.users import User
from cloudide.web.access import grant_for, require_account, team_grant_of
from cloudide.web.bodies import chunks, json_body, json_response, no_content
from cloudide.web.images import teams_of
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.preconditions import tagged
from cloudide.web.services import Services, services
from cloudide.workspaces.lifecycle import Desired, State


class Git(msgspec.Struct):
    url: str
    ref: str = ""


class NewWorkspace(msgspec.Struct):
    """`team`: whose it is; "" for your own. `image` "": the one that the project's `cloudide.toml`
    asks for, or `base`."""

    name: str
    image: str = ""
    git: Git | None = None
    team: str = ""


class WorkspaceChange(msgspec.Struct):
    """What is absent stays as it is.

    `team_role`: what plain members of the team that owns it are here, "" for nothing. It is given
    away by `team`, one of your own, or by `owner`, somebody who is a member of it. With another
    `image` one that runs is restarted.
    """

    name: str | None = None
    image: str | None = None
    team_role: Literal["", "viewer", "editor", "terminal"] | None = None
    team: str | None = None
    owner: str | None = None


class ImageUpdate(msgspec.Struct):
    """`at_start`: it is taken at the next start; else it has to be asked for. `forced_at`: the
    workspace is restarted with it then, in its team's maintenance window."""

    version: int
    at_start: bool
    forced_at: datetime | None = None


class SetupState(msgspec.Struct):
    """Of the commands of its development container. `ready`: those that are to be waited for are
    done. `hook`: what runs now, or failed."""

    state: Literal["running", "done", "failed"]
    ready: bool
    hook: str


class WorkspaceView(msgspec.Struct):
    id: str
    name: str
    image: str
    state: State
    desired_state: Desired
    owner: str
    owner_name: str
    team: str
    team_name: str
    team_role: str
    role: str
    created_at: datetime
    image_version: int | None = None  # of the image, where a team or the site defines it
    update: ImageUpdate | None = None  # there is a newer version
    setup: SetupState | None = None
    error: str | None = None
    stopped_by: str | None = None  # "idle": nobody used it


class WorkspaceList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    workspaces: list[WorkspaceView]
    next: str | None


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


@describe(
    tag="workspaces",
    headers={"If-None-Match": "the ETag of what is known already"},
    paged=MOST,
    HTTP_200=WorkspaceList,
    HTTP_304=None,
)
async def show_all(request: Request) -> Response:
    """The workspaces you may open."""
    user = request.state.caller.user
    found = await list_for(services(request), user)
    page, following = slice_of(request, found, lambda each: each["id"])
    return tagged(request, json_response({"workspaces": page, "next": following}))


@describe(tag="workspaces", body=NewWorkspace, HTTP_201=WorkspaceView)
async def create(request: Request) -> Response:
    """Begin a workspace, empty or from a Git repository; it starts by itself."""
    user = require_account(request)
    body = await json_body(request, NewWorkspace)
    provided = services(request)
    if body.team:
        await _require_team(provided, user, body.team)
    else:
        require_creating(request, user)
    git = body.git or Git("")
    # What a team owns is made of images that all its members may use.
    teams = {body.team} if body.team else await teams_of(provided, user)
    image = provided.images.resolve(body.image, teams) if body.image else ""
    workspace = await provided.supervisor.create(
        user.id, body.name, image, git.url, git.ref, body.team
    )
    request.state.audit |= {"workspace": workspace.id, "image": body.image}
    view = view_for(provided, await grant_for(request, user, workspace.id))
    return json_response(view, 201, {"Location": f"/api/v1/workspaces/{workspace.id}"})


@describe(tag="workspaces", HTTP_200=WorkspaceView)
async def show(request: Request) -> Response:
    return json_response(view_for(services(request), request.state.grant))


@describe(tag="workspaces", body=WorkspaceChange, HTTP_200=WorkspaceView, HTTP_204=None)
async def change(request: Request) -> Response:
    """Rename a workspace, say what the team's members may, or give it away; it holds at once."""
    body = await json_body(request, WorkspaceChange)
    grant: Grant = request.state.grant
    provided, id = services(request), grant.workspace
    user: User = request.state.caller.user
    if body.team is not None and body.owner is not None:
        raise InvalidInput("A workspace is given to a team or to a person, not to both.")
    request.state.audit |= {
        name: value for name, value in msgspec.to_builtins(body).items() if value is not None
    }
    await provided.supervisor.describe(id, name=body.name, team_role=body.team_role)
    if body.team:
        await _require_team(provided, user, body.team)
        await provided.supervisor.give(id, user.id, body.team)
    elif body.owner or body.team == "":
        owner = await provided.accounts.get(body.owner or user.id)
        if owner is None or owner.guest or await provided.membership.role(id, owner.id) is None:
            raise InvalidInput("owner: this is nobody who is a member here and has an account.")
        await provided.supervisor.give(id, owner.id)
    if body.image is not None:
        # By whoever changes it, among those that the workspace's people may use.
        row = await provided.store.get(id)
        teams = {row.team} if row.team else await teams_of(provided, user)
        await provided.supervisor.reimage(id, provided.images.resolve(body.image, teams))
    if body.team is not None or body.owner is not None or body.team_role is not None:
        provided.live.renew(workspace=id)
    try:
        return json_response(view_for(provided, await grant_for(request, user, id)))
    except NotFound:
        return no_content()  # they gave it away whole


def require_creating(request: Request, user: User) -> None:
    """Raises: Denied: only administrators create things here."""
    if not (user.admin or services(request).settings.people_create):
        raise Denied("Only administrators of this server do this (setting people_create).")


async def _require_team(provided: Services, user: User, team: str) -> None:
    """Raises: NotFound, Denied: they may not create workspaces for that team."""
    if not (await team_grant_of(provided, user, team)).allows(TeamAction.CREATE):
        raise Denied("Your role in this team does not allow this.")


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
