"""Connections to ports of workspaces: tunnels, counted; those of HTTP are kept for what is next.

Where a tunnel leads is decided in the container, by a port's number alone: to its own loopback.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.tunnels import Connection, Tunnel
from cloudide.errors import TooMany
from cloudide.ports.sites import Target

TUNNELS_LIMIT = 128  # of one workspace; its agent has half as many sockets left for all else
IDLE_LIMIT = 16  # connections to one port kept for the next request
IDLE_SECONDS = 4.0  # Node closes its own after 5 s, and a request may be on its way by then


class Tunnels(Listener):
    """The tunnels of all workspaces."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._open: Counter[str] = Counter()
        self._idle: dict[Target, deque[tuple[Tunnel, float]]] = {}  # the oldest at the left
        self._sweep: asyncio.TimerHandle | None = None
        agents.subscribe(self)

    @asynccontextmanager
    async def connect(self, workspace: str, port: int) -> AsyncIterator[Connection]:
        """A connection to a port, for as long as the context lasts.

        Raises:
            NotFound: nothing listens there. TooMany: of one workspace there may be no more.
            AgentUnavailable: the workspace does not run.
        """
        target = Target(port, workspace)
        tunnel = await self.dial(target)
        try:
            yield Connection(tunnel)
        finally:
            self.hang_up(target, tunnel)

    async def dial(self, target: Target) -> Tunnel:
        """A new tunnel, for `hang_up` or `keep`. Raises what `connect` does."""
        workspace = target.workspace
        agent = self._agents.agent(workspace)
        if self._open[workspace] >= TUNNELS_LIMIT:
            # What nobody uses makes room.
            for each in [each for each in self._idle if each.workspace == workspace]:
                self._drop(each)
        if self._open[workspace] >= TUNNELS_LIMIT:
            raise TooMany(f"This workspace has {TUNNELS_LIMIT} connections open, the limit.")
        self._open[workspace] += 1
        try:
            return await agent.tunnel(target.port)
        except BaseException:
            self._release(workspace)
            raise

    def hang_up(self, target: Target, tunnel: Tunnel) -> None:
        """Close a tunnel at once."""
        tunnel.abort()
        self._release(target.workspace)

    # ── kept connections ────────────────────────────────────────────────────────────────────────

    def take(self, target: Target) -> Tunnel | None:
        """The kept one that was used last, if there is one that is still good."""
        idle = self._idle.get(target)
        now = time.monotonic()
        while idle:
            tunnel, until = idle.pop()
            if not tunnel.stale and until > now:
                return tunnel
            self.hang_up(target, tunnel)
        return None

    def keep(self, target: Target, tunnel: Tunnel) -> None:
        """Keep a tunnel for the next request."""
        idle = self._idle.get(target)
        if idle is None:
            idle = self._idle[target] = deque()
        if len(idle) >= IDLE_LIMIT:
            self.hang_up(target, tunnel)
            return
        tunnel.resume_reading()
        idle.append((tunnel, time.monotonic() + IDLE_SECONDS))
        if self._sweep is None:
            self._expire_later()

    def disconnected(self, workspace_id: str) -> None:
        """The tunnels are gone with the link."""
        for target in [each for each in self._idle if each.workspace == workspace_id]:
            self._drop(target)

    async def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for target in [*self._idle]:
            self._drop(target)

    def _expire(self) -> None:
        """Close what nobody has used in time, and look again when the next ones are due."""
        self._sweep = None
        now = time.monotonic()
        for target, idle in [*self._idle.items()]:
            while idle and (idle[0][0].stale or idle[0][1] <= now):
                self.hang_up(target, idle.popleft()[0])
            if not idle:
                del self._idle[target]
        self._expire_later()

    def _expire_later(self) -> None:
        if self._sweep is None and self._idle:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(IDLE_SECONDS / 4, self._expire)

    def _drop(self, target: Target) -> None:
        for tunnel, _ in self._idle.pop(target):
            self.hang_up(target, tunnel)

    def _release(self, workspace: str) -> None:
        self._open[workspace] -= 1
        if not self._open[workspace]:
            del self._open[workspace]
