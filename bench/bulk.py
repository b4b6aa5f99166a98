"""Bulk output: lines of 200 characters through one terminal, to three viewers who read as they can.

The same program prints for both servers, beside: `terminado` without a container. A viewer of ours
that falls behind gets a replay in place of what it missed, which its bytes would show.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import psutil
from server import Server
from websockets.asyncio.client import ClientConnection, connect

from bench.serving import cloudide, free_port, peer, python_peer

ROUNDS, MEGABYTES, VIEWERS = 5, 100, 3
TIMEOUT = 120.0  # seconds for one round
LINE = "x" * 199
SCRIPT = (
    "stty -echo -opost; printf ready; read x; yes {line} | head -n {lines}; printf over; sleep 99"
)


class Way(msgspec.Struct):
    """One server, and what came of it in each round."""

    name: str
    rates: list[float] = []  # MB/s to each viewer
    costs: list[float] = []  # ms of CPU for each MB printed
    received: list[float] = []  # the least that a viewer received, in MB


class Bulk(msgspec.Struct):
    title: str
    conditions: str
    ways: list[Way]

    def table(self) -> str:
        rows = ["| | MB/s | CPU ms/MB | least received MB |", "|---|--:|--:|--:|"]
        for way in self.ways:
            rate, cost = statistics.median(way.rates), statistics.median(way.costs)
            rows.append(f"| {way.name} | {rate:,.1f} | {cost:.1f} | {min(way.received):,.1f} |")
        return "\n".join(rows)


async def measure(options: Namespace) -> list[Bulk]:
    rounds, size = (1, 20) if options.quick else (ROUNDS, MEGABYTES)
    lines = size * 5000
    command = ["sh", "-c", SCRIPT.format(line=LINE, lines=lines)]
    ours, theirs = Way("**CloudIDE, in a container**"), Way("terminado 0.18, no container")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(cloudide())
        workspace = await server.api.create()
        for _ in range(rounds):
            async with asyncio.timeout(TIMEOUT), _ours(server, workspace, command) as viewers:
                pids = [server.pid, *_agents()]
                await _round(ours, viewers, _take_ours, b"\n", pids, size)
            async with asyncio.timeout(TIMEOUT), _terminado(command) as (pid, viewers):
                key = json.dumps(["stdin", "\n"])
                await _round(theirs, viewers, _take_terminado, key, [pid], size)
    conditions = (
        f"{rounds} alternating rounds of {size} MB, medians; {VIEWERS} viewers in one Python "
        "process on the same machine; nothing pinned. CPU is that of the servers, and for ours of "
        "all agents on this machine."
    )
    return [Bulk("Bulk output to three viewers of one terminal", conditions, [ours, theirs])]


async def _round(
    way: Way,
    viewers: list[ClientConnection],
    take: Callable[[ClientConnection, str], Awaitable[int]],
    key: bytes | str,
    pids: list[int],
    size: int,
) -> None:
    await asyncio.gather(*(take(viewer, "ready") for viewer in viewers))
    used, began = _cpu(pids), time.perf_counter()
    await viewers[0].send(key)
    received = await asyncio.gather(*(take(viewer, "over") for viewer in viewers))
    way.rates.append(size / (time.perf_counter() - began))
    way.costs.append((_cpu(pids) - used) * 1000 / size)
    way.received.append(min(received) / 1e6)


async def _take_ours(viewer: ClientConnection, until: str) -> int:
    """Bytes received until `until` was printed."""
    wanted, count, tail = until.encode(), 0, b""
    while wanted not in tail:
        frame = await viewer.recv()
        if isinstance(frame, bytes):
            count += len(frame)
            tail = (tail + frame[-16:])[-16:]
    return count


async def _take_terminado(viewer: ClientConnection, until: str) -> int:
    count, tail = 0, ""
    while until not in tail:
        kind, *rest = json.loads(await viewer.recv())
        if kind == "stdout":
            count += len(rest[0])
            tail = (tail + rest[0][-16:])[-16:]
    return count


@asynccontextmanager
async def _ours(
    server: Server, workspace: str, command: list[str]
) -> AsyncIterator[list[ClientConnection]]:
    terminals = f"/api/v1/workspaces/{workspace}/terminals"
    body = {"cols": 80, "rows": 24, "command": command}
    id = (await server.api.post(terminals, json=body))["id"]
    async with AsyncExitStack() as stack:
        path = f"{terminals}/{id}"
        yield [
            await stack.enter_async_context(server.api.socket(path, max_size=None))
            for _ in range(VIEWERS)
        ]
    await server.api.delete(f"{terminals}/{id}")


@asynccontextmanager
async def _terminado(command: list[str]) -> AsyncIterator[tuple[int, list[ClientConnection]]]:
    port = free_port()
    program = [*python_peer("terminado_server.py"), "--shared", *command]
    async with peer(*program, port=port, pinned=False) as process, AsyncExitStack() as stack:
        url = f"ws://127.0.0.1:{port}/terminal"
        yield (
            process.pid,
            [
                await stack.enter_async_context(connect(url, compression=None, max_size=None))
                for _ in range(VIEWERS)
            ],
        )


def _agents() -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [each.pid for each in found if "cloudide.agent" in (each.info["cmdline"] or [])]


def _cpu(pids: list[int]) -> float:
    """Seconds of CPU that these processes have used."""
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
