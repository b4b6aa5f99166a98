"""A browser of previews without a browser: names below `localhost` lead to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from promises.uncontained import WORKSPACE, Uncontained
from server import Api
from websockets.asyncio.client import ClientConnection, connect

TIMEOUT = 20  # seconds
PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loopback(httpx.AsyncHTTPTransport):
    """Connects to 127.0.0.1 whatever the name, which stays in the Host header."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        request.url = url.copy_with(host="127.0.0.1")
        try:
            return await super().handle_async_request(request)
        finally:
            request.url = url


class Browser:
    """One person's browser; `ide` is signed in, if they are."""

    def __init__(self, server: Uncontained, ide: Api) -> None:
        self.server = server
        self.ide = ide
        self.http = httpx.AsyncClient(transport=Loopback(), timeout=TIMEOUT)

    def host(self, port: int, workspace: str = WORKSPACE) -> str:
        return f"{port}--{workspace}.preview.localhost:{self.server.port}"

    def url(self, port: int, path: str = "/", workspace: str = WORKSPACE) -> str:
        return f"http://{self.host(port, workspace)}{path}"

    async def enter(self, port: int, workspace: str = WORKSPACE) -> httpx.Response:
        """Sign in to a preview by a ticket; returns where that leads, which is not followed."""
        way = await self.ide.post(f"/api/v1/workspaces/{workspace}/ports/{port}/ticket")
        return await self.http.get(way["url"])

    async def get(self, port: int, path: str = "/", **options: Any) -> httpx.Response:
        return await self.http.get(self.url(port, path), **options)

    def cookies(self, port: int) -> str:
        """The Cookie header for a preview."""
        request = self.http.build_request("GET", self.url(port))
        return request.headers.get("cookie", "")

    def socket(self, port: int, path: str = "/", **options: Any) -> connect:
        headers = {"Cookie": self.cookies(port)} if self.cookies(port) else {}
        headers.update(options.pop("additional_headers", {}))
        options.setdefault("origin", self.url(port, ""))
        return connect(
            f"ws://{self.host(port)}{path}",
            host="127.0.0.1",
            port=self.server.port,
            additional_headers=headers,
            compression=None,
            **options,
        )

    async def close(self) -> None:
        await self.http.aclose()


async def until_linked(server: Uncontained) -> None:
    """Wait for the agent; without an engine no state tells of it."""
    async with asyncio.timeout(TIMEOUT):
        while (await server.api.request("GET", f"/api/v1/workspaces/{WORKSPACE}/tree")).is_error:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # no event says so


@asynccontextmanager
async def program(serve: Serve) -> AsyncIterator[int]:
    """A program of the workspace that serves each connection as it is told; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the end of the connection, or of the program
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    """The request line, and the headers as they came."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    return lines[0], [
        (name, value.strip()) for name, _, value in (x.partition(":") for x in lines[1:])
    ]


def answering(answer: bytes) -> Serve:
    """Answers every request with these bytes, and ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return serve


async def message(socket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(TIMEOUT):
        return await socket.recv()
