"""HTTP connections through tunnels: httpcore's pool, over streams of a workspace's agent.

The pool believes it connects to 127.0.0.1: so it does, but in the container.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, TooMany
from cloudide.protocol.agent import Eof

TUNNELS_LIMIT = 128  # of one workspace; its agent has half as many sockets left for all else
IDLE_LIMIT = 16  # connections of one workspace kept for the next request
IDLE_SECONDS = 4.0  # Node closes its own after 5 s, and a request may be on its way by then
CONNECT_SECONDS = 10.0


class Tunnels(Listener):
    """The tunnels of all workspaces, counted, and a pool of HTTP connections for each."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._open: Counter[str] = Counter()
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}
        self._closing: set[asyncio.Task[None]] = set()
        agents.subscribe(self)

    @asynccontextmanager
    async def connect(self, workspace: str, port: int) -> AsyncIterator[Stream]:
        """A connection to a port, for as long as the context lasts.

        Raises:
            NotFound: nothing listens there. TooMany: of one workspace there may be no more.
            AgentUnavailable: the workspace does not run.
        """
        stream = await self._connect(workspace, port)
        try:
            yield stream
        finally:
            await self._close(workspace, stream)

    def http(self, workspace: str) -> httpcore.AsyncConnectionPool:
        """HTTP connections to the ports of a workspace.

        A request raises what `connect` does, or an error of httpcore.
        """
        pool = self._pools.get(workspace)
        if pool is None:
            pool = self._pools[workspace] = httpcore.AsyncConnectionPool(
                max_connections=TUNNELS_LIMIT,
                max_keepalive_connections=IDLE_LIMIT,
                keepalive_expiry=IDLE_SECONDS,
                network_backend=_Backend(self, workspace),
            )
        return pool

    def disconnected(self, workspace_id: str) -> None:
        """The tunnels are gone with the link; what waits for one hears so by itself."""
        if pool := self._pools.pop(workspace_id, None):
            task = asyncio.create_task(pool.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled():
            # A pool complains of requests under way; they have failed with their tunnels.
            task.exception()

    async def close(self) -> None:
        for workspace in [*self._pools]:
            self.disconnected(workspace)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _connect(self, workspace: str, port: int) -> Stream:
        agent = self._agents.agent(workspace)
        if self._open[workspace] >= TUNNELS_LIMIT:
            raise TooMany(f"This workspace has {TUNNELS_LIMIT} connections open, the limit.")
        self._open[workspace] += 1
        try:
            return await agent.tunnel(port)
        except BaseException:
            self._release(workspace)
            raise

    async def _close(self, workspace: str, stream: Stream) -> None:
        self._release(workspace)
        await stream.close()

    def _release(self, workspace: str) -> None:
        self._open[workspace] -= 1
        if not self._open[workspace]:
            del self._open[workspace]


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, tunnels: Tunnels, workspace: str) -> None:
        self._tunnels = tunnels
        self._workspace = workspace

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Connection(
            await self._tunnels._connect(self._workspace, port), self._tunnels, self._workspace
        )

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Connection(httpcore.AsyncNetworkStream):
    """A tunnel as httpcore sees it."""

    def __init__(self, stream: Stream, tunnels: Tunnels, workspace: str) -> None:
        self._stream = stream
        self._tunnels = tunnels
        self._workspace = workspace
        self._ended = False
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, be it more than asked for: the parser behind takes any length."""
        if self._ended:
            return b""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    message = await self._stream.recv()
                    if isinstance(message, bytes):
                        if message:
                            return message
                        continue
                    if not isinstance(message, Eof):
                        raise httpcore.ReadError("the agent broke the protocol")
                    self._ended = True
                    return b""
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except AgentUnavailable as error:
            raise httpcore.ReadError(error.message) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._stream.send_all(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except AgentUnavailable as error:
            raise httpcore.WriteError(error.message) from error

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._tunnels._close(self._workspace, self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("programs of a workspace are spoken to without TLS")

    def get_extra_info(self, info: str) -> Any:
        # Something to read between two requests is an end, or nothing that was asked for.
        return self._stream.pending if info == "is_readable" else None
