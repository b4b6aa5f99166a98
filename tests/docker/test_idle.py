"""Seconds for minutes: a workspace that nobody uses is warned of, stopped, and starts again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from server import Server, serving

IDLE_SECONDS, WARNING_SECONDS = 3.0, 2.0


@pytest.fixture(scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    data = tmp_path_factory.mktemp("hasty") / "data"
    times = {"idle_minutes": IDLE_SECONDS / 60, "idle_warning_minutes": WARNING_SECONDS / 60}
    async with serving(data, **times) as server:
        yield server


async def test_from_a_task_at_work_to_a_new_start(hasty: Server) -> None:
    api = hasty.api
    workspace = await api.create("idle")
    root = f"/api/v1/workspaces/{workspace}"
    await api.write(workspace, "cloudide.toml", '[tasks.work]\ncommand = "sleep 5; echo done"\n')
    async with asyncio.timeout(60), api.socket("/api/v1/events") as socket:
        await socket.send(json.dumps({"type": "watch", "workspace": workspace}))
        await api.post(f"{root}/tasks/work/runs", json={})
        # The task takes longer than the idle time, and passes all the same.
        heard: list[str] = []
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "tasks":
                heard.append(message["runs"][0]["state"])
            elif message["type"] == "activity" and message["stops_at"] and "passed" in heard:
                heard.append("warned")
            elif message["type"] == "workspace":
                heard.append(message["workspace"]["state"])
                if message["workspace"]["state"] == "stopped":
                    break
    assert heard[-5:] == ["running", "passed", "warned", "stopping", "stopped"]
    assert message["workspace"]["stopped_by"] == "idle"
    assert message["workspace"]["desired_state"] == "stopped"
    assert "error" not in message["workspace"]
    started = await api.post(f"{root}/start")
    assert "stopped_by" not in started
    await api.until(workspace, "running")
    assert (await api.read(workspace, "cloudide.toml")).startswith(b"[tasks.work]")
