"""`/api/v1/workspaces/{id}/terminals` and the socket of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from cloudide.channel import Channel
from cloudide.identity.permissions import Grant, Person
from cloudide.protocol.terminal import TypingMode
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.files import clean_path
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.sockets import Receive
from cloudide.workspaces.activity import HOLD_LIMIT


class NewTerminal(msgspec.Struct):
    """`command` empty: the user's login shell. `cwd` is relative to the workspace. `secrets`: what
    it asks for, as tasks do; with one of your own, only you type in it."""

    cols: int = 80
    rows: int = 24
    command: list[str] = []
    cwd: str = ""
    secrets: list[str] = []


class Configuration(msgspec.Struct):
    """`typing`: "everyone", "owner" (only who sets this), or "approve" (others write, and only the
    owner's Enter runs it)."""

    typing: TypingMode


class TerminalView(msgspec.Struct):
    """`cwd`: where it was started; `directory`: where its foreground program is. `foreground`: the
    command line of that, "" while it is the shell. `bells` counts. `typed`: who typed, the last
    one first."""

    id: str
    title: str
    command: list[str]
    cwd: str
    cols: int
    rows: int
    viewers: int
    directory: str
    foreground: str
    bells: int
    owner: Person | None
    typing: TypingMode
    typed: list[dict[str, Any]]
    recording: dict[str, Any] | None
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
    if body.command:
        request.state.audit["program"] = body.command[0][:HOLD_LIMIT]
    cwd = clean_path(body.cwd)
    delivery = services(request).secret_delivery
    declared = services(request).beside.of_workspace(grant.workspace).secrets
    given = await delivery.give(grant, body.secrets, "terminal", offered=declared)
    view = await services(request).terminals.create(
        grant, body.cols, body.rows, body.command, cwd, given
    )
    return json_response(view, 201)


@describe(tag="terminals", HTTP_204=None)
async def delete(request: Request) -> Response:
    """End the terminal and whatever runs in it."""
    grant: Grant = request.state.grant
    await services(request).terminals.close(grant.workspace, request.path_params["terminal"])
    return no_content()


@describe(tag="terminals", body=Configuration, HTTP_200=TerminalView)
async def configure(request: Request) -> Response:
    """Say who may type; whoever says so is the terminal's owner from then on."""
    body = await json_body(request, Configuration)
    grant: Grant = request.state.grant
    view = await services(request).terminals.configure(
        grant, request.path_params["terminal"], body.typing
    )
    return json_response(view)


@describe(tag="terminals", HTTP_201=TerminalView)
async def record(request: Request) -> Response:
    """Begin to record what the terminal shows; a former recording of it goes."""
    grant: Grant = request.state.grant
    view = services(request).terminals.record(grant, request.path_params["terminal"])
    return json_response(view, 201)


@describe(tag="terminals", HTTP_204=None)
async def end_recording(request: Request) -> Response:
    """Stop recording; what was recorded can be downloaded until it is deleted."""
    grant: Grant = request.state.grant
    services(request).terminals.end_recording(grant.workspace, request.path_params["terminal"])
    return no_content()


@describe(tag="terminals", HTTP_204=None)
async def delete_recording(request: Request) -> Response:
    grant: Grant = request.state.grant
    services(request).terminals.delete_recording(grant.workspace, request.path_params["terminal"])
    return no_content()


@describe(tag="terminals", gives="application/x-asciicast", HTTP_200=None)
async def download_recording(request: Request) -> Response:
    """The recording in asciicast v2, as far as it has come."""
    grant: Grant = request.state.grant
    terminal = request.path_params["terminal"]
    recording = services(request).terminals.recording(grant.workspace, terminal)
    disposition = f'attachment; filename="{grant.workspace}-{terminal}.cast"'
    return Response(
        recording.content(),
        media_type="application/x-asciicast",
        headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
    )


async def look(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of one terminal; see `protocol/terminal.py`."""
    grant: Grant = websocket.state.grant
    viewer = services(websocket).terminals.attach(grant, websocket.path_params["terminal"], channel)
    return viewer.receive, viewer.leave
