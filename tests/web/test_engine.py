"""An engine that is not there, comes, goes and dies in the middle of something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from cuttable import CuttableEngine
from server import WAIT_SECONDS, Server


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[CuttableEngine]:
    engine = CuttableEngine(tmp_path / "engine.sock")
    yield engine
    await engine.cut()


@pytest.fixture
async def server(tmp_path: Path, engine: CuttableEngine) -> AsyncIterator[Server]:
    server = Server(tmp_path / "data", docker_host=engine.url)
    await server.start()
    yield server
    if not engine.path.exists():
        await engine.restore()
    await server.close()


async def shown(server: Server, workspace: str, text: str) -> dict[str, Any]:
    """Wait until a workspace shows an error that holds `text`."""
    async with asyncio.timeout(WAIT_SECONDS), aclosing(server.api.events(workspace)) as events:
        async for event, body in events:
            if event == "state" and text in body["workspace"].get("error", ""):
                return body["workspace"]
    raise AssertionError("The events ended.")


async def containers(server: Server) -> list[str]:
    """The names of this server's containers and volumes in the real engine."""
    instance = (server.data_dir / "instance").read_text().strip()
    names = []
    for kind in (["ps", "--all", "--format", "{{.Names}}"], ["volume", "ls", "-q"]):
        process = await asyncio.create_subprocess_exec(
            "docker", *kind, "--filter", f"name={instance}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        names += output.decode().split()
    return sorted(names)


async def test_it_starts_without_an_engine_and_goes_on_when_there_is_one(
    server: Server, engine: CuttableEngine
) -> None:
    ask = server.api.request
    assert (await ask("GET", "/healthz")).status_code == 200
    ready = await ask("GET", "/readyz")
    assert ready.status_code == 503
    assert "engine" in ready.json()["detail"]
    made = await ask("POST", "/api/v1/workspaces", json={"name": "early", "image": "base"})
    if made.status_code == 503:
        assert "engine" in made.json()["detail"]
        await engine.restore()
        workspace = await server.api.create("early")
    else:
        workspace = made.json()["id"]
        await shown(server, workspace, "engine")
        await engine.restore()
        await server.api.until(workspace, "running")
    assert (await ask("GET", "/readyz")).status_code == 200
    exit, output = await server.api.run(workspace, "echo", "hello")
    assert (exit, output.strip()) == ({"code": 0}, "hello")


@pytest.mark.parametrize("request_", [b"/containers/create", b"/start HTTP", b"/volumes/create"])
async def test_an_engine_that_dies_in_the_middle_of_a_create(
    server: Server, engine: CuttableEngine, request_: bytes
) -> None:
    """The engine carries the request out, and nobody hears of it."""
    await engine.restore()
    first = await server.api.create("first")
    await server.api.remove(first)
    engine.cut_at = request_
    body = {"name": "cut", "image": "base"}
    workspace = (await server.api.post("/api/v1/workspaces", json=body))["id"]
    await asyncio.wait_for(engine.was_cut.wait(), WAIT_SECONDS)
    await shown(server, workspace, "engine")
    await engine.restore()
    await server.api.until(workspace, "running")
    exit, _ = await server.api.run(workspace, "true")
    assert exit == {"code": 0}
    mine = [name for name in await containers(server) if workspace in name]
    assert len(mine) == len(set(mine))
    assert sum(name.endswith(workspace) for name in mine) == 1, mine
    await server.api.remove(workspace)
    assert [name for name in await containers(server) if workspace in name] == []


async def test_a_running_workspace_survives_the_engines_absence(
    server: Server, engine: CuttableEngine
) -> None:
    await engine.restore()
    workspace = await server.api.create("survivor")
    terminal = await server.api.post(
        f"/api/v1/workspaces/{workspace}/terminals", json={"command": ["cat"]}
    )
    path = f"/api/v1/workspaces/{workspace}/terminals/{terminal['id']}"
    before = await containers(server)
    async with server.api.socket(path) as socket:
        while json.loads(await socket.recv())["type"] != "ready":
            pass
        await engine.cut()
        await server.api.write(workspace, "a.txt", "written without an engine")
        await socket.send(b"still here\n")
        seen = b""
        while b"still here" not in seen:
            frame = await socket.recv()
            seen += frame if isinstance(frame, bytes) else b""
        await engine.restore()
        assert (await server.api.get(f"/api/v1/workspaces/{workspace}"))["state"] == "running"
    assert await containers(server) == before
