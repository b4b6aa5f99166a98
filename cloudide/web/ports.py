"""`/api/v1/workspaces/{id}/ports`: what listens, who may see it, and the way into its preview."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from cloudide.errors import CloudIDEError, Denied, InvalidInput, Unavailable
from cloudide.identity.permissions import Action, Grant
from cloudide.ports.sites import Target
from cloudide.ports.visibility import Sharing, Visibility
from cloudide.project.schema import PortTable
from cloudide.web import preview_pages
from cloudide.web.access import Caller, grant_for
from cloudide.web.bodies import json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.preview_door import may_see
from cloudide.web.services import Services, services

SIGN_IN_PATH = "/.cloudide/sign-in"  # on a preview's host, as are the others
LINK_PATH = "/.cloudide/link"
WAIT_PATH = "/.cloudide/wait"
# What `onAutoForward` comes to here.
ON_OPEN: dict[str, Literal["preview", "ignore"]] = {
    "openBrowser": "preview",
    "openBrowserOnce": "preview",
    "openPreview": "preview",
    "silent": "ignore",
    "ignore": "ignore",
}
PATH_LIMIT = 4096  # characters of where to go after signing in


class PortView(msgspec.Struct, omit_defaults=True):
    """`open`: something listens. `link` is there once: in the answer that made it. `label` and
    `on_open` (notify, preview, ignore) are what the project declares."""

    port: int
    open: bool
    visibility: Visibility
    url: str
    process: str = ""
    pid: int = 0
    expires_at: datetime | None = None
    link: str = ""
    label: str = ""
    on_open: str = "notify"


class PortList(msgspec.Struct):
    ports: list[PortView]


class PortChange(msgspec.Struct):
    visibility: Visibility


class Way(msgspec.Struct):
    """`url` works once, within 30 seconds."""

    url: str


def target_of(request: HTTPConnection) -> Target:
    """The port that a path names. Raises: InvalidInput: it is none."""
    text = request.path_params["port"]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise InvalidInput(f"{text[:20]!r} is not a TCP port; those are 1 to 65535.")
    return Target(int(text), request.path_params["workspace"])


def list_ports(provided: Services, workspace: str) -> list[PortView]:
    """What listens, and what is shared or declared although it does not listen now."""
    shared = provided.visibilities.all(workspace)
    listening = {port.port: port for port in provided.openings.list(workspace)}
    return [
        _view(provided, Target(number, workspace), shared.get(number, Sharing()))
        for number in sorted(
            shared.keys() | listening.keys() | _declared(provided, workspace).keys()
        )
    ]


def _view(provided: Services, target: Target, sharing: Sharing, link: str = "") -> PortView:
    opened = {port.port: port for port in provided.openings.list(target.workspace)}
    port = opened.get(target.port)
    sites = provided.sites
    public = sharing.visibility is Visibility.PUBLIC
    declared = _declared(provided, target.workspace).get(target.port, PortTable())
    return PortView(
        port=target.port,
        open=port is not None,
        visibility=sharing.visibility,
        url=f"{sites.origin(target)}/" if sites.host else "",
        process=port.command if port else "",
        pid=port.pid if port else 0,
        expires_at=datetime.fromtimestamp(sharing.expires_at, UTC) if public else None,
        link=link,
        label=declared.label,
        on_open=declared.on_open,
    )


def _declared(provided: Services, workspace: str) -> dict[int, PortTable]:
    """What the project says of ports: in `cloudide.toml`, or else in `devcontainer.json`."""
    announced = {
        port.port: PortTable(label=port.label, on_open=ON_OPEN.get(port.on_forward, "notify"))
        for port in provided.images.ports(workspace)
    }
    return {**announced, **provided.beside.ports(workspace)}


async def show_declared(provided: Services, workspace: str) -> None:
    """Show ports to those whom the project declares; those that anybody made public stay so."""
    shared = provided.visibilities.all(workspace)
    team = provided.supervisor.view(workspace)["team"]
    for port, table in provided.beside.ports(workspace).items():
        wanted = Visibility(table.visibility)
        if wanted is Visibility.TEAM and not team:
            wanted = Visibility.MEMBERS
        now = shared.get(port, Sharing()).visibility
        if now is not wanted and now is not Visibility.PUBLIC:
            await provided.visibilities.set(workspace, port, wanted)
    tell(provided, workspace)


@describe(tag="ports", HTTP_200=PortList)
async def show_all(request: Request) -> Response:
    """The ports that programs listen on, and those that are shared."""
    grant: Grant = request.state.grant
    return json_response(PortList(list_ports(services(request), grant.workspace)))


@describe(tag="ports", body=PortChange, HTTP_200=PortView)
async def change(request: Request) -> Response:
    """Say who may see a port; a public one gets a link that expires, and a former link ends."""
    body = await json_body(request, PortChange)
    grant: Grant = request.state.grant
    target = target_of(request)
    if body.visibility is Visibility.PUBLIC and not grant.allows(Action.SHARE):
        raise Denied("Only the owner of a workspace makes a port public; ask for it.")
    provided = services(request)
    _require_site(provided)
    team = provided.supervisor.view(grant.workspace)["team"]
    if body.visibility is Visibility.TEAM and not team:
        raise InvalidInput("No team owns this workspace; choose private, members or public.")
    request.state.audit["visibility"] = body.visibility
    sharing, secret = await provided.visibilities.set(
        target.workspace, target.port, body.visibility
    )
    link = f"{provided.sites.origin(target)}{LINK_PATH}#{secret}" if secret else ""
    tell(provided, target.workspace)
    return json_response(_view(provided, target, sharing, link))


@describe(tag="ports", HTTP_201=Way)
async def ticket(request: Request) -> Response:
    """An address that signs a browser in to the preview of a port."""
    url = await _way_in(request, request.state.caller, "/")
    return json_response(Way(url), 201)


@describe(
    tag="ports",
    query={"path": "where to in the preview"},
    gives="text/html",
    refuses="text/html",
    HTTP_303=None,
)
async def enter(request: Request) -> Response:
    """Send a browser on into a preview; the preview's host sends those here whom it does not know.

    Public as a route: somebody who is not signed in is sent to where they may.
    """
    target = target_of(request)
    caller: Caller | None = request.state.caller
    if caller is None:
        return RedirectResponse(f"/w/{quote(target.workspace)}", 303)
    path = request.query_params.get("path", "/")
    try:
        way = await _way_in(request, caller, path)
    except CloudIDEError as error:
        return preview_pages.page(error.status, error.title, error.message)
    return RedirectResponse(way, 303, {"Cache-Control": "no-store"})


async def _way_in(request: Request, caller: Caller, path: str) -> str:
    provided, target = services(request), target_of(request)
    _require_site(provided)
    if not await may_see(provided, caller.user, target):
        await grant_for(request, caller.user, target.workspace)  # or there is no such workspace
        raise Denied(
            f"Port {target.port} is private: those who may run programs in this workspace see it. "
            "Ask for it to be shown to all members."
        )
    secret = provided.passes.ticket(target, caller.user.id, caller.session, caller.user.limit)
    origin = provided.sites.origin(target)
    return f"{origin}{SIGN_IN_PATH}?ticket={secret}&path={quote(local_path(path), safe='')}"


def local_path(path: str) -> str:
    """A path that stays on its host, whatever was asked for (`//evil`, `/\\\\evil`)."""
    if (
        not path.startswith("/")
        or path[1:2] in ("/", "\\")
        or len(path) > PATH_LIMIT
        or not path.isascii()
        or not path.isprintable()
    ):
        return "/"
    return path


def _require_site(provided: Services) -> None:
    if not provided.sites.host:
        raise Unavailable(
            "This server has no address for previews. Its administrator sets preview_url to a site "
            "whose subdomains lead here."
        )


def tell(provided: Services, workspace: str) -> None:
    """Tell all who watch the workspace which ports there are now."""
    provided.feed.publish("ports", workspace, message(provided, workspace))


def message(provided: Services, workspace: str) -> dict[str, Any]:
    return {"ports": msgspec.to_builtins(list_ports(provided, workspace))}
