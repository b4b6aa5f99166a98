"""`WS /api/v1/workspaces/{id}/lsp/{language}`, and what is shown and done of language servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from cloudide.channel import Channel
from cloudide.identity.permissions import Grant
from cloudide.protocol.languages import Edited
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.sockets import Receive

FRAME_LIMIT = 16 * 1024 * 1024  # bytes of an editor's message: the text of a file, escaped
SEND_BUFFER = 512 * 1024  # bytes; a usual completion goes out in one go
RESTARTED, OVERLOADED = 1012, 1013  # after which a client comes back


class ServerView(msgspec.Struct):
    """`state`: stopped, starting, running, crashed (about to be started again) or failed; `detail`
    says why. `memory`: bytes that its processes have. `clients`: editors that use it."""

    id: str
    name: str
    version: str
    languages: list[str]
    command: list[str]
    builtin: bool
    state: str
    detail: str
    memory: int
    clients: int
    restarts: int


class ConfigurationProblem(msgspec.Struct):
    """`line` counts from 1; 0 where it is not known."""

    file: str
    message: str
    line: int


class LanguagesView(msgspec.Struct):
    """`root`: the URI of the workspace's folder. `extensions`: the language of each end of a name,
    or whole name. `problems`: what is wrong with the configuration of languages. `hints`: a command
    that brings a server, for each language that is known and has none."""

    root: str
    servers: list[ServerView]
    extensions: dict[str, str]
    problems: list[ConfigurationProblem]
    hints: dict[str, str]


class ServerLog(msgspec.Struct):
    text: str


@describe(tag="languages", HTTP_200=LanguagesView)
async def show_all(request: Request) -> Response:
    """The language servers of a workspace."""
    grant: Grant = request.state.grant
    return json_response(await services(request).languages.view(grant.workspace))


@describe(tag="languages", HTTP_200=ServerLog)
async def show_log(request: Request) -> Response:
    """The end of what a language server printed on stderr, or logged."""
    grant: Grant = request.state.grant
    server = request.path_params["server"]
    return json_response(ServerLog(await services(request).languages.log(grant.workspace, server)))


@describe(tag="languages", HTTP_200=LanguagesView)
async def restart(request: Request) -> Response:
    """Start a language server anew, as it is configured now."""
    grant: Grant = request.state.grant
    languages = services(request).languages
    await languages.restart(grant.workspace, request.path_params["server"])
    return json_response(await languages.view(grant.workspace))


@describe(tag="languages", HTTP_200=Edited)
async def undo(request: Request) -> Response:
    """Take back, as one step, an edit that a language server made for the same person."""
    edited = await services(request).languages.undo(
        request.state.grant, request.path_params["edit"]
    )
    return json_response(edited)


async def join(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of an editor: plain LSP, and what `protocol/languages.py` adds to it."""
    grant: Grant = websocket.state.grant

    def send(body: bytes) -> None:
        channel.send(body.decode())
        if channel.over_budget:
            channel.close(OVERLOADED, "You take messages too slowly; reconnect.")

    def restart() -> None:
        channel.close(RESTARTED, "The language server has started; reconnect.")

    session, leave = await services(websocket).languages.join(
        grant, websocket.path_params["language"], send, restart
    )

    async def end() -> None:
        leave()

    return session.receive, end
