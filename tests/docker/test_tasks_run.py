"""Tasks in a real container: what they cost, that nothing of them stays, and servers that go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from server import Server, serving

MIB = 1024 * 1024
DEFINITIONS = r"""
[tasks.heavy]
command = '''python3 -c "
import time
hold = b'x' * 100_000_000
while time.process_time() < 0.5: pass
time.sleep(0.5)
"'''

[tasks.slow]
command = "sleep 4001 & sleep 4002 & echo up; wait"

[tasks.leaves]
command = "sleep 4003 & nohup sleep 4004 >/dev/null 2>&1 & echo left"

[tasks.serve]
command = "exec python3 -m http.server 8765"
background = true
ready_when = 8765
"""


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server of its own: it is killed."""
    async with serving(tmp_path_factory.mktemp("tasks") / "data") as server:
        yield server


@pytest.fixture(scope="module")
async def workspace(own: Server) -> str:
    workspace = await own.api.create("tasks", image="python")
    await own.api.write(workspace, "cloudide.toml", DEFINITIONS)
    return workspace


@pytest.fixture
def root(workspace: str) -> str:
    return f"/api/v1/workspaces/{workspace}"


async def run(own: Server, root: str, task: str, state: str) -> dict[str, Any]:
    """Start a task and wait until it is `state`."""
    run = await own.api.post(f"{root}/tasks/{task}/runs", json={})
    return await until(own, root, run["id"], lambda run: run["state"] == state)


async def until(
    own: Server, root: str, id: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait for a change of a run that fits, or until it does already."""
    workspace = root.rpartition("/")[2]
    async with asyncio.timeout(30), own.api.socket("/api/v1/events") as socket:
        await socket.send(json.dumps({"type": "watch", "workspace": workspace}))
        await socket.recv()  # from now on every change is told
        runs = (await own.api.get(f"{root}/task-runs"))["runs"]
        while not (found := [run for run in runs if run["id"] == id and condition(run)]):
            message = json.loads(await socket.recv())
            runs = message["runs"] if message["type"] == "tasks" else []
    return found[0]


async def sleepers(own: Server, workspace: str) -> list[str]:
    """What sleeps in the container, by the number of seconds."""
    script = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    _, output = await own.api.run(workspace, "sh", "-c", script)
    words = output.split()
    return [number for number in ("4001", "4002", "4003", "4004") if number in words]


async def test_what_a_task_cost_is_its_own(own: Server, root: str) -> None:
    heavy = await run(own, root, "heavy", "passed")
    assert 0.4 < heavy["cpu_seconds"] < 5
    assert 100_000_000 < heavy["peak_memory"] < 200 * MIB
    assert heavy["seconds"] > 0.9


async def test_nothing_of_a_task_stays(own: Server, workspace: str, root: str) -> None:
    await run(own, root, "leaves", "passed")
    assert await sleepers(own, workspace) == []
    slow = await run(own, root, "slow", "running")
    assert await sleepers(own, workspace) == ["4001", "4002"]
    stopped = await own.api.delete(f"{root}/task-runs/{slow['id']}")
    assert (stopped["state"], stopped["exit"]) == ("stopped", {"signal": 1})
    assert await sleepers(own, workspace) == []


async def test_a_server_is_ready_when_its_port_listens(own: Server, root: str) -> None:
    serve = await run(own, root, "serve", "running")
    ready = await until(own, root, serve["id"], lambda run: run.get("ready", False))
    assert ready["port"] == 8765
    assert (await own.api.get(f"{root}/activity"))["holds"] == []
    await own.api.delete(f"{root}/task-runs/{serve['id']}")


async def test_a_killed_server_tells_what_it_does_not_know(
    own: Server, workspace: str, root: str
) -> None:
    slow = await run(own, root, "slow", "running")
    await own.kill()
    await own.start()
    await own.api.until(workspace, "running")
    after = await until(own, root, slow["id"], lambda run: run["state"] == "interrupted")
    assert "restarted" in after["detail"]
    # Nobody looked after it any more: it was ended with the connection.
    assert await sleepers(own, workspace) == []
    again = await run(own, root, "slow", "running")
    await own.api.delete(f"{root}/task-runs/{again['id']}")


async def test_a_task_ends_with_its_workspace(own: Server, workspace: str, root: str) -> None:
    slow = await run(own, root, "slow", "running")
    await own.api.post(f"{root}/stop")
    await own.api.until(workspace, "stopped")
    after = await until(own, root, slow["id"], lambda run: run["state"] == "interrupted")
    assert "went away while this ran" in after["detail"]
    refused = await own.api.request("POST", f"{root}/tasks/slow/runs", json={})
    assert refused.status_code == 503
