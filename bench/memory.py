"""Memory: of the server with ten workspaces listed and two open, and of an agent."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from contextlib import AsyncExitStack

import psutil
from peer import Peer
from server import Server

from bench.figures import Quantity, Report
from bench.serving import authorization, cloudide
from cloudide.workspaces.engine import Engine

LISTED, OPEN = 10, 2
MIB = 1024 * 1024
TIMEOUT = 60.0  # seconds


async def measure(options: Namespace) -> list[Report]:
    listed = OPEN + 1 if options.quick else LISTED
    engine = Engine()
    try:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(cloudide())
            workspaces = [await server.api.create(f"workspace {n}") for n in range(listed)]
            for workspace in workspaces[OPEN:]:
                await server.api.post(f"/api/v1/workspaces/{workspace}/stop")
                await server.api.until(workspace, "stopped")
            for workspace in workspaces[:OPEN]:
                await _open(stack, server, workspace)
            serving = psutil.Process(server.pid).memory_info().rss / MIB
            agents = [await agent_size(engine, workspace) for workspace in workspaces[:OPEN]]
    finally:
        engine.close()
    return [
        Report(
            "Memory",
            f"Resident size; {listed} workspaces listed, {OPEN} of them running with a file edited "
            "by one person and a shell used in a terminal, the others stopped.",
            quantities=[
                Quantity("Server", serving, "MiB", 120),
                Quantity("Agent, the larger of two", max(agents), "MiB", 40),
            ],
        )
    ]


async def _open(stack: AsyncExitStack, server: Server, workspace: str) -> None:
    """Edit a file and use a terminal; both stay open."""
    base = f"/api/v1/workspaces/{workspace}"
    await server.api.write(workspace, "main.py", "print('hello')\n" * 500)
    editor = await stack.enter_async_context(
        Peer(f"{server.url}{base}/collab/main.py", additional_headers=authorization(server))
    )
    await editor.until(lambda: editor.acknowledged)  # synced
    for _ in range(100):
        await editor.append("# edited\n")
    await editor.saved()
    terminal = await server.api.post(f"{base}/terminals", json={"cols": 80, "rows": 24})
    socket = await stack.enter_async_context(
        server.api.socket(f"{base}/terminals/{terminal['id']}")
    )
    output = b""
    async with asyncio.timeout(TIMEOUT):
        while (frame := await socket.recv()) and (
            isinstance(frame, bytes) or json.loads(frame)["type"] != "ready"
        ):
            pass
        await socket.send(b"seq 20000; echo all-$((1 + 1))\n")
        while b"all-2" not in output:
            frame = await socket.recv()
            output += frame if isinstance(frame, bytes) else b""


async def agent_size(engine: Engine, workspace: str) -> float:
    """Resident size of the agent in MiB, as the engine's host counts it."""
    filters = {"label": f"cloudide.workspace={workspace}"}
    container = (await engine.call(lambda client: client.containers(filters=filters)))[0]["Id"]
    top = await engine.call(lambda client: client.top(container, ps_args="-eo pid,rss,args"))
    column = top["Titles"].index("RSS")
    # The container's init process names the agent in its arguments too, and is far smaller.
    sizes = [int(row[column]) for row in top["Processes"] if "cloudide.agent" in row[-1]]
    return max(sizes) / 1024
