"""Promise 20: terminals that print without end cost little, and others type as before."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import flooded
import psutil
from record import record
from server import ADMIN_TOKEN, Server, serving
from websockets.asyncio.client import ClientConnection

TERMINALS = 10
GROWTH = 20 * 1024 * 1024  # bytes
KEYS_PER_SECOND = 10
KEY_SECONDS = 0.15  # until a key comes back; asserted in the full run alone
KEY_TIMEOUT = 30.0


async def open_terminal(server: Server, workspace: str, *command: str) -> str:
    """The path of a new terminal's socket."""
    terminals = f"/api/v1/workspaces/{workspace}/terminals"
    return f"{terminals}/{(await server.api.post(terminals, json={'command': [*command]}))['id']}"


async def until(socket: ClientConnection, wanted: bytes) -> None:
    async with asyncio.timeout(KEY_TIMEOUT):
        seen = b""
        while wanted not in seen:
            frame = await socket.recv()
            if isinstance(frame, bytes):
                seen += frame


async def typed(socket: ClientConnection, count: int) -> list[float]:
    """Type at a person's pace; returns how long each key took to come back, in seconds."""
    times: list[float] = []
    following = time.perf_counter()
    for number in range(count):
        key = b"%c" % (ord("a") + number % 26)
        began = time.perf_counter()
        await socket.send(key)
        await until(socket, key)
        times.append(time.perf_counter() - began)
        following += 1 / KEYS_PER_SECOND
        await asyncio.sleep(max(0.0, following - time.perf_counter()))  # the pace, nothing else
    return sorted(times)


async def test_terminals_that_print_without_end(
    tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    seconds = soak(60, 3)
    async with serving(tmp_path / "data") as server:
        flood, quiet = await server.api.create("flood"), await server.api.create("quiet")
        process = psutil.Process(server.pid)
        cat = await open_terminal(server, quiet, "cat")
        async with server.api.socket(cat) as socket:
            await typed(socket, KEYS_PER_SECOND)
            before = process.memory_info().rss
            paths = [await open_terminal(server, flood, "yes") for _ in range(TERMINALS)]
            viewers = await asyncio.create_subprocess_exec(
                *(sys.executable, flooded.__file__, f"Bearer {ADMIN_TOKEN}"),
                *(server.url.replace("http", "ws", 1) + path for path in paths),
                stdout=asyncio.subprocess.PIPE,
            )
            assert viewers.stdout is not None
            assert await viewers.stdout.readline() == b"shown\n"
            times: list[float] = []
            most = 0
            for _ in range(seconds):
                times += await typed(socket, KEYS_PER_SECOND)
                most = max(most, process.memory_info().rss)
            assert viewers.returncode is None
            for path in paths:
                await server.api.delete(path)
            await viewers.wait()
    times.sort()
    slowest = times[int(len(times) * 0.99)]
    assert most - before <= GROWTH
    if soak(1, 0):
        assert slowest <= KEY_SECONDS
    record(
        20,
        f"{TERMINALS} terminals running `yes` for {seconds} s, drawn by viewers: "
        f"{(most - before) / 1024 / 1024:.1f} MiB more memory; {len(times)} keys typed in another "
        f"workspace came back within {slowest * 1000:.1f} ms (p99).",
    )
