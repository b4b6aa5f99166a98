"""Create → prompt usable: from the request for a workspace to the prompt of its first terminal.

The peer is what the engine alone needs: create and start a container of the same image, with the
same limits and a network of its own, until the first line of its output.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from server import Server

from bench.figures import Report, Series
from bench.serving import IMAGE, cloudide
from cloudide.images.catalogue import read
from cloudide.settings import Settings
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient

RUNS = 15
TIMEOUT = 30.0  # seconds
SUBNET = "10.213.255.240/28"  # outside the pool of workspace networks


async def measure(options: Namespace) -> list[Report]:
    ours = Series("CloudIDE, to the prompt", [[]])
    running = Series("CloudIDE, to state `running`", [[]], compared=False)
    networked = Series("bare create + start, own network", [[]])
    isolated = Series("bare create + start, no network", [[]])
    engine = Engine()
    try:
        async with cloudide() as server:
            await create(server)  # imports, connections and the page cache are warm from here on
            for _ in range(3 if options.quick else RUNS):
                usable, ready = await create(server)
                ours.rounds[0].append(usable)
                running.rounds[0].append(ready)
                networked.rounds[0].append(await engine.call(lambda client: _bare(client, True)))
                isolated.rounds[0].append(await engine.call(lambda client: _bare(client, False)))
    finally:
        engine.close()
    report = Report(
        "Create → prompt usable",
        f"Image `{IMAGE}` present; runs alternate. A bare container's time includes making its "
        "network.",
        [ours, running, networked, isolated],
        target=1000,
    )
    return [report]


async def create(server: Server) -> tuple[float, float]:
    """Milliseconds to the prompt and to the state `running`, as a page would do it."""
    api = server.api
    async with asyncio.timeout(TIMEOUT), api.socket("/api/v1/events") as events:
        began = time.perf_counter()
        body = {"name": "bench", "image": IMAGE}
        id = (await api.post("/api/v1/workspaces", json=body))["id"]
        await events.send(json.dumps({"type": "watch", "workspace": id}))
        while not _is_running(json.loads(await events.recv())):
            pass
        running = time.perf_counter() - began
        terminals = f"/api/v1/workspaces/{id}/terminals"
        terminal = await api.post(terminals, json={"cols": 80, "rows": 24})
        async with api.socket(f"{terminals}/{terminal['id']}") as socket:
            output = b""
            while b"$" not in output:
                frame = await socket.recv()
                output += frame if isinstance(frame, bytes) else b""
        usable = time.perf_counter() - began
    await api.remove(id)
    return usable * 1000, running * 1000


def _is_running(message: dict[str, Any]) -> bool:
    return message["type"] == "workspace" and message["workspace"]["state"] == "running"


def _bare(client: APIClient, networked: bool) -> float:
    """Milliseconds; blocks."""
    from docker.types import IPAMConfig, IPAMPool

    settings = Settings()
    name = f"cloudide-bench-{secrets.token_hex(4)}"
    undo: list[Callable[[], object]] = []
    try:
        began = time.perf_counter()
        if networked:
            pool = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
            client.create_network(name, driver="bridge", ipam=pool)
            undo.append(lambda: client.remove_network(name))
        client.create_container(
            read()[IMAGE].tag,
            ["-c", "echo ready; exec sleep 60"],
            entrypoint=["/bin/sh"],
            name=name,
            host_config=client.create_host_config(
                network_mode=name if networked else "none",
                init=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                nano_cpus=round(settings.workspace_cpus * 1e9),
                mem_limit=settings.workspace_memory,
                memswap_limit=settings.workspace_memory,
                pids_limit=settings.workspace_processes,
            ),
        )
        undo.append(lambda: client.remove_container(name, force=True))
        output = client.attach(name, stream=True)
        client.start(name)
        assert b"ready" in next(iter(output))
        return (time.perf_counter() - began) * 1000
    finally:
        for each in reversed(undo):
            each()
