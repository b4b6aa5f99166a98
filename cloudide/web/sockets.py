"""Websockets at the edge: admission, the channel's task, the reading loop, and the closing code.

A denied websocket is accepted and then closed with its 44xx code, because a refused upgrade makes
clients retry for ever; only a bad origin or host refuses the upgrade (`access.Edge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from cloudide.channel import Channel, Frame
from cloudide.errors import CloudIDEError, TooLarge
from cloudide.web.access import Access, admit_live
from cloudide.web.services import services

_log = structlog.get_logger(__name__)

_BURST = 2.0  # seconds of the sustained rate that may come at once
_REASON_BYTES = 123  # RFC 6455 section 5.5.1
_INTERNAL_ERROR = 1011
CONTROL_FRAME_LIMIT = 64 * 1024  # bytes; for sockets that carry no documents

Receive = Callable[[Frame], Awaitable[None] | None]
Conversation = Callable[
    [WebSocket, Channel], Awaitable[tuple[Receive, Callable[[], Awaitable[None]]]]
]


def conversation(
    access: Access,
    begin: Conversation,
    *,
    budget: Callable[[WebSocket], int],
    subprotocol: str | None = None,
    frame_limit: Callable[[WebSocket], int] = lambda _: CONTROL_FRAME_LIMIT,
) -> Callable[[WebSocket], Awaitable[None]]:
    """A websocket endpoint.

    `begin` joins whatever the socket is for and returns what to do with each frame and at the end.
    `subprotocol` is echoed when the client offers it.
    """

    async def endpoint(websocket: WebSocket) -> None:
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(subprotocol if subprotocol in offered else None)
        channel = Channel(_sender(websocket), budget(websocket))
        try:
            socket = await admit_live(websocket, access, channel)
        except CloudIDEError as error:
            await _close(websocket, error.close_code, error.message)
            return
        try:
            await _converse(websocket, channel, begin, frame_limit(websocket))
        finally:
            services(websocket).live.remove(socket)

    return endpoint


async def _converse(
    websocket: WebSocket, channel: Channel, begin: Conversation, frame_limit: int
) -> None:
    writer = asyncio.create_task(channel.run())
    reader = asyncio.create_task(_read(websocket, channel, begin, frame_limit))
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        if reader.done() and channel.closing:
            await writer  # what is queued goes out before the close
    finally:
        for task in (reader, writer):
            task.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)
        if channel.close_code is not None:
            await _close(websocket, channel.close_code, channel.close_reason)


async def _read(
    websocket: WebSocket, channel: Channel, begin: Conversation, frame_limit: int
) -> None:
    """Read until the client goes; an error of one client's doing closes that client only."""
    end: Callable[[], Awaitable[None]] | None = None
    try:
        receive, end = await begin(websocket, channel)
        pace = _Pace(services(websocket).settings.messages_per_second)
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data: bytes | None = message.get("bytes")
            frame: Frame = message["text"] if data is None else data
            if len(frame) > frame_limit:
                raise TooLarge(f"A message has {len(frame):,} bytes; the limit is {frame_limit:,}.")
            handled = receive(frame)
            if handled is not None:
                await handled
            if delay := pace.take():
                await asyncio.sleep(delay)
    except WebSocketDisconnect:
        return
    except CloudIDEError as error:
        channel.close(error.close_code, error.message)
    except Exception:
        _log.exception("socket.failed", path=websocket.url.path)
        channel.close(_INTERNAL_ERROR, "The server failed at this; its log says how.")
    finally:
        if end is not None:
            await end()


class _Pace:
    """Slows one socket down to a sustained rate, after a burst; nothing is thrown away."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._left = rate * _BURST
        self._at = self._loop.time()

    def take(self) -> float:
        if not self._rate:
            return 0.0
        now = self._loop.time()
        self._left = min(self._rate * _BURST, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._left / self._rate)


def _sender(websocket: WebSocket) -> Callable[[Frame], Awaitable[None]]:
    async def send(frame: Frame) -> None:
        if isinstance(frame, bytes):
            await websocket.send({"type": "websocket.send", "bytes": frame})
        else:
            await websocket.send({"type": "websocket.send", "text": frame})

    return send


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    if code == 1006:  # the connection is gone already; 1006 is never sent
        return
    short = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
    try:
        await websocket.close(code, short)
    except (RuntimeError, OSError, WebSocketDisconnect) as error:
        _log.debug("socket.closed_already", error=str(error))
