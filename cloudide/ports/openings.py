"""Which ports are open, as the agents tell; a list for each workspace, bounded and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cloudide.agents.failures import printable
from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.protocol.agent import PORTS_LIMIT, Port


class Openings(Listener):
    """What listens in each workspace whose agent is connected."""

    def __init__(self, agents: Agents) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self._ports: dict[str, dict[int, Port]] = {}
        self._changed = asyncio.Event()
        agents.subscribe(self)

    def list(self, workspace: str) -> Sequence[Port]:
        return [*self._ports.get(workspace, {}).values()]

    async def wait(self, workspace: str, port: int, timeout: float) -> bool:
        """Whether something listens on the port, at the latest after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while port not in self._ports.get(workspace, {}):
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # ── what the agents say ─────────────────────────────────────────────────────────────────────

    def connected(self, agent: Agent) -> None:
        self._put(agent.workspace_id, agent.hello.ports)

    def disconnected(self, workspace_id: str) -> None:
        self._put(workspace_id, [])

    def ports_changed(self, workspace_id: str, ports: Sequence[Port]) -> None:
        self._put(workspace_id, ports)

    def _put(self, workspace: str, told: Sequence[Port]) -> None:
        ports = {
            port.port: Port(port.port, port.any, port.pid, printable(port.command))
            for port in told[:PORTS_LIMIT]
            if 0 < port.port < 65536
        }
        if ports == self._ports.get(workspace, {}):
            return
        if ports:
            self._ports[workspace] = ports
        else:
            self._ports.pop(workspace, None)
        self._changed.set()
        self._changed.clear()
        self.on_change(workspace)
