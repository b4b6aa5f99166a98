"""Websockets at the edge: admission, the channel's task, the reading loop, and the closing code.

A denied websocket is accepted and then closed with its 44xx code, because a refused upgrade makes
clients retry for ever; only a bad origin or host refuses the upgrade (`access.Edge`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from starlette.websockets import WebSocket

from cloudide.channel import Channel, Frame
from cloudide.errors import CloudIDEError, TooLarge
from cloudide.web.access import Access, admit_live
from cloudide.web.services import services
from cloudide.web.wire import SEND_BUFFER, Pace, Receive, wire_of
from cloudide.workspaces.activity import Kind

_log = structlog.get_logger(__name__)

_INTERNAL_ERROR = 1011
CONTROL_FRAME_LIMIT = 64 * 1024  # bytes; for sockets that carry no documents

End = Callable[[], Awaitable[None]]
Conversation = Callable[[WebSocket, Channel], Awaitable[tuple[Receive, End]]]


def conversation(
    access: Access,
    begin: Conversation,
    *,
    budget: Callable[[WebSocket], int],
    subprotocol: str | None = None,
    frame_limit: Callable[[WebSocket], int] = lambda _: CONTROL_FRAME_LIMIT,
    send_buffer: int = SEND_BUFFER,
    activity: Callable[[Frame], Kind | None] | None = None,
) -> Callable[[WebSocket], Awaitable[None]]:
    """A websocket endpoint.

    `begin` joins whatever the socket is for and returns what to do with each frame and at the end.
    `subprotocol` is echoed when the client offers it. `activity` says of a message whether it keeps
    the workspace alive. `send_buffer`: bytes that the kernel keeps for a client.
    """

    async def endpoint(websocket: WebSocket) -> None:
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(subprotocol if subprotocol in offered else None)
        channel = Channel(
            wire_of(websocket), budget(websocket), services(websocket).settings.stall_limit
        )
        wire_of(websocket).carry(channel, send_buffer)
        try:
            socket = await admit_live(websocket, access, channel)
        except CloudIDEError as error:
            channel.close(error.close_code, error.message)
            return
        try:
            await _converse(websocket, channel, begin, frame_limit(websocket), activity)
        finally:
            services(websocket).live.remove(socket)

    return endpoint


async def _converse(
    websocket: WebSocket,
    channel: Channel,
    begin: Conversation,
    frame_limit: int,
    activity: Callable[[Frame], Kind | None] | None,
) -> None:
    """Until the client goes; an error of one client's doing closes that client only."""

    def failed(error: Exception) -> None:
        if isinstance(error, CloudIDEError):
            channel.close(error.close_code, error.message)
        else:
            _log.error("socket.failed", path=websocket.url.path, exc_info=error)
            channel.close(_INTERNAL_ERROR, "The server failed at this; its log says how.")

    try:
        receive, end = await begin(websocket, channel)
    except Exception as error:
        failed(error)
        return

    if activity is not None:
        receive = _noted(websocket, receive, activity)

    def bounded(frame: Frame) -> Awaitable[None] | None:
        if len(frame) > frame_limit:
            raise TooLarge(f"A message has {len(frame):,} bytes; the limit is {frame_limit:,}.")
        return receive(frame)

    try:
        wire = wire_of(websocket)
        wire.take(bounded, failed, Pace(services(websocket).settings.messages_per_second))
        await wire.ended()
    finally:
        await end()


def _noted(
    websocket: WebSocket, receive: Receive, activity: Callable[[Frame], Kind | None]
) -> Receive:
    """`receive`, with a note of what was somebody's doing and was not refused."""
    touch = services(websocket).activity.touch
    workspace: str = websocket.path_params["workspace"]

    def noted(frame: Frame) -> Awaitable[None] | None:
        answer = receive(frame)
        if (kind := activity(frame)) is not None:
            touch(workspace, kind)
        return answer

    return noted
