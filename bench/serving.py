"""What the benchmarks share: a server with nothing limited, pinned processes, peers' servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from server import Server, serving

BENCH = Path(__file__).resolve().parent
IMAGE = "base"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
SERVER_CORE, CLIENT_CORE = 0, max(os.sched_getaffinity(0))


@asynccontextmanager
async def cloudide(**settings: object) -> AsyncIterator[Server]:
    """Our server as it ships, with its journal on disk; its workspaces are deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="cloudide-bench-") as folder:
        async with serving(Path(folder) / "data", **settings) as server:
            await until_ready(server)
            yield server


async def until_ready(server: Server) -> None:
    """Wait until the images are there: building them is not what is measured."""
    # There is no event to wait for: a build belongs to nobody's workspace.
    while not all(each["ready"] for each in (await server.api.get("/api/v1/images"))["images"]):  # noqa: ASYNC110
        await asyncio.sleep(1)


def pin(pid: int, core: int) -> None:
    """Keep a process, with all its threads, on one core."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


@asynccontextmanager
async def peer(
    *command: str,
    port: int,
    pinned: bool = True,
    environment: dict[str, str] | None = None,
    log: IO[bytes] | int | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A peer's server until the context ends; `pinned`: on the server's core.

    What it prints is thrown away, and what it complains of goes to `log`, if there is one. It is
    asked to stop by SIGTERM, and killed when it has not in `STOP_SECONDS`.
    """
    pinning = ["taskset", "--cpu-list", str(SERVER_CORE)] if pinned else []
    process = await asyncio.create_subprocess_exec(
        *pinning,
        *command,
        env={**os.environ, "PORT": str(port), "HOST": "127.0.0.1", **(environment or {})},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=log,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            print(f"{command[-1]} did not stop in {STOP_SECONDS:g} s after SIGTERM and was killed.")
            process.kill()
            await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def python_peer(name: str) -> list[str]:
    return [sys.executable, str(BENCH / "peers" / name)]


def node() -> str:
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None:
        raise RuntimeError("Node.js is needed for this benchmark; run it by `make bench`.")
    return found


def authorization(server: Server) -> dict[str, str]:
    return {"Authorization": server.api.http.headers["Authorization"]}
