"""`/api/v1/workspaces/{id}/terminals` and the socket of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from cloudide.channel import Channel
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.files import clean_path
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.sockets import Receive


class NewTerminal(msgspec.Struct):
    """`command` empty: the user's login shell. `cwd` is relative to the workspace."""

    cols: int = 80
    rows: int = 24
    command: list[str] = []
    cwd: str = ""


class TerminalView(msgspec.Struct):
    id: str
    title: str
    command: list[str]
    cwd: str
    cols: int
    rows: int
    viewers: int
    exit: dict[str, Any] | None = None


class TerminalList(msgspec.Struct):
    terminals: list[TerminalView]


@describe(tag="terminals", HTTP_200=TerminalList)
async def show_all(request: Request) -> Response:
    grant: Grant = request.state.grant
    return json_response({"terminals": services(request).terminals.list(grant.workspace)})


@describe(tag="terminals", body=NewTerminal, HTTP_201=TerminalView)
async def create(request: Request) -> Response:
    """Open a terminal; it lives until its program ends or it is deleted."""
    body = await json_body(request, NewTerminal)
    grant: Grant = request.state.grant
    view = await services(request).terminals.create(
        grant.workspace, body.cols, body.rows, body.command, clean_path(body.cwd)
    )
    return json_response(view, 201)


@describe(tag="terminals", HTTP_204=None)
async def delete(request: Request) -> Response:
    """End the terminal and whatever runs in it."""
    grant: Grant = request.state.grant
    await services(request).terminals.close(grant.workspace, request.path_params["terminal"])
    return no_content()


async def look(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of one terminal; see `protocol/terminal.py`."""
    grant: Grant = websocket.state.grant
    viewer = services(websocket).terminals.attach(grant, websocket.path_params["terminal"], channel)
    return viewer.receive, viewer.leave
