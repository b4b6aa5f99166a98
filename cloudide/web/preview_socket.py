"""Websockets of previews: messages between the browser and the program, whatever they hold.

Both handshakes are over when this begins. Each side has its own connection, its own pings and its
own masking; messages, subprotocol, close code and reason are passed on (RFC 6455).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from starlette.requests import HTTPConnection
from starlette.types import Receive, Send
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidState, ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from cloudide.agents.tunnels import Connection, Tunnel
from cloudide.errors import AgentUnavailable, NotSignedIn
from cloudide.ports.headers import Headers, incoming, outgoing
from cloudide.ports.http import Broken, Exchange, NoAnswer, head_of
from cloudide.web.preview_door import Head

CLOSE_SECONDS = 2.0  # the program has to answer a close frame
_ABNORMAL = {1005, 1006, 1015}  # never sent (RFC 6455 section 7.4.1)
_SUBPROTOCOL = b"sec-websocket-protocol"
_HANDSHAKE = {b"sec-websocket-accept", _SUBPROTOCOL, b"sec-websocket-extensions"}
# A handshake has no body (RFC 6455 section 4.1), whatever it says of one.
_NOT_ASKED = {b"sec-websocket-extensions", b"content-length", b"transfer-encoding"}


class Endable(Protocol):
    ended: bool

    def resumed(self) -> None: ...


class Answer:
    """The program's answer to a handshake; `rest` is what came right behind it."""

    def __init__(self, exchange: Exchange, headers: Headers, own: Headers) -> None:
        self.status = exchange.status
        self.switching = exchange.switching
        self.headers = headers  # as the browser gets them
        self.tunnel = exchange.tunnel
        self.protocol = next(
            (value.decode("latin-1").strip() for name, value in own if name == _SUBPROTOCOL), None
        )
        self.rest = b""


class Handshake:
    """Asks a program for a websocket."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._answer: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self._rest = b""

    async def ask(
        self,
        head: Head,
        own_cookies: frozenset[str],
        own_authorization: bool,
        forwarded: Headers,
        patience: float,
    ) -> Answer:
        """Send the handshake on and wait for its answer, for `patience` seconds.

        Raises:
            InvalidInput: it is no request. Broken, NoAnswer: there is no answer.
        """
        headers = outgoing(
            head.headers,
            own_cookies=own_cookies,
            own_authorization=own_authorization,
            forwarded=forwarded,
        )
        # Compression would have to be undone and done again for the browser.
        headers = [pair for pair in headers if pair[0] not in _NOT_ASKED]
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        exchange = Exchange(self._tunnel, self, "GET")
        exchange.begin(head_of("GET", head.address, headers), body=False, chunked=False)
        try:
            async with asyncio.timeout(patience):
                await self._answer
        except TimeoutError as error:
            raise NoAnswer from error
        answer = Answer(exchange, incoming(exchange.headers, own_cookies), exchange.headers)
        answer.rest = self._rest
        return answer

    def answered(self, exchange: Exchange, data: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(exchange)
        self._rest = data
        self._tunnel.pause_reading()

    def body(self, data: bytes) -> None:
        self._rest += data  # of one read: nothing more is read for now

    def complete(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(Broken("the connection ended"))

    def failed(self, error: Broken) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    def pause_asking(self) -> None:
        """A handshake is short."""

    def resume_asking(self) -> None: ...


async def converse(
    answer: Answer,
    connection: HTTPConnection,
    receive: Receive,
    send: Send,
    visit: Endable,
    limit: int,
) -> None:
    """Accept the browser's socket as the program has accepted ours; until either closes.

    `limit` is in bytes of a message.
    """
    offered = connection.scope.get("subprotocols", [])
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": answer.protocol if answer.protocol in offered else None,
            "headers": [pair for pair in answer.headers if pair[0] not in _HANDSHAKE],
        }
    )
    program = _Program(answer, limit)
    up = asyncio.create_task(_to_program(receive, program))
    down = asyncio.create_task(_to_browser(program, send))
    try:
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            up.result()
            # The browser has closed, or the program is about to: it has its say either way.
            await asyncio.wait([down], timeout=CLOSE_SECONDS)
        if down.done():
            code, reason = down.result()
            with suppress(RuntimeError, OSError):  # the browser was first
                await send({"type": "websocket.close", "code": code, "reason": reason})
    except asyncio.CancelledError:
        if not visit.ended:
            raise
        visit.resumed()
        reason = "Your access here has ended."
        await send({"type": "websocket.close", "code": NotSignedIn.close_code, "reason": reason})
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


class _Program:
    """Our connection to the program: a client of RFC 6455 without I/O, and the tunnel."""

    def __init__(self, answer: Answer, limit: int) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://program/"), state=State.OPEN, max_size=limit)
        self._connection = Connection(answer.tunnel)
        self._rest = answer.rest
        self._writing = asyncio.Lock()

    async def read(self) -> list[Frame]:
        """The next frames; [] when the program has ended the connection."""
        while True:
            data, self._rest = self._rest or await self._connection.read(), b""
            if data:
                self.protocol.receive_data(data)
            else:
                self.protocol.receive_eof()
            await self.flush()  # pongs, and the answer to a close
            frames = [
                event for event in self.protocol.events_received() if isinstance(event, Frame)
            ]
            if frames or not data or self.protocol.parser_exc is not None:
                return frames

    async def flush(self) -> None:
        """Write what the protocol has to say; one writer at a time, so that no frame is parted."""
        async with self._writing:
            data = b"".join(self.protocol.data_to_send())
            if data:
                await self._connection.write(data)


async def _to_program(receive: Receive, program: _Program) -> None:
    protocol = program.protocol
    # A message may come just when the program has closed.
    with suppress(AgentUnavailable, ConnectionClosed, InvalidState):
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or CloseCode.NO_STATUS_RCVD
                try:
                    if code in _ABNORMAL:
                        protocol.send_close()
                    else:
                        protocol.send_close(code, message.get("reason") or "")
                except ProtocolError:
                    protocol.send_close()
                await program.flush()
                return
            data = message.get("bytes")
            if data is not None:
                protocol.send_binary(data)
            else:
                protocol.send_text(message["text"].encode())
            await program.flush()


async def _to_browser(program: _Program, send: Send) -> tuple[int, str]:
    """Pass messages on; returns the code and reason to close with."""
    parts: list[bytes] = []
    text = False
    cut = CloseCode.INTERNAL_ERROR, "The connection to the program was cut."
    try:
        while frames := await program.read():
            for frame in frames:
                if frame.opcode is Opcode.CLOSE:
                    closed = program.protocol.close_rcvd
                    if closed is None or closed.code in _ABNORMAL:
                        return CloseCode.NORMAL_CLOSURE, ""
                    return closed.code, closed.reason
                if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    continue
                if frame.opcode is not Opcode.CONT:
                    parts, text = [], frame.opcode is Opcode.TEXT
                parts.append(bytes(frame.data))
                if frame.fin:
                    data = b"".join(parts)
                    parts = []
                    if text:
                        await send({"type": "websocket.send", "text": data.decode()})
                    else:
                        await send({"type": "websocket.send", "bytes": data})
    except AgentUnavailable:
        return cut
    except UnicodeDecodeError:
        return CloseCode.INVALID_DATA, "A text message is not UTF-8."
    if (sent := program.protocol.close_sent) is not None and sent.code not in _ABNORMAL:
        return sent.code, sent.reason  # the program broke the protocol, or a limit
    return cut
