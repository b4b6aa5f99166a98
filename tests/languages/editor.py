"""An editor for tests: LSP over a websocket, one JSON-RPC message in each frame."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

WAIT_SECONDS = 60.0
Json = dict[str, Any]


class Failure(Exception):
    """An error that the server answered with."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]


class Editor:
    """Everything that was said to it is kept; `until` waits for more."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.notifications: list[Json] = []
        self.asked: list[Json] = []  # requests of the server; answered with null
        self.diagnostics: dict[str, Json] = {}
        self.result: Json = {}
        self._last = 0
        self._waiting: dict[int | str, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Editor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self._reading

    async def initialize(self, capabilities: Json | None = None) -> Json:
        self.result = await self.request(
            "initialize",
            {"processId": None, "rootUri": None, "capabilities": capabilities or {}},
        )
        await self.notify("initialized", {})
        return self.result

    async def request(self, method: str, params: Any, id: int | str | None = None) -> Any:
        if id is None:
            self._last += 1
            id = self._last
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        await self._send({"id": id, "method": method, "params": params})
        async with asyncio.timeout(WAIT_SECONDS):
            return await future

    async def notify(self, method: str, params: Any) -> None:
        await self._send({"method": method, "params": params})

    async def open(self, uri: str, text: str = "", language: str = "", version: int = 0) -> None:
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        await self.notify("textDocument/didOpen", {"textDocument": item})

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _send(self, message: Json) -> None:
        await self.socket.send(json.dumps({"jsonrpc": "2.0", **message}))

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                await self._take(json.loads(frame))
                self._changed.set()
        except ConnectionClosed:
            pass
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(str(self.socket.close_reason)))
                future.exception()
        self._changed.set()

    async def _take(self, message: Json) -> None:
        if "method" not in message:
            future = self._waiting.pop(message["id"], None)
            if future is None or future.done():
                self.notifications.append(message)
            elif "error" in message:
                future.set_exception(Failure(message["error"]))
            else:
                future.set_result(message["result"])
        elif "id" in message:
            self.asked.append(message)
            await self._send({"id": message["id"], "result": None})
        else:
            self.notifications.append(message)
            if message["method"] == "textDocument/publishDiagnostics":
                self.diagnostics[message["params"]["uri"]] = message["params"]
