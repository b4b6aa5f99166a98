"""Hints: what makes disk peers look at their files.

An agent tells that files changed, that it is there, or that it went; and because watch events can
be lost, the stat of open files is compared now and then. A hint may be wrong, or come twice: the
peer looks, and finds that nothing happened.

A file that is gone may have been renamed: it is looked for where something appeared a moment ago.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.collab.disk import DiskPeer
from cloudide.errors import CloudIDEError
from cloudide.protocol.agent import FilesChanged

ARRIVAL_SECONDS, ARRIVALS = 5.0, 256  # how long, and how many a workspace


class Hints(Listener):
    """Gives hints to `peers`, the disk peers of all open rooms.

    `at` finds the one of a workspace's path, without a search: every write is followed by an event.
    `moved` is told the workspace, the former and the new path of an open file that was renamed.
    """

    def __init__(
        self,
        agents: Agents,
        peers: Callable[[], list[DiskPeer]],
        at: Callable[[str, str], DiskPeer | None],
        moved: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self._agents = agents
        self._peers = peers
        self._at = at
        self._moved = moved
        self._arrivals = Arrivals()

    def connected(self, agent: Agent) -> None:
        for peer in self._of(agent.workspace_id):
            peer.reconnected()

    def disconnected(self, workspace_id: str) -> None:
        for peer in self._of(workspace_id):
            peer.hint()

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None:
        added = [change.path for change in event.changes if change.kind == "added"]
        self._arrivals.note(workspace_id, added)
        for change in event.changes:
            peer = self._at(workspace_id, change.path)
            if peer is not None and not peer.holds(change.hash):
                peer.hint()
        if event.overflow or added:
            for peer in self._of(workspace_id):
                if event.overflow or peer.deleted:  # what was added may be what went before
                    peer.hint()

    async def compare(self, interval: float) -> None:
        """Compare the stat of open files every `interval` seconds."""
        while True:
            await asyncio.sleep(interval)
            workspaces: dict[str, list[DiskPeer]] = {}
            for peer in self._peers():
                workspaces.setdefault(peer.room.workspace, []).append(peer)
            for workspace, peers in workspaces.items():
                with suppress(CloudIDEError):
                    agent = self._agents.agent(workspace)
                    found = await agent.stat([peer.room.path for peer in peers])
                    for peer, stat in zip(peers, found, strict=True):
                        changed = stat != peer.stat and not (stat is None and peer.deleted)
                        if changed or peer.offline:
                            peer.hint()

    async def follow(self, peer: DiskPeer) -> bool:
        """Whether a file that is not at its path was renamed; its room is there then."""
        room, before = peer.room, peer.stat
        paths = self._arrivals.recent(room.workspace)
        if before is None or not paths:
            return False
        agent = self._agents.agent(room.workspace)
        for path, stat in zip(paths, await agent.stat(paths), strict=True):
            # An inode is given to another file as soon as it is free: the rest tells them apart.
            if stat == before and self._at(room.workspace, path) is None:
                await self._moved(room.workspace, room.path, path)
                return True
        return False

    def forget(self, workspace: str) -> None:
        self._arrivals.forget(workspace)

    def _of(self, workspace: str) -> list[DiskPeer]:
        return [peer for peer in self._peers() if peer.room.workspace == workspace]


class Arrivals:
    """Paths at which something appeared a moment ago: where a file may be that is gone."""

    def __init__(self) -> None:
        self._known: dict[str, deque[tuple[float, str]]] = {}

    def note(self, workspace: str, paths: list[str]) -> None:
        if paths:
            known = self._known.setdefault(workspace, deque(maxlen=ARRIVALS))
            known.extend((time.monotonic(), path) for path in paths)

    def recent(self, workspace: str) -> list[str]:
        earliest = time.monotonic() - ARRIVAL_SECONDS
        return [path for at, path in self._known.get(workspace, ()) if at >= earliest]

    def forget(self, workspace: str) -> None:
        self._known.pop(workspace, None)
