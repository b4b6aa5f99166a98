"""A workspace from a pool: from the request to the prompt of its first terminal, and what a ready
one costs while nobody has it."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

import psutil
from server import Server

from bench.create import create
from bench.figures import Quantity, Report, Series
from bench.serving import IMAGE, cloudide
from cloudide.workspaces.engine import Engine

RUNS = 15
TIMEOUT = 60.0  # seconds
MIB = 1024 * 1024


async def measure(options: Namespace) -> list[Report]:
    usable = Series("from the pool, to the prompt", [[]])
    running = Series("from the pool, to state `running`", [[]], compared=False)
    engine = Engine()
    try:
        async with cloudide(pool=f'{{"{IMAGE}": 1}}') as server:
            await _filled(server, 1)
            sizes = await _sizes(engine, server)
            await create(server)
            for _ in range(3 if options.quick else RUNS):
                await _filled(server, 1)
                prompt, state = await create(server)
                usable.rounds[0].append(prompt)
                running.rounds[0].append(state)
            await server.api.put("/api/v1/pools", json={"image": IMAGE, "size": 0})
            await _filled(server, 0)
    finally:
        engine.close()
    cold = Series("made when asked for (`create`)", [[]])
    async with cloudide() as server:
        await create(server)
        for _ in range(3 if options.quick else RUNS):
            cold.rounds[0].append((await create(server))[0])
    agent, others = sizes
    return [
        Report(
            "Create → prompt usable, from a pool",
            f"Image `{IMAGE}`; each run waits until the pool has its one workspace ready again.",
            [usable, running, cold],
            target=120,
        ),
        Report(
            "A ready workspace of a pool",
            "Nobody's, right after its agent connected; memory of each process that is its own "
            "alone (USS).",
            quantities=[
                Quantity("Agent and the container's init", agent, "MiB", 45),
                Quantity("The engine's shim beside it", others, "MiB"),
            ],
        ),
    ]


async def _filled(server: Server, ready: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        # A ready workspace is nobody's, so that nobody is told of it.
        while (await server.api.get("/api/v1/pools"))["pools"][0]["ready"] != ready:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _sizes(engine: Engine, server: Server) -> tuple[float, float]:
    """MiB of the processes in the one container of this server, and of its shim."""
    instance = Path(server.data_dir / "instance").read_text().strip()  # noqa: ASYNC240
    filters = {"label": f"cloudide.instance={instance}"}
    [row] = await engine.call(lambda client: client.containers(filters=filters))
    found = await engine.call(lambda client: client.inspect_container(row["Id"]))
    init = psutil.Process(found["State"]["Pid"])
    shim = init.parent()
    inside = [init, *init.children(recursive=True)]
    return sum(map(_uss, inside)), _uss(shim) if shim else 0.0


def _uss(process: psutil.Process) -> float:
    return process.memory_full_info().uss / MIB
