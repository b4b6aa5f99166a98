"""The websocket itself: uvicorn's protocol class, with a direct way past ASGI for open sockets.

ASGI carries the handshake and admission. After that a frame would cost a queue, a wake-up of a task
and an event dictionary on its way in, and an await and an encoding of its own on its way out; an
open socket is therefore *taken over*: messages are handed over as calls from the loop's read event,
and frames are written straight to the transport.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import frames
from websockets.exceptions import InvalidState
from websockets.http11 import Request

from cloudide.channel import Channel, Frame, encode
from cloudide.web.framing import short_messages, whole_headers

EXTENSION = "cloudide.wire"  # in the ASGI scope's `extensions`
SEND_BUFFER = 64 * 1024  # bytes; what the kernel keeps for a client that does not read
REASON_BYTES = 123  # RFC 6455 section 5.5.1
CLOSE_SECONDS = 2.0  # a client that does not answer the closing handshake is cut off
_BURST = 2.0  # seconds of the sustained rate that may come at once

Receive = Callable[[Frame], Awaitable[None] | None]


class WebSocketWire(WebSocketsSansIOProtocol):
    """One websocket. After `take` it is a `Wire` for a channel."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.direct: Callable[[bytes], object] | None = None
        self._channel: Channel | None = None
        self._receive: Receive | None = None
        self._failed: Callable[[Exception], None] = lambda error: None
        self._inbox: deque[Frame] = deque()
        self._partial = b""  # the beginning of a frame's header
        self._owed = 0  # bytes to come of a frame whose beginning the library has
        self._pace: Pace | None = None
        self._handling: asyncio.Task[None] | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None
        self.on_lost: Callable[[], None] = lambda: None

    # ── in place of ASGI ────────────────────────────────────────────────────────────────────────

    def carry(self, channel: Channel, send_buffer: int = SEND_BUFFER) -> None:
        """From now on this is what `channel` writes to. `send_buffer`: bytes kept by the kernel."""
        self._channel = channel
        self.direct = channel.direct = self.transport.write
        self._ended = self.loop.create_future()
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if self.disconnected:
            self._end()
        elif not self.writable.is_set():
            channel.pause()

    def take(self, receive: Receive, failed: Callable[[Exception], None], pace: Pace) -> None:
        """Hand every message to `receive`, in order, from those on that have come already.

        When `receive` returns an awaitable the next message waits for it. What it raises goes to
        `failed`, and nothing more is received.
        """
        self._receive, self._failed, self._pace = receive, failed, pace
        while not self.queue.empty():
            event = self.queue.get_nowait()
            if event["type"] == "websocket.receive":
                data = event.get("bytes")
                self._inbox.append(event["text"] if data is None else data)  # pyright: ignore
        self._resume_reading()
        self._pump()

    async def ended(self) -> None:
        """Wait until the client has gone or the channel was closed."""
        assert self._ended is not None
        await asyncio.shield(self._ended)
        if self._handling is not None:
            self._handling.cancel()
            await asyncio.gather(self._handling, return_exceptions=True)

    # ── a channel's wire ────────────────────────────────────────────────────────────────────────

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def write(self, frame: Frame) -> None:
        # A channel that is closed, by whichever side, writes no more: see `_end`.
        self.transport.write(encode(frame))

    def close(self, code: int, reason: str) -> None:
        self._end()
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        short = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        try:
            self.conn.send_close(code, short)
        except InvalidState:  # the client was first
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._resume_reading()  # for the client's answer
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    # ── from the transport ──────────────────────────────────────────────────────────────────────

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][EXTENSION] = self  # pyright: ignore

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)  # the request, and nothing else
            return
        if self._partial:
            data, self._partial = self._partial + data, b""
        if not self._owed and self._receive is not None and not self.frames and not self.close_sent:
            messages, data = short_messages(data)
            self._inbox.extend(messages)
        if data:
            boundary, self._owed = whole_headers(data, self._owed)
            self._partial = data[boundary:]
            super().data_received(data[:boundary])
        if self._inbox:
            self._pump()

    def send_receive_event_to_app(self) -> None:
        if self._receive is None:
            super().send_receive_event_to_app()
            return
        parts, self.frames = self.frames, []
        if self.close_sent:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.curr_msg_data_type == "bytes":
            self._inbox.append(data)
            return
        try:
            self._inbox.append(data.decode())
        except UnicodeDecodeError:
            self._break(frames.CloseCode.INVALID_DATA, "A text message is not UTF-8.")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._channel is not None:
            self._channel.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._channel is not None:
            self._channel.resume()

    def handle_close(self, event: frames.Frame) -> None:
        super().handle_close(event)
        self._end()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end()
        self.on_lost()

    def shutdown(self) -> None:
        """The server stops and has not closed this socket by itself."""
        if self._channel is None:
            super().shutdown()
        else:
            self._channel.close(frames.CloseCode.SERVICE_RESTART, "The server is restarting.")

    # ── messages ────────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        """Hand over what has come, as fast as the pace allows."""
        receive, pace, inbox = self._receive, self._pace, self._inbox
        if receive is None or pace is None:
            return
        while inbox and self._handling is None and self._waiting is None:
            if self._ended is None or self._ended.done():
                inbox.clear()
                return
            if delay := pace.take():
                self._waiting = self.loop.call_later(delay, self._go_on)
                break
            try:
                handled = receive(inbox.popleft())
            except Exception as error:
                inbox.clear()
                self._failed(error)
                return
            if handled is not None:
                self._handling = self.loop.create_task(self._finish(handled))
        # What is behind the message that waits stays in the kernel, and then with the client.
        if inbox and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        elif not inbox:
            self._resume_reading()

    async def _finish(self, handled: Awaitable[None]) -> None:
        try:
            await handled
        except Exception as error:
            self._inbox.clear()
            self._failed(error)
        finally:
            self._handling = None
        self._pump()

    def _go_on(self) -> None:
        self._waiting = None
        self._pump()

    def _resume_reading(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def _break(self, code: int, reason: str) -> None:
        if self._channel is not None:
            self._channel.close(code, reason)

    def _end(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
            if self._channel is not None:
                self._channel.gone()


class Pace:
    """Slows one socket down to a sustained rate, after a burst; nothing is thrown away."""

    def __init__(self, rate: float) -> None:
        """`rate` is in messages a second; 0 is no limit."""
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._left = rate * _BURST
        self._at = self._loop.time()

    def take(self) -> float:
        """Take one message: 0.0, or the seconds until it may be taken."""
        if not self._rate:
            return 0.0
        if self._left < 1:
            now = self._loop.time()
            grown = self._left + (now - self._at) * self._rate
            self._left, self._at = min(self._rate * _BURST, grown), now
            if self._left < 1:
                return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


def wire_of(websocket: WebSocket) -> WebSocketWire:
    """The connection below an accepted websocket."""
    return websocket.scope["extensions"][EXTENSION]
