"""Memory of an idle terminal: what a server, and our agent, grow by for each that is open.

The program and its pseudo-terminal are the same everywhere and not counted. A terminal of ours
keeps up to 1 MiB of its output for who comes later, so it is weighed before and after it printed.
"""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import psutil
from server import Server
from websockets.asyncio.client import ClientConnection, connect

from bench.figures import Quantity, Report
from bench.memory import agent_size
from bench.serving import cloudide, free_port, peer, python_peer
from cloudide.workspaces.engine import Engine

TERMINALS = 30
READY, PRINTED = b"ready", b"printed"
# Prints more than is kept once it is told to, and waits.
PROGRAM = [
    *("sh", "-c"),
    f"printf {READY.decode()}; read -r line; head -c 2000000 /dev/zero | tr '\\0' x; "
    f"printf {PRINTED.decode()}; exec cat",
]
TIMEOUT = 120.0  # seconds

Size = Callable[[], Awaitable[float]]  # KiB


class Viewer:
    """One terminal's only viewer."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._output = b""

    async def enter(self) -> None:
        await self._socket.send(b"\r")

    async def until(self, said: bytes) -> None:
        while said not in self._output:
            frame = await self._socket.recv()
            if isinstance(frame, bytes):
                self._output = self._output[-len(said) :] + frame


class Terminado(Viewer):
    async def enter(self) -> None:
        await self._socket.send(json.dumps(["stdin", "\r"]))

    async def until(self, said: bytes) -> None:
        while said not in self._output:
            kind, *rest = json.loads(await self._socket.recv())
            if kind == "stdout":
                self._output = self._output[-len(said) :] + rest[0].encode()


async def measure(options: Namespace) -> list[Report]:
    count = 5 if options.quick else TERMINALS
    engine = Engine()
    port = free_port()
    quantities: list[Quantity] = []
    try:
        async with AsyncExitStack() as stack, asyncio.timeout(TIMEOUT):
            server = await stack.enter_async_context(cloudide())
            workspace = await server.api.create()
            process = await stack.enter_async_context(
                peer(*python_peer("terminado_server.py"), *PROGRAM, port=port, pinned=False)
            )

            async def ours() -> Viewer:
                return Viewer(await stack.enter_async_context(await _opened(server, workspace)))

            async def theirs() -> Viewer:
                way = connect(f"ws://127.0.0.1:{port}/terminal", compression=None)
                return Terminado(await stack.enter_async_context(way))

            async def agent() -> float:
                return await agent_size(engine, workspace) * 1024

            for name, open, *sizes in (
                (("Server", "Agent"), ours, _of(server.pid), agent),
                (("terminado 0.18",), theirs, _of(process.pid)),
            ):
                for when, grown in await _grown(count, open, sizes):
                    quantities += [
                        Quantity(f"{each}, {when}", kib, "KiB")
                        for each, kib in zip(name, grown, strict=True)
                    ]
    finally:
        engine.close()
    conditions = (
        f"Growth of the resident size for each of {count} terminals with one viewer each; their "
        "programs are not counted."
    )
    return [Report("Memory of an idle terminal", conditions, quantities=quantities)]


async def _opened(server: Server, workspace: str) -> connect:
    terminals = f"/api/v1/workspaces/{workspace}/terminals"
    body = {"cols": 80, "rows": 24, "command": PROGRAM}
    terminal = await server.api.post(terminals, json=body)
    return server.api.socket(f"{terminals}/{terminal['id']}")


def _of(pid: int) -> Size:
    async def size() -> float:
        return psutil.Process(pid).memory_info().rss / 1024

    return size


async def _grown(
    count: int, open: Callable[[], Awaitable[Viewer]], sizes: list[Size]
) -> list[tuple[str, list[float]]]:
    """What each size grew by for each terminal, at two moments."""
    await (await open()).until(READY)  # what the first one loads stays, however many follow
    before = [await size() for size in sizes]

    async def each() -> list[float]:
        return [(await size() - then) / count for size, then in zip(sizes, before, strict=True)]

    viewers = [await open() for _ in range(count)]
    for viewer in viewers:
        await viewer.until(READY)
    grown = [("at its first prompt", await each())]
    for viewer in viewers:
        await viewer.enter()
        await viewer.until(PRINTED)
    return [*grown, ("after 2 MB of output", await each())]
