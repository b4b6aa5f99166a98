"""`WS /api/v1/events`: one socket for everything a page watches; `…/events`: the same for scripts.

A page says what it watches and gets the present state at once, then every change. Browsers allow
six connections to a host over HTTP/1.1, so a page has one socket for all of it; scripts get
server-sent events of one workspace (HTML Living Standard, section 9.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from cloudide.channel import Channel, Frame
from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.identity.permissions import Action, Grant
from cloudide.web import people, ports, workspace_services
from cloudide.web.access import Caller, InWorkspace, admit_live, grant_for
from cloudide.web.attendance import Attendant
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.sockets import Receive
from cloudide.web.workspaces import list_for, view_for
from cloudide.workspaces.feed import LAGGED, Event, Watcher

_log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 15.0


class PageMessage(msgspec.Struct, tag_field="type"):
    """Base of what a page sends."""


class Watch(PageMessage, tag="watch"):
    workspace: str = ""
    workspaces: bool = False


class Unwatch(PageMessage, tag="unwatch"):
    workspace: str


class Here(PageMessage, tag="here"):
    """Which file the person looks at."""

    workspace: str
    path: str | None = None


class Ping(PageMessage, tag="ping"):
    pass


Message = Watch | Unwatch | Here | Ping
_decoder = msgspec.json.Decoder(Message)


class _Page:
    """One page's socket."""

    def __init__(self, websocket: WebSocket, channel: Channel, watcher: Watcher) -> None:
        self._websocket = websocket
        self._services = services(websocket)
        self._caller: Caller = websocket.state.caller
        self._channel = channel
        self._watcher = watcher
        self._attendants: dict[str, Attendant] = {}
        self._telling = asyncio.create_task(self._tell())

    async def receive(self, frame: Frame) -> None:
        try:
            message = _decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"The message was not understood: {error}") from error
        match message:
            case Watch(workspaces=True):
                self._watcher.all = True
                await self._send_list()
            case Watch(workspace):
                await self._watch(workspace)
            case Unwatch(workspace):
                self._unwatch(workspace)
            case Here(workspace, path):
                if attendant := self._attendants.get(workspace):
                    self._services.attendance.move(attendant, path)
            case Ping():
                self._send({"type": "pong"})

    async def leave(self) -> None:
        self._telling.cancel()
        for workspace in list(self._attendants):
            self._unwatch(workspace)
        self._watcher.close()

    async def _watch(self, workspace: str) -> None:
        try:
            grant = await grant_for(self._websocket, self._caller.user, workspace)
        except CloudIDEError as error:
            self._send({"type": "error", "workspace": workspace, "detail": error.message})
            return
        self._watcher.workspaces.add(workspace)
        if workspace not in self._attendants:
            self._attendants[workspace] = self._services.attendance.enter(grant)
            if grant.allows(Action.EXECUTE):
                self._services.setups.attached(workspace)
        self._send_state(grant)
        if grant.allows(Action.SHARE):
            waiting = await people.requests_message(self._services, workspace)
            self._send({"type": "requests", "workspace": workspace, **waiting})

    def _unwatch(self, workspace: str) -> None:
        self._watcher.workspaces.discard(workspace)
        if attendant := self._attendants.pop(workspace, None):
            self._services.attendance.leave(attendant)

    def _send_state(self, grant: Grant) -> None:
        workspace = grant.workspace
        provided = self._services
        try:
            view = view_for(provided, grant)
        except CloudIDEError as error:
            self._send({"type": "error", "workspace": workspace, "detail": error.message})
            return
        self._send({"type": "workspace", "workspace": view})
        for event in provided.feed.history(workspace):
            self._forward(event)
        self._send(provided.attendance.message(workspace))
        stops_at = provided.activity.warning(workspace)
        self._send({"type": "activity", "workspace": workspace, "stops_at": stops_at})
        self._send({"type": "ports", "workspace": workspace, **ports.message(provided, workspace)})
        beside = workspace_services.message(provided, workspace)
        self._send({"type": "services", "workspace": workspace, **beside})
        for question in provided.git.asking.pending(workspace, self._caller.user.id):
            body = {"question": msgspec.to_builtins(question), "asked": True}
            self._send({"type": "git_question", "workspace": workspace, **body})
        if provided.terminals.known(workspace):
            terminals = provided.terminals.list(workspace)
            self._send({"type": "terminals", "workspace": workspace, "terminals": terminals})

    async def _send_list(self) -> None:
        found = await list_for(self._services, self._caller.user)
        self._send({"type": "workspaces", "workspaces": found})

    async def _tell(self) -> None:
        """Pass on what happens, until cancelled."""
        try:
            async for event in self._watcher:
                if event is LAGGED or self._channel.over_budget:
                    self._channel.drop()
                    for attendant in self._attendants.values():
                        self._send_state(attendant.grant)
                        files = {"workspace": attendant.grant.workspace, "changes": []}
                        self._send({"type": "files", **files, "overflow": True})
                elif event.workspace in self._watcher.workspaces:
                    self._forward(event)
                if self._watcher.all and event.type in ("workspace", "gone"):
                    await self._send_list()
        except Exception:
            _log.exception("events.failed")
            self._channel.close(1011, "The server failed at this; its log says how.")

    def _forward(self, event: Event) -> None:
        if event.person not in ("", self._caller.user.id):
            return
        if event.type == "workspace":
            role = self._attendants[event.workspace].grant.role
            self._send({"type": "workspace", "workspace": {**event.body, "role": role}})
        elif event.type == "requests":
            if self._attendants[event.workspace].grant.allows(Action.SHARE):
                self._send({"type": "requests", "workspace": event.workspace, **event.body})
        elif event.type == "gone":
            detail = "The workspace was deleted."
            self._send({"type": "error", "workspace": event.workspace, "detail": detail})
        else:
            self._send({"type": event.type, "workspace": event.workspace, **event.body})

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.send(msgspec.json.encode(message).decode())


async def watch(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    page = _Page(websocket, channel, services(websocket).feed.watch())
    return page.receive, page.leave


class _Ending:
    """The end of somebody's right to a stream of events."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self, code: int = 0, reason: str = "") -> None:
        if not self.ended.done():
            self.ended.set_result(None)


@describe(tag="workspaces", gives="text/event-stream", HTTP_200=None)
async def stream(request: Request) -> Response:
    """Server-sent events of one workspace: `state`, `progress`, `log` and `services`."""
    grant: Grant = request.state.grant
    provided = services(request)
    watcher = provided.feed.watch()
    watcher.workspaces.add(grant.workspace)
    ending = _Ending()
    try:
        live = await admit_live(request, InWorkspace(Action.READ), ending)
    except CloudIDEError:
        watcher.close()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            yield _sse("state", {"workspace": view_for(provided, grant)})
            for event in provided.feed.history(grant.workspace):
                yield _sse(event.type, event.body)
            following = aiter(watcher)
            waiting = asyncio.ensure_future(anext(following))
            try:
                while True:
                    done, _ = await asyncio.wait(
                        {waiting, ending.ended},
                        timeout=HEARTBEAT_SECONDS,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if ending.ended in done:
                        return
                    if not done:
                        yield b": still here\n\n"
                        continue
                    event = waiting.result()
                    waiting = asyncio.ensure_future(anext(following))
                    if event.type == "workspace":
                        body = {"workspace": {**event.body, "role": grant.role}}
                        yield _sse("state", body)
                    elif event is LAGGED:
                        yield _sse("state", {"workspace": view_for(provided, grant)})
                    elif event.type == "gone":
                        yield _sse("gone", event.body)
                        return
                    elif event.type in ("progress", "log", "services"):
                        yield _sse(event.type, event.body)
            finally:
                waiting.cancel()
        finally:
            ending.ended.cancel()
            provided.live.remove(live)
            watcher.close()

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _sse(event: str, body: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(body))
