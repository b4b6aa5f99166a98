"""`/api/v1/images/{image}/versions`: what was built, and which one workspaces get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import NotFound
from cloudide.identity.permissions import Grant, TeamAction
from cloudide.images.definitions import Definition
from cloudide.images.releases import Version
from cloudide.web.bodies import json_body, json_response
from cloudide.web.images import ImageView, allowed, may_of, readable, view_of
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.workspaces import WorkspaceView, view_for
from cloudide.workspaces.lifecycle import Desired


class VersionView(msgspec.Struct):
    """`state`: draft, building, built, checked, active or retired. `digest`: of what it was made
    from. `image_id`: on the engine, "" where it is gone. `share`: percent of new workspaces that
    get it. `workspaces`: how many are made of it."""

    number: int
    state: str
    digest: str
    image_id: str
    size: int
    error: str
    share: int
    workspaces: int
    made_from: dict[str, Any]
    security: dict[str, Any] | None
    created_at: datetime
    created_by: str
    built_at: datetime | None
    activated_at: datetime | None


class VersionList(msgspec.Struct):
    """The newest first."""

    versions: list[VersionView]


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """`percent` of the new workspaces get it: 100 all, and the others are told; less is a trial;
    0 ends one."""

    percent: int = 100


class UpdateWanted(msgspec.Struct, forbid_unknown_fields=True):
    """`restart`: at once, instead of at the next start."""

    restart: bool = False


@describe(tag="images", HTTP_200=VersionList)
async def show_all(request: Request) -> Response:
    """The versions of an image."""
    definition = await readable(request)
    found = await services(request).images.releases.of(definition.id)
    return json_response(VersionList([_view(definition, each) for each in found]))


@describe(tag="images", HTTP_200=VersionView)
async def show(request: Request) -> Response:
    definition = await readable(request)
    number = _number(request)
    version = await services(request).images.releases.get(definition.id, number)
    return json_response(_view(definition, version))


@describe(tag="images", body=Promotion, HTTP_200=ImageView)
async def promote(request: Request) -> Response:
    """Put a version in use, or try it out with a share of the new workspaces."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    number = _number(request)
    body = await json_body(request, Promotion)
    request.state.audit["percent"] = body.percent
    releases = services(request).images.releases
    if body.percent == 100:
        changed = await releases.promote(definition.id, number)
    else:
        changed = await releases.try_out(definition.id, number, body.percent)
    return await _changed(request, changed)


@describe(tag="images", HTTP_200=ImageView)
async def roll_back(request: Request) -> Response:
    """Put the version in use again that was before this one."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    changed = await services(request).images.releases.roll_back(definition.id)
    request.state.audit["version"] = changed.active
    return await _changed(request, changed)


@describe(tag="images", HTTP_200=VersionView)
async def retire(request: Request) -> Response:
    """Give a version to nobody new; workspaces that have it keep it until they take another."""
    definition = await allowed(request, TeamAction.CONFIGURE)
    version = await services(request).images.releases.retire(definition.id, _number(request))
    return json_response(_view(definition, version))


@describe(tag="images", HTTP_200=VersionView)
async def look(request: Request) -> Response:
    """Ask a version for its packages and their pending updates, which takes up to some minutes; it
    is done after each build and daily anyway."""
    definition = await allowed(request, TeamAction.CREATE)
    images, number = services(request).images, _number(request)
    await images.looks.look(definition, await images.releases.get(definition.id, number))
    return json_response(_view(definition, await images.releases.get(definition.id, number)))


@describe(tag="images", gives="application/spdx+json", HTTP_200=None)
async def bill_of_materials(request: Request) -> Response:
    """The packages of a version: SPDX 2.3 as JSON."""
    definition = await readable(request)
    content = await services(request).images.looks.bill(definition.id, _number(request))
    name = f"{definition.name}-{request.path_params['version']}.spdx.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type="application/spdx+json")


@describe(tag="workspaces", body=UpdateWanted, HTTP_202=WorkspaceView)
async def update_workspace(request: Request) -> Response:
    """Take the newest version of the image: at the next start, or at once."""
    body = await json_body(request, UpdateWanted)
    grant: Grant = request.state.grant
    provided = services(request)
    await provided.images.want_update(grant.workspace)
    if body.restart:
        await provided.supervisor.want(grant.workspace, Desired.RUNNING, anew=True)
    else:
        await provided.supervisor.retell(grant.workspace)
    return json_response(view_for(provided, grant), 202)


async def _changed(request: Request, definition: Definition) -> Response:
    services(request).images.learn(definition)
    return json_response(view_of(definition, await may_of(request, definition)))


def _number(request: Request) -> int:
    """Raises: NotFound: it is no number, so that there is no such version."""
    text = request.path_params["version"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound(f"There is no version {text[:40]!r} of this image.")
    if hasattr(request.state, "audit"):
        request.state.audit["version"] = int(text)
    return int(text)


def _view(definition: Definition, version: Version) -> VersionView:
    share = definition.canary_percent if definition.canary == version.number else 0
    if definition.active == version.number:
        share = 100 - definition.canary_percent
    return VersionView(
        number=version.number,
        state=version.state,
        digest=version.inputs,
        image_id=version.engine_id,
        size=version.size,
        error=version.error,
        share=share,
        workspaces=version.workspaces,
        made_from=version.made_from,
        security=version.security or None,
        created_at=_when(version.created_at),
        created_by=version.created_by,
        built_at=_when(version.built_at) if version.built_at else None,
        activated_at=_when(version.activated_at) if version.activated_at else None,
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
