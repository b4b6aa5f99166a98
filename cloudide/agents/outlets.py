"""Outlets: loopback ports of a container whose connections come to us (`protocol/outlets.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cloudide.agents.link import Agent
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, CloudIDEError
from cloudide.protocol import outlets as protocol


class Outlet:
    def __init__(self, agent: Agent, opened: protocol.Outlet) -> None:
        self.port = opened.port
        self._agent = agent
        self._id = opened.id

    async def accept(self, timeout: float) -> Stream:
        """The next connection that a program of the container makes; the caller closes it.

        Raises:
            AgentUnavailable: none came in time, or the link is gone.
        """
        return await self._agent.open(
            lambda stream: protocol.AcceptOutlet(stream, self._id), timeout
        )


@asynccontextmanager
async def outlet(agent: Agent) -> AsyncIterator[Outlet]:
    """An outlet that is there as long as the block."""
    opened: protocol.Outlet = await agent.call(protocol.OpenOutlet())
    if not 0 < opened.port < 65536:
        raise AgentUnavailable("The workspace's agent sent a malformed message.")
    try:
        yield Outlet(agent, opened)
    finally:
        with suppress(CloudIDEError):  # it ends with the link too
            await agent.call(protocol.CloseOutlet(opened.id))
