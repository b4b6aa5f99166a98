"""Previews: requests a second of small answers, and megabytes a second of a large download.

One and the same program in a container, and one and the same client here: once by the preview's
address (server, tunnel, agent), once by the container's own address on its network. The program is
as small as one can be, so that a request costs hardly more than its way there; beside it, an
application of Starlette under uvicorn, as people have them.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import sys
import tarfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import uvicorn
from server import Api

from bench.serving import cloudide
from cloudide.workspaces.engine import Engine

PORT, APPLICATION_PORT = 8000, 8001
ROUNDS, SECONDS, CONNECTIONS = 3, 4.0, 16
LARGE = 1024**3  # bytes
SMALL = b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n"
PROGRAM = Path(__file__).parent / "peers" / "preview_program.py"
OTHER = Path(__file__).parent / "peers" / "other_request.py"
APPLICATION = Path(__file__).parent / "peers" / "preview_application.py"
PACKAGES = Path(uvicorn.__file__).parents[1]
NEEDED = ("uvicorn", "starlette", "anyio", "click", "h11", "httptools", "idna")
OPEN_SECONDS = 30.0


class Way(msgspec.Struct):
    """How the program is reached, and what came of it in each round."""

    name: str
    address: tuple[str, int]
    host: bytes
    more: bytes = b""
    requests: list[float] = []  # a second
    megabytes: list[float] = []  # a second, of 10^6 bytes
    meanwhile: list[list[float]] = []  # another request: median, 99th percentile, longest, in ms


class Ratios(msgspec.Struct):
    title: str
    conditions: str
    ways: list[Way]

    def table(self) -> str:
        rows = [
            "| | small answers/s | large download MB/s | meanwhile, p50 ms | p99 ms | longest ms |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for each in self.ways:
            small = statistics.median(each.requests)
            if not each.megabytes:
                rows.append(f"| {each.name} | {small:,.0f} | | | | |")
                continue
            large = statistics.median(each.megabytes)
            other = [statistics.median(values) for values in zip(*each.meanwhile, strict=True)]
            cells = " | ".join(f"{value:.1f}" for value in other)
            rows.append(f"| {each.name} | {small:,.0f} | {large:,.0f} | {cells} |")
        ours, direct, application, application_direct = self.ways
        ratios = [
            statistics.median(a) / statistics.median(b)
            for a, b in (
                (ours.requests, direct.requests),
                (application.requests, application_direct.requests),
                (ours.megabytes, direct.megabytes),
            )
        ]
        rows.append(
            f"| **CloudIDE ÷ direct** (goal ≥ 0.30, ≥ 300 MB/s) | **{ratios[0]:.2f}**; "
            f"application {ratios[1]:.2f} | {ratios[2]:.2f} | | | |"
        )
        return "\n".join(rows)


async def measure(options: Namespace) -> list[Ratios]:
    rounds, seconds, size = (1, 1.0, LARGE // 8) if options.quick else (ROUNDS, SECONDS, LARGE)
    rounds = options.rounds or rounds
    async with cloudide() as server:
        api = server.api
        workspace = await api.create(image="python")
        await api.write(workspace, "program.py", PROGRAM.read_bytes())
        path = f"/api/v1/workspaces/{workspace}"
        command = {"command": ["python3", "program.py", str(PORT)]}
        await api.post(f"{path}/terminals", json=command)
        await _start_application(api, path)
        await _until_open(api, path)
        token = f"Authorization: {api.http.headers['Authorization']}\r\n".encode()
        address = await _address(workspace)
        ways: list[Way] = []
        for name, port in (("", PORT), (", application", APPLICATION_PORT)):
            host = f"{port}--{workspace}.preview.localhost:{server.port}".encode()
            ways.append(Way(f"preview{name}", ("127.0.0.1", server.port), host, token))
            ways.append(Way(f"direct{name}", (address, port), b"direct"))
        ours, direct, *_ = ways
        process, used = psutil.Process(server.pid), 0.0
        for _ in range(rounds):
            for way in ways:
                way.requests.append(await _requests(way, seconds))
            for way in (ours, direct):
                before = _cpu(process)
                async with _other_requests(("127.0.0.1", server.port)) as meanwhile:
                    way.megabytes.append(await _download(way, size))
                way.meanwhile.append(meanwhile)
                used += _cpu(process) - before if way is ours else 0.0
        conditions = (
            f"{rounds} alternating rounds, medians; {CONNECTIONS} connections that ask one request "
            f"after the other for {seconds:g} s, then one download of {size / 1e6:,.0f} MB, which "
            f"costs the server {used / rounds / (size / 1e9):.2f} s of CPU for each GB. Meanwhile "
            "another process asks the server for /healthz every 5 ms. The client (asyncio's "
            "streams on uvloop) and all servers share this machine's cores; nothing pinned."
        )
        return [Ratios("Previews beside a direct connection", conditions, ways)]


async def _start_application(api: Api, path: str) -> None:
    """Bring it along with what it needs: no registry is asked."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(APPLICATION, "around/web/application.py")
        for name in (*NEEDED, "typing_extensions.py"):
            tar.add(PACKAGES / name, f"around/web/{name}")
    answer = await api.request("PUT", f"{path}/archive", content=packed.getvalue())
    answer.raise_for_status()
    command = ["python3", "-m", "uvicorn", "application:app", "--port", str(APPLICATION_PORT)]
    options = ["--host", "0.0.0.0", "--app-dir", "web", "--no-access-log"]  # noqa: S104
    environment = ["env", "PYTHONPATH=web"]
    await api.post(f"{path}/terminals", json={"command": [*environment, *command, *options]})


async def _until_open(api: Api, path: str) -> None:
    async with asyncio.timeout(OPEN_SECONDS):
        open_: set[int] = set()
        while not {PORT, APPLICATION_PORT} <= open_:
            open_ = {each["port"] for each in (await api.get(f"{path}/ports"))["ports"]}
            await asyncio.sleep(0.05)


async def _address(workspace: str) -> str:
    """The container's own address, which this machine reaches."""
    engine = Engine()
    try:
        filters = {"label": f"cloudide.workspace={workspace}"}
        found = await engine.call(lambda client: client.containers(filters=filters))
        networks = found[0]["NetworkSettings"]["Networks"]
        return next(iter(networks.values()))["IPAddress"]
    finally:
        engine.close()


async def _requests(way: Way, seconds: float) -> float:
    ask = SMALL % (way.host, way.more)
    done = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(*way.address)
        while time.perf_counter() < end:
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(100)
            done += 1
        writer.transport.abort()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return done / (time.perf_counter() - began)


class _Sink(asyncio.BufferedProtocol):
    """Counts what comes; a client that kept it would be slower than what it measures."""

    def __init__(self, size: int) -> None:
        self.head = b""
        self.left = size
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = bytearray(1024 * 1024)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if b"\r\n\r\n" not in self.head:
            self.head += bytes(self._buffer[:nbytes])
            nbytes = len(self.head.partition(b"\r\n\r\n")[2])
        self.left -= nbytes
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or EOFError())


async def _download(way: Way, size: int) -> float:
    loop = asyncio.get_running_loop()
    transport, sink = await loop.create_connection(lambda: _Sink(size), *way.address)
    ask = b"GET /large/%d HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (size, way.host, way.more)
    began = time.perf_counter()
    transport.write(ask)
    await sink.done
    took = time.perf_counter() - began
    assert sink.head.startswith(b"HTTP/1.1 200"), sink.head[:200]
    assert not sink.left
    transport.abort()
    return size / took / 1e6


@asynccontextmanager
async def _other_requests(address: tuple[str, int]) -> AsyncIterator[list[float]]:
    """Ask for something else meanwhile; the list is filled at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(OTHER), address[0], str(address[1])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    took: list[float] = []
    try:
        yield took
    finally:
        output, _ = await process.communicate(b"")  # its end
        took += msgspec.json.decode(output, type=list[float])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
