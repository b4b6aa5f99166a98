"""A terminal in a real container lives on when the server is killed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from containers import execute
from screens import DUMP, screens, seen
from server import Server, serving
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.workspaces.engine import Engine

pytest_plugins = ["engine"]
TIMEOUT = 60.0


class Viewer:
    """One who looks: all that was shown since the last replay began, that included."""

    def __init__(self, socket: ClientConnection) -> None:
        self.output = b""
        self._socket = socket

    async def step(self) -> str:
        """Take one frame; returns its type, "" for bytes."""
        frame = await self._socket.recv()
        if isinstance(frame, bytes):
            self.output += frame
            return ""
        type: str = json.loads(frame)["type"]
        if type == "replay":
            self.output = b""
        return type

    async def until_ready(self) -> None:
        while await self.step() != "ready":
            pass

    async def until_cut(self) -> None:
        try:
            while True:
                await self.step()
        except ConnectionClosed:
            pass

    async def screen(self) -> dict[str, Any]:
        [[dump]] = await screens([self.output, DUMP])
        return seen(dump)


async def shows(viewer: Viewer, wanted: str) -> None:
    while not any(wanted in row for row, _ in (await viewer.screen())["rows"]):
        await viewer.step()


async def test_a_kill_of_the_server_during_htop(tmp_path: Path, engine: Engine) -> None:
    """Who comes back sees the same screen, to the attribute and the cursor."""
    async with serving(tmp_path / "data") as server:
        workspace = await server.api.create("htop")
        terminals = f"/api/v1/workspaces/{workspace}/terminals"
        body = {"command": ["htop", "--delay=100"], "cols": 80, "rows": 24}
        id = (await server.api.post(terminals, json=body))["id"]
        path = f"{terminals}/{id}"
        async with asyncio.timeout(TIMEOUT):
            async with server.api.socket(path) as socket:
                before = Viewer(socket)
                await before.until_ready()
                await socket.send(b"/")
                await shows(before, "Search:")
                await socket.send(b"hto")
                await shows(before, "Search: hto")
                # What it draws next may not come between the two looks.
                container = await container_of(engine, workspace)
                assert (await execute(engine, container, "pkill", "-STOP", "htop"))[0] == 0
                await last_of(server, path, before)
                await server.kill()
                await before.until_cut()
            await server.start()
            await server.api.until(workspace, "running")
            async with server.api.socket(path) as socket:
                after = Viewer(socket)
                await after.until_ready()
                assert await after.screen() == await before.screen()
                assert (await execute(engine, container, "pkill", "-CONT", "htop"))[0] == 0
                await socket.send(b"p-is-typed")
                await shows(after, "Search: htop-is-typed")


async def last_of(server: Server, path: str, viewer: Viewer) -> None:
    """Let the viewer take what a halted program printed last: a newcomer sees all of it at once."""
    async with server.api.socket(path) as socket:
        newcomer = Viewer(socket)
        await newcomer.until_ready()
        complete = await newcomer.screen()
        while await viewer.screen() != complete:
            await viewer.step()


async def container_of(engine: Engine, workspace: str) -> str:
    filters = {"label": f"cloudide.workspace={workspace}"}
    [row] = await engine.call(lambda client: client.containers(filters=filters))
    return row["Id"]
