"""Connections to ports of workspaces: tunnels, counted; those of HTTP are kept for what is next.

Where a tunnel leads is decided in the container, by a port's number alone: to its own loopback.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.streams import Stream
from cloudide.errors import TooMany
from cloudide.ports.http import Connection
from cloudide.ports.sites import Target

TUNNELS_LIMIT = 128  # of one workspace; its agent has half as many sockets left for all else
IDLE_LIMIT = 16  # connections to one port kept for the next request
IDLE_SECONDS = 4.0  # Node closes its own after 5 s, and a request may be on its way by then


class Tunnels(Listener):
    """The tunnels of all workspaces."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._open: Counter[str] = Counter()
        self._idle: dict[Target, deque[tuple[Connection, asyncio.TimerHandle]]] = {}
        self._closing: dict[str, set[asyncio.Task[None]]] = {}
        agents.subscribe(self)

    @asynccontextmanager
    async def connect(self, workspace: str, port: int) -> AsyncIterator[Stream]:
        """A connection to a port, for as long as the context lasts.

        Raises:
            NotFound: nothing listens there. TooMany: of one workspace there may be no more.
            AgentUnavailable: the workspace does not run.
        """
        stream = await self._dial(Target(port, workspace))
        try:
            yield stream
        finally:
            self._hang_up(workspace, stream)

    @asynccontextmanager
    async def http(self, target: Target, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """A connection for one exchange of HTTP: a kept one, or (`fresh`) a new one.

        Raises what `connect` does.
        """
        connection = None if fresh else self._kept(target)
        if connection is None:
            connection = Connection(await self._dial(target))
        connection.reusable = False
        try:
            yield connection
        finally:
            if connection.reusable and not connection.stream.pending:
                self._keep(target, connection)
            else:
                self._hang_up(target.workspace, connection.stream)

    def disconnected(self, workspace_id: str) -> None:
        """The tunnels are gone with the link."""
        for target in [each for each in self._idle if each.workspace == workspace_id]:
            self._drop(target)

    async def close(self) -> None:
        for target in [*self._idle]:
            self._drop(target)
        tasks = [task for each in self._closing.values() for task in each]
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── kept connections ────────────────────────────────────────────────────────────────────────

    def _kept(self, target: Target) -> Connection | None:
        """The one that was used last, if it is still good: something to read is its end."""
        idle = self._idle.get(target)
        while idle:
            connection, timer = idle.pop()
            timer.cancel()
            if not idle:
                del self._idle[target]
            if not connection.stream.pending:
                return connection
            self._hang_up(target.workspace, connection.stream)
        return None

    def _keep(self, target: Target, connection: Connection) -> None:
        idle = self._idle.setdefault(target, deque())
        if len(idle) >= IDLE_LIMIT:
            self._hang_up(target.workspace, connection.stream)
            return
        # The oldest is at the left, and its time is over first.
        loop = asyncio.get_running_loop()
        idle.append((connection, loop.call_later(IDLE_SECONDS, self._expire, target)))

    def _expire(self, target: Target) -> None:
        idle = self._idle[target]
        connection, _ = idle.popleft()
        if not idle:
            del self._idle[target]
        self._hang_up(target.workspace, connection.stream)

    def _drop(self, target: Target) -> None:
        for connection, timer in self._idle.pop(target):
            timer.cancel()
            self._hang_up(target.workspace, connection.stream)

    # ── tunnels ─────────────────────────────────────────────────────────────────────────────────

    async def _dial(self, target: Target) -> Stream:
        workspace = target.workspace
        agent = self._agents.agent(workspace)
        if self._open[workspace] >= TUNNELS_LIMIT:
            # What nobody uses makes room, and what is being closed has made some soon.
            for each in [each for each in self._idle if each.workspace == workspace]:
                self._drop(each)
            await asyncio.gather(*self._closing.get(workspace, ()), return_exceptions=True)
        if self._open[workspace] >= TUNNELS_LIMIT:
            raise TooMany(f"This workspace has {TUNNELS_LIMIT} connections open, the limit.")
        self._open[workspace] += 1
        try:
            return await agent.tunnel(target.port)
        except BaseException:
            self._release(workspace)
            raise

    def _hang_up(self, workspace: str, stream: Stream) -> None:
        """Close without waiting for the other side to agree."""
        task = asyncio.create_task(stream.close())
        closing = self._closing.setdefault(workspace, set())
        closing.add(task)

        def closed(task: asyncio.Task[None]) -> None:
            closing.discard(task)
            if not closing and self._closing.get(workspace) is closing:
                del self._closing[workspace]
            self._release(workspace)

        task.add_done_callback(closed)

    def _release(self, workspace: str) -> None:
        self._open[workspace] -= 1
        if not self._open[workspace]:
            del self._open[workspace]
