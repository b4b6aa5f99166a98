"""A collaboration client for tests: a Yjs document kept in step with a room, over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from pycrdt import Doc, Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from cloudide.protocol import sync
from cloudide.protocol.varint import Reader

WAIT_SECONDS = 30.0


class Peer:
    """Joins a room; survives being cut off when `keep` is called by its owner again."""

    def __init__(self, url: str, *, extended: bool = True, client_id: int | None = None, **options):
        self.url = url.replace("http", "ws", 1)
        self.extended = extended
        self.doc: Doc[Text] = Doc(client_id=client_id)
        self.text = self.doc.get("content", type=Text)
        self.options = options
        self.hello: dict[str, Any] = {}
        self.disk: dict[str, Any] = {}
        self.moved = ""
        self.notices: list[str] = []
        self.awareness: dict[int, Any] = {}
        self.sent = 0
        self.acknowledged = 0
        self.answered = False  # the server's question what this document has
        self.close_code: int | None = None
        self.close_reason = ""
        self.socket: ClientConnection | None = None
        self.changed = asyncio.Condition()
        self._remote = False
        self._reading: asyncio.Task[None] | None = None
        self._outbox: list[bytes] = []
        self.doc.observe(self._emitted)

    async def __aenter__(self) -> Peer:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect and send step 1; the answer and everything later is handled in a task."""
        self.socket = await connect(
            self.url,
            subprotocols=[Subprotocol(sync.SUBPROTOCOL)] if self.extended else None,
            max_size=None,
            compression=None,
            **self.options,
        )
        self.sent = self.acknowledged = 0
        self.answered = False
        self.close_code = None
        with contextlib.suppress(ConnectionClosed):  # at once: what reads knows with which code
            await self.socket.send(sync.step_1(self.doc.get_state()))
        self._reading = asyncio.create_task(self._read(self.socket))

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()
        if self._reading is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def insert(self, index: int, text: str) -> None:
        """Type: `index` counts characters."""
        self.text.insert(len(str(self.text)[:index].encode()), text)
        await self.flush()

    async def append(self, text: str) -> None:
        await self.insert(len(str(self.text)), text)

    async def flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if self.socket is None:
            return
        for update in outbox:
            try:
                await self.socket.send(sync.update(update))
            except ConnectionClosed:
                return  # step 2 of the next connection carries it
            self.sent += 1

    async def until(self, condition: Any) -> None:
        """Wait until `condition()` holds, looking whenever something arrived."""
        async with asyncio.timeout(WAIT_SECONDS), self.changed:
            await self.changed.wait_for(condition)

    async def saved(self) -> None:
        await self.until(
            lambda: (
                (self.answered and self.acknowledged >= self.sent) or self.close_code is not None
            )
        )
        assert self.close_code is None, (self.close_code, self.close_reason)

    def __str__(self) -> str:
        return str(self.text)

    def _emitted(self, event: Any) -> None:
        if not self._remote:
            self._outbox.append(event.update)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for frame in socket:
                assert isinstance(frame, bytes)
                await self._handle(frame)
                async with self.changed:
                    self.changed.notify_all()
        except ConnectionClosed:
            pass
        self.close_code, self.close_reason = socket.close_code, socket.close_reason or ""
        async with self.changed:
            self.changed.notify_all()

    async def _handle(self, frame: bytes) -> None:
        reader = Reader(frame)
        if frame[0] == sync.EXTENSION:
            reader.uint()
            self._extension(json.loads(reader.text()))
            return
        message = sync.read_message(frame, awareness_limit=1 << 20)
        if isinstance(message, sync.SyncStep1):
            assert self.socket is not None
            await self.socket.send(sync.step_2(self.doc.get_update(message.state_vector)))
            self.sent += 1
            self.answered = True
        elif isinstance(message, sync.SyncUpdate):
            self._remote = True
            try:
                self.doc.apply_update(message.update)
            finally:
                self._remote = False
        elif isinstance(message, sync.Awareness):
            for entry in message.entries:
                self.awareness[entry.client] = entry.state

    def _extension(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "hello":
                self.hello = message
            case "ack":
                self.acknowledged = message["count"]
            case "disk":
                self.disk = message
            case "moved":
                self.moved = message["path"]
            case "notice":
                self.notices.append(message["detail"])
