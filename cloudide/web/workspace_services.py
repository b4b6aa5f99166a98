"""`/api/v1/workspaces/{id}/services`: what runs beside a workspace, its state and its log."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.ports import show_declared
from cloudide.web.services import Services, services
from cloudide.workspaces.services import ServicesView


class ServiceLog(msgspec.Struct):
    log: str


@describe(tag="services", HTTP_200=ServicesView)
async def show_all(request: Request) -> Response:
    """The services that run beside the workspace, and what is wrong with their declaration."""
    grant: Grant = request.state.grant
    return json_response(services(request).beside.view(grant.workspace))


@describe(tag="services", HTTP_200=ServicesView)
async def apply(request: Request) -> Response:
    """Have the services, limits and ports that `cloudide.toml` declares now.

    Services that stay the same go on.
    """
    grant: Grant = request.state.grant
    view = await services(request).beside.apply(grant.workspace)
    request.state.audit["services"] = ", ".join(each.name for each in view.services)
    await show_declared(services(request), grant.workspace)
    return json_response(view)


@describe(tag="services", HTTP_200=ServicesView)
async def restart(request: Request) -> Response:
    """Begin one anew; its volume stays as it is."""
    grant: Grant = request.state.grant
    name = request.path_params["service"]
    return json_response(services(request).beside.restart(grant.workspace, name))


@describe(tag="services", HTTP_200=ServiceLog)
async def show_log(request: Request) -> Response:
    """The end of what a service printed: up to 1,000 lines and 256 KiB."""
    grant: Grant = request.state.grant
    log = await services(request).beside.log(grant.workspace, request.path_params["service"])
    return json_response(ServiceLog(log))


def message(provided: Services, workspace: str) -> dict[str, Any]:
    """What a page is told of them when it begins to watch."""
    return msgspec.to_builtins(provided.beside.view(workspace))
