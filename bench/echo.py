"""Keystroke → echo: one byte typed at a terminal until it is seen again.

On every terminal runs the same program, which copies bytes with the terminal's own echo off, so
that a byte really passes through a process. The way from the typist to it differs:

- ours: websocket, server, agent in the container, pseudo-terminal;
- a bare pseudo-terminal on this machine, and `docker exec -it` in the same container;
- terminado: websocket, its server, a pseudo-terminal on this machine, no container.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from server import Server
from websockets.asyncio.client import connect

from bench.figures import Report, Series
from bench.serving import cloudide, free_port, peer, python_peer
from cloudide.workspaces.engine import Engine

COPY = ["sh", "-c", "stty raw -echo; printf ready; exec cat"]
READY = b"ready"
ROUNDS, KEYS, WARM, PAUSE = 5, 400, 50, 0.002  # PAUSE: seconds between keys
TIMEOUT = 60.0  # seconds for one round

Stroke = Callable[[], Awaitable[None]]


async def measure(options: Namespace) -> list[Report]:
    rounds, keys = (1, 100) if options.quick else (ROUNDS, KEYS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(cloudide())
        workspace = await server.api.create()
        port = free_port()
        await stack.enter_async_context(
            peer(*python_peer("terminado_server.py"), *COPY, port=port, pinned=False)
        )
        docker = shutil.which("docker")
        container = await _container(workspace)
        ways: list[tuple[Series, Callable[[], Any]]] = [
            (Series("CloudIDE, in a container"), lambda: _ours(server, workspace)),
            (Series("bare pseudo-terminal"), lambda: _program(*COPY)),
            (Series("terminado 0.18, no container"), lambda: _terminado(port)),
        ]
        if docker:
            exec_ = [docker, "exec", "--interactive", "--tty", container, *COPY]
            ways.insert(2, (Series("`docker exec -it`"), lambda: _program(*exec_)))
        for _ in range(rounds):
            for series, way in ways:
                async with asyncio.timeout(TIMEOUT), way() as stroke:
                    series.rounds.append(await _type(stroke, keys))
    conditions = (
        f"{rounds} alternating rounds, a key {PAUSE * 1000:g} ms after the last was echoed; "
        "nothing pinned. The websocket ways use one and the same Python client, whose own time is "
        "in the figures."
    )
    series = [each for each, _ in ways]
    return [Report("Keystroke → echo", conditions, series, target=1.5)]


async def _type(stroke: Stroke, keys: int) -> list[float]:
    times: list[float] = []
    for _ in range(WARM + keys):
        began = time.perf_counter()
        await stroke()
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return times[WARM:]


@asynccontextmanager
async def _ours(server: Server, workspace: str) -> AsyncIterator[Stroke]:
    terminals = f"/api/v1/workspaces/{workspace}/terminals"
    body = {"cols": 80, "rows": 24, "command": COPY}
    id = (await server.api.post(terminals, json=body))["id"]
    async with server.api.socket(f"{terminals}/{id}") as socket:
        output = b""
        while READY not in output:
            frame = await socket.recv()
            output += frame if isinstance(frame, bytes) else b""

        async def stroke() -> None:
            await socket.send(b"x")
            while await socket.recv() != b"x":
                pass

        yield stroke
    await server.api.delete(f"{terminals}/{id}")


@asynccontextmanager
async def _terminado(port: int) -> AsyncIterator[Stroke]:
    async with connect(f"ws://127.0.0.1:{port}/terminal", compression=None) as socket:
        output = ""
        while READY.decode() not in output:
            kind, *rest = json.loads(await socket.recv())
            output += rest[0] if kind == "stdout" else ""
        key = json.dumps(["stdin", "x"])

        async def stroke() -> None:
            await socket.send(key)
            while json.loads(await socket.recv()) != ["stdout", "x"]:
                pass

        yield stroke


@asynccontextmanager
async def _program(*command: str) -> AsyncIterator[Stroke]:
    """A program on a pseudo-terminal of this machine, read and written without an event loop."""
    child, master = pty.fork()
    if child == 0:
        os.execvp(command[0], command)  # noqa: S606
    try:
        output = b""
        while READY not in output:
            output += os.read(master, 4096)

        async def stroke() -> None:
            os.write(master, b"x")
            if os.read(master, 1) != b"x":
                raise RuntimeError("something else than the key came back")

        yield stroke
    finally:
        os.close(master)  # hangs up
        await asyncio.to_thread(os.waitpid, child, 0)


async def _container(workspace: str) -> str:
    engine = Engine()
    try:
        filters = {"label": f"cloudide.workspace={workspace}"}
        return (await engine.call(lambda client: client.containers(filters=filters)))[0]["Id"]
    finally:
        engine.close()
