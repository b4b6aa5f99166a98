"""`/api/v1/images`: what a workspace can be made from; stock images, and definitions of teams."""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, NotFound
from cloudide.identity.permissions import TeamAction
from cloudide.identity.users import User
from cloudide.images.definitions import Definition, Kind, Source, Updates
from cloudide.web.access import Caller, require_administrator, team_grant_of
from cloudide.web.bodies import chunks, json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.preconditions import etag, wanted_revision
from cloudide.web.services import Services, services

IF_MATCH = {"If-Match": "the ETag that it has to have still"}


class ImageView(msgspec.Struct, omit_defaults=True):
    """`id` is what a workspace is made from; of one that a team or the site defines, `reference`
    is too. `ready`: there is something to start from. `active`, `previous`, `canary`: numbers of
    versions. `may`: what the caller may do with it."""

    id: str
    title: str
    description: str
    ready: bool
    kind: str = "stock"
    reference: str = ""
    name: str = ""
    team: str = ""
    team_name: str = ""
    source: Source | None = None
    context: str = ""
    updates: str = ""
    active: int | None = None
    previous: int | None = None
    canary: int | None = None
    canary_percent: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    may: list[str] = []


class ImageList(msgspec.Struct):
    images: list[ImageView]


class NewImage(msgspec.Struct, forbid_unknown_fields=True):
    """Of a team, or, without one, of the site. `updates`: whether workspaces take a newer version
    at their next start, or when somebody asks for it."""

    name: str
    kind: Kind
    source: Source = Source()
    title: str = ""
    description: str = ""
    team: str = ""
    updates: Updates = Updates.RESTART


class ImageChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is absent stays as it is; versions that are there are what they were."""

    title: str | None = None
    description: str | None = None
    source: Source | None = None
    updates: Updates | None = None


class BuildSecret(msgspec.Struct, forbid_unknown_fields=True):
    value: str


class BuildSecretList(msgspec.Struct):
    names: list[str]


@describe(tag="images", HTTP_200=ImageList)
async def show_all(request: Request) -> Response:
    """The images that you may use: stock images, those of the site, those of your teams."""
    provided = services(request)
    stock = await provided.images.list_stock()
    views = [ImageView(each.id, each.title, each.description, each.ready) for each in stock]
    user: User = request.state.caller.user
    teams = await teams_of(provided, user)
    for definition in provided.images.usable(teams):
        views.append(view_of(definition, await may_of(request, definition)))
    return json_response(ImageList(views))


@describe(tag="images", body=NewImage, HTTP_201=ImageView)
async def create(request: Request) -> Response:
    """Define an image; upload its build context, if it is to have one, then build it."""
    body = await json_body(request, NewImage)
    request.state.audit |= {"team": body.team[:64], "name": body.name[:64]}
    await _require(request, body.team, TeamAction.CONFIGURE)
    user: User = request.state.caller.user
    provided = services(request)
    definition = provided.images.learn(
        await provided.images.definitions.create(
            team=body.team,
            name=body.name,
            title=body.title,
            description=body.description,
            kind=body.kind,
            source=body.source,
            updates=body.updates,
            by=user.id,
        )
    )
    request.state.audit["image"] = definition.id
    headers = {"Location": f"/api/v1/images/{definition.id}", "ETag": etag(definition.revision)}
    return json_response(view_of(definition, await may_of(request, definition)), 201, headers)


@describe(tag="images", HTTP_200=ImageView)
async def show(request: Request) -> Response:
    return await _answer(request, await readable(request))


@describe(tag="images", body=ImageChange, headers=IF_MATCH, HTTP_200=ImageView)
async def change(request: Request) -> Response:
    """Change what the next version is built from, or how it is called."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    body = await json_body(request, ImageChange)
    provided = services(request)
    changed = await provided.images.definitions.change(
        definition.id,
        title=body.title,
        description=body.description,
        source=body.source,
        updates=body.updates,
        revision=wanted_revision(request),
    )
    return await _answer(request, provided.images.learn(changed))


@describe(tag="images", HTTP_204=None)
async def delete(request: Request) -> Response:
    """Delete an image with its versions, if no workspace is made of it."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    await services(request).images.delete(definition.id)
    return no_content()


@describe(tag="images", takes="application/octet-stream", HTTP_200=ImageView)
async def upload(request: Request) -> Response:
    """The build context: a `.tar.gz`, `.tar` or `.zip`; all of it or nothing."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    provided, settings = services(request), services(request).settings
    contexts = provided.images.contexts
    handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=contexts.folder, prefix="upload-")
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in chunks(request, settings.upload_limit, settings.upload_stall):
                await asyncio.to_thread(file.write, chunk)
        # A .dockerignore says what a build sees; of a development container more is read.
        whole = definition.kind is Kind.DEVCONTAINER
        digest = await asyncio.to_thread(contexts.add, Path(name), whole=whole)
    finally:
        await asyncio.to_thread(_unlink, name)
    request.state.audit["context"] = digest
    return await _answer(request, await provided.images.keep_context(definition.id, digest))


@describe(tag="images", HTTP_200=BuildSecretList)
async def secret_names(request: Request) -> Response:
    """The build secrets of an image, without their values."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    names = await services(request).images.definitions.secret_names(definition.id)
    return json_response(BuildSecretList(names))


@describe(tag="images", body=BuildSecret, HTTP_204=None)
async def set_secret(request: Request) -> Response:
    """Keep a value, sealed, that builds may mount: `RUN --mount=type=secret,id=NAME`. It is in no
    layer of the image and in no log."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    body = await json_body(request, BuildSecret)
    user: User = request.state.caller.user
    await services(request).images.definitions.set_secret(
        definition.id, request.path_params["name"], body.value, user.id
    )
    return no_content()


@describe(tag="images", HTTP_204=None)
async def delete_secret(request: Request) -> Response:
    definition = await allowed(request, TeamAction.CONFIGURE)
    name = request.path_params["name"]
    await services(request).images.definitions.delete_secret(definition.id, name)
    return no_content()


class Collected(msgspec.Struct):
    images: int


@describe(tag="images", HTTP_200=Collected)
async def collect(request: Request) -> Response:
    """Remove from the engine what nothing uses; the server does it by itself every hour."""
    require_administrator(request)
    return json_response(Collected(await services(request).images.collect()))


# ── who may ─────────────────────────────────────────────────────────────────────────────────────


async def teams_of(provided: Services, user: User) -> set[str] | None:
    """The teams whose images somebody may use; None: all."""
    if user.admin:
        return None
    return {team.id for team in await provided.teams.of_user(user.id)}


async def readable(request: Request) -> Definition:
    """The image in the path, if the caller may know of it. Raises: NotFound."""
    provided = services(request)
    definition = await provided.images.definitions.get(request.path_params["image"])
    return await known_to(request, definition)


async def known_to(request: Request, definition: Definition) -> Definition:
    """Raises: NotFound: the caller may not know of it."""
    user: User = request.state.caller.user
    teams = await teams_of(services(request), user)
    if teams is not None and definition.team and definition.team not in teams:
        raise NotFound("There is no such image.")
    if hasattr(request.state, "audit"):
        request.state.audit |= {"image": definition.id, "team": definition.team}
    return definition


async def allowed(request: Request, action: TeamAction) -> Definition:
    """The image in the path, if the caller may do this. Raises: NotFound, Denied."""
    definition = await readable(request)
    await _require(request, definition.team, action)
    return definition


async def require_builder(request: Request, definition: Definition) -> None:
    """Raises: Denied: the caller may not build images of that team."""
    await _require(request, definition.team, TeamAction.CREATE)


async def may_of(request: Request, definition: Definition) -> list[str]:
    """`build` and `configure`, where they may."""
    found: list[str] = []
    for name, action in (("build", TeamAction.CREATE), ("configure", TeamAction.CONFIGURE)):
        try:
            await _require(request, definition.team, action)
        except (Denied, NotFound):
            continue
        found.append(name)
    return found


async def _require(request: Request, team: str, action: TeamAction) -> None:
    caller: Caller = request.state.caller
    if not team:
        require_administrator(request)
        return
    grant = await team_grant_of(services(request), caller.user, team)
    if not grant.allows(action):
        raise Denied(f"Your role in this team ({grant.role}) does not allow this.")


async def _answer(request: Request, definition: Definition) -> Response:
    view = view_of(definition, await may_of(request, definition))
    return json_response(view, headers={"ETag": etag(definition.revision)})


def view_of(definition: Definition, may: list[str]) -> ImageView:
    return ImageView(
        id=definition.id,
        title=definition.title,
        description=definition.description,
        ready=definition.active is not None,
        kind=definition.kind,
        reference=definition.reference,
        name=definition.name,
        team=definition.team,
        team_name=definition.team_name,
        source=definition.source,
        context=definition.context,
        updates=definition.updates,
        active=definition.active,
        previous=definition.previous,
        canary=definition.canary,
        canary_percent=definition.canary_percent,
        created_at=datetime.fromtimestamp(definition.created_at, UTC),
        created_by=definition.created_by,
        may=may,
    )


def _unlink(name: str) -> None:
    Path(name).unlink(missing_ok=True)
