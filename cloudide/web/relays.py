"""Sockets that carry bytes both ways: a TCP port of a workspace, and a program run in it.

    WS …/ports/{port}/tunnel    binary frames are bytes; the text frame {"type":"eof"} ends one
                                direction, and the socket closes when both have ended
    WS …/exec                   client: {"type":"start","argv":[…],"cwd":"","env":{}} first, then
                                binary frames of input, {"type":"eof"}, {"type":"signal","number":2}
                                server: binary frames of output, the first byte 1 (stdout) or 2
                                (stderr), then {"type":"exit","code":0} or {…,"signal":9}

Unlike the sockets of `sockets.py` nothing may be dropped here, and a side that does not read holds
the other one back, for as long as it likes; so frames go one by one, through ASGI.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from cloudide.agents.failures import error_of
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, CloudIDEError, InvalidInput, NotSignedIn, TooLarge
from cloudide.identity.permissions import Action, Grant
from cloudide.protocol.agent import Eof, Execute, Exited, Failed, Signal
from cloudide.web.access import InWorkspace, admit_live
from cloudide.web.audit import record
from cloudide.web.files import clean_path
from cloudide.web.ports import target_of
from cloudide.web.services import services
from cloudide.web.wire import REASON_BYTES, wire_of
from cloudide.workspaces.activity import HOLD_LIMIT, Hold, Kind

_log = structlog.get_logger(__name__)

EXECUTE = InWorkspace(Action.EXECUTE)
FRAME_LIMIT = 1024 * 1024  # bytes of a client's message
NORMAL_CLOSURE = 1000
INTERNAL_ERROR = 1011
_EOF = msgspec.json.encode(Eof()).decode()

T = TypeVar("T")
Work = Callable[[WebSocket], Awaitable[None]]


class Start(msgspec.Struct, tag="start"):
    argv: list[str]
    cwd: str = ""
    env: dict[str, str] = {}
    secrets: list[str] = []


_start = msgspec.json.Decoder(Start)
_eof = msgspec.json.Decoder(Eof)
_to_program = msgspec.json.Decoder(Eof | Signal)


class _Right:
    """The right to a socket; when it ends, so does the task that serves it."""

    def __init__(self) -> None:
        self.ended = False
        self._task = asyncio.current_task()

    def close(self, code: int = 0, reason: str = "") -> None:
        if not self.ended and self._task is not None:
            self.ended = True
            self._task.cancel()

    def resumed(self) -> None:
        if self._task is not None:
            self._task.uncancel()


def relay(work: Work) -> Callable[[WebSocket], Awaitable[None]]:
    """A websocket endpoint for those who may run programs; `work` serves it to its end."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        _be_patient(websocket)
        right = _Right()
        code, reason = NORMAL_CLOSURE, ""
        try:
            live = await admit_live(websocket, EXECUTE, right)
            try:
                await work(websocket)
            finally:
                services(websocket).live.remove(live)
        except CloudIDEError as error:
            code, reason = error.close_code, error.message
        except WebSocketDisconnect:
            return
        except asyncio.CancelledError:
            if not right.ended:
                raise
            right.resumed()
            code, reason = NotSignedIn.close_code, "Your access here has ended."
        except Exception as error:
            _log.error("relay.failed", path=websocket.url.path, exc_info=error)
            code, reason = INTERNAL_ERROR, "The server failed at this; its log says how."
        with suppress(RuntimeError, WebSocketDisconnect):  # the client was first
            await websocket.close(code, reason.encode()[:REASON_BYTES].decode(errors="ignore"))

    return endpoint


async def tunnel(websocket: WebSocket) -> None:
    """Bytes to and from a port, until both directions have ended."""
    target = target_of(websocket)
    await record(websocket, "port.forward", {})
    async with services(websocket).tunnels.connect(target.workspace, target.port) as connection:

        async def there() -> None:
            while isinstance(frame := await _receive(websocket, Kind.FORWARD), bytes):
                await connection.write(frame)
            _decode(_eof, frame)
            connection.write_eof()

        async def back() -> None:
            while data := await connection.read():
                await websocket.send_bytes(data)
                services(websocket).activity.touch(target.workspace, Kind.FORWARD)
            await websocket.send_text(_EOF)

        await _both(there(), back())


async def execute(websocket: WebSocket) -> None:
    """Run a program without a terminal; it is killed when the client goes first."""
    first = await _receive(websocket, Kind.COMMAND)
    if isinstance(first, bytes):
        raise InvalidInput('The first message says what to run: {"type":"start","argv":[…]}.')
    start = _decode(_start, first)
    cwd = clean_path(start.cwd)
    grant: Grant = websocket.state.grant
    agent = services(websocket).agents.agent(grant.workspace)
    # Its arguments may hold what nobody should read later.
    await record(websocket, "exec", {"program": start.argv[0][:HOLD_LIMIT] if start.argv else ""})
    given = await services(websocket).secret_delivery.give(grant, start.secrets, "exec")
    environment = {**start.env, **given.environment}
    async with _opened(
        agent.open(lambda stream_id: Execute(stream_id, start.argv, cwd, environment, given.files))
    ) as stream:
        feeding = asyncio.create_task(_feed(websocket, stream))
        hold = Hold("program", " ".join(start.argv)[:HOLD_LIMIT])
        try:
            with services(websocket).activity.holding(grant.workspace, hold):
                await _show(websocket, stream, feeding)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def _feed(websocket: WebSocket, stream: Stream) -> None:
    """Input and signals; returns only by an error."""
    while True:
        frame = await _receive(websocket, Kind.COMMAND)
        # A program may close its input, and the stream with its end, before all of it is read.
        with suppress(AgentUnavailable):
            if isinstance(frame, bytes):
                await stream.send_all(frame)
            else:
                await stream.send(_decode(_to_program, frame))


async def _show(websocket: WebSocket, stream: Stream, feeding: asyncio.Task[None]) -> None:
    showing = asyncio.create_task(_output(websocket, stream))
    try:
        await asyncio.wait([showing, feeding], return_when=asyncio.FIRST_COMPLETED)
        (showing if showing.done() else feeding).result()
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _output(websocket: WebSocket, stream: Stream) -> None:
    while True:
        match await stream.recv():
            case bytes() as data:
                await websocket.send_bytes(data)
            case Exited(exit):
                message = {"type": "exit", **msgspec.to_builtins(exit)}
                await websocket.send_text(msgspec.json.encode(message).decode())
                return
            case Failed(failure):
                raise error_of(failure)
            case _:
                raise AgentUnavailable("The workspace's agent sent a malformed message.")


@asynccontextmanager
async def _opened(opening: Awaitable[Stream]) -> AsyncIterator[Stream]:
    stream = await opening
    try:
        yield stream
    finally:
        await stream.close()


async def _both(*ways: Awaitable[None]) -> None:
    """Both directions to their ends; the first error of one ends the other."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _receive(websocket: WebSocket, kind: Kind) -> bytes | str:
    """The next message, which keeps the workspace alive.

    Raises:
        WebSocketDisconnect: the client is gone. TooLarge: the message is more than a relay takes.
    """
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    data = message.get("bytes")
    frame: bytes | str = message["text"] if data is None else data
    if len(frame) > FRAME_LIMIT:
        raise TooLarge(f"A message has {len(frame):,} bytes; the limit is {FRAME_LIMIT:,}.")
    services(websocket).activity.touch(websocket.state.grant.workspace, kind)
    return frame


def _decode(decoder: msgspec.json.Decoder[T], frame: str) -> T:
    try:
        return decoder.decode(frame)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The message was not understood: {error}") from error


def _be_patient(websocket: WebSocket) -> None:
    """A client that does not read for a while answers no ping either: let TCP look after it."""
    wire = wire_of(websocket)
    wire.stop_keepalive()
    connection = wire.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
