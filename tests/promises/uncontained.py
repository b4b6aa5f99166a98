"""`cloudide serve` without a container engine: one workspace, whose agent is a plain process.

The server is the real one and may be killed; its agent lives on beside it, as it does in a
container, and dials again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peer import Peer
from server import ADMIN_TOKEN, WAIT_SECONDS, Server
from websockets.exceptions import WebSocketException

from cloudide.identity.accounts import AUTOMATION, Accounts
from cloudide.storage.database import Database
from cloudide.workspaces.store import Store

WORKSPACE = "w0"
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


class Uncontained(Server):
    """`root` is the workspace's folder, as programs in it see it."""

    def __init__(self, directory: Path, **settings: object) -> None:
        nowhere = f"unix://{directory}/no-engine.sock"
        super().__init__(directory / "data", docker_host=nowhere, **settings)
        self.root = directory / "root"
        self._agent: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if self._agent is None:
            self.root.mkdir()
            await self._make_workspace()
        await super().start()
        if self._agent is None:
            self._agent = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cloudide.agent"),
                env={
                    **os.environ,
                    "CLOUDIDE_LINK": str(self.data_dir / "run" / WORKSPACE),
                    "CLOUDIDE_ROOT": str(self.root),
                },
            )

    async def close(self) -> None:
        await self.stop()
        if self._agent is not None:
            self._agent.terminate()
            await self._agent.wait()
        await self.api.close()

    def collab(self, path: str) -> str:
        return f"{self.url}/api/v1/workspaces/{WORKSPACE}/collab/{path}"

    def peer(self, path: str, **options: Any) -> Peer:
        """A client, not yet connected."""
        return Peer(self.collab(path), **{"additional_headers": HEADERS, **options})

    async def joined(self, path: str, **options: Any) -> Peer:
        """A client that is in the room."""
        peer = self.peer(path, **options)
        await self.join(peer)
        return peer

    async def join(self, peer: Peer) -> None:
        """Let a client come in as soon as the server runs, and its agent has dialled."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    await peer.connect()
                except (OSError, WebSocketException):
                    await asyncio.sleep(0.02)
                    continue
                await peer.until(lambda: peer.sent or peer.close_code is not None)
                if peer.close_code is None:
                    return
                await asyncio.sleep(0.02)

    async def _make_workspace(self) -> None:
        self.data_dir.mkdir(mode=0o700)
        database = Database(self.data_dir / "cloudide.sqlite")
        await database.start()
        await Accounts(database, ADMIN_TOKEN, session_days=1).start()
        await Store(database, per_user=1, per_team=1).create(
            WORKSPACE, "promises", "base", AUTOMATION, ("", "")
        )
        await database.close()


@asynccontextmanager
async def uncontained(directory: Path, **settings: object) -> AsyncIterator[Uncontained]:
    server = Uncontained(directory, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
