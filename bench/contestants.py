"""The servers that are compared: ours and three others, each to be started, watched and stopped."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from server import Server

from bench.profiler import profiled
from bench.serving import (
    BENCH,
    SERVER_CORE,
    authorization,
    cloudide,
    free_port,
    node,
    peer,
    pin,
    python_peer,
)

QUIET_FOR = 0.3  # seconds
QUIET = 0.02  # seconds of CPU in that time; the kernel counts in steps of 0.01
SETTLE_LIMIT = 15.0  # seconds
SOCKETS = 5000
COMPLAINT = re.compile(r"^\s*(\w[\w.]*(?:Error|Exception)\b.{0,100})", re.MULTILINE)

Connection = dict[str, Any]


class Contestant:
    """A server that keeps documents `kept` (where, for people; empty: in memory only)."""

    def __init__(self, name: str, kept: str) -> None:
        self.name = name
        self.kept = kept
        self.stack = AsyncExitStack()

    @property
    def label(self) -> str:
        return f"{self.name}, {self.kept or 'in memory'}"

    @property
    def pid(self) -> int:
        raise NotImplementedError

    async def start(self) -> None:
        raise NotImplementedError

    async def restart(self) -> None:
        """SIGTERM, and the same server again on the same data."""
        raise NotImplementedError

    async def open(self, documents: list[str]) -> list[Connection]:
        """What the load client needs to join these documents, which are new and empty."""
        raise NotImplementedError

    async def joined(self) -> None:
        """Called when the clients of a run are there, before anything is typed."""

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Entered while it is measured."""
        return nullcontext()

    async def stop(self) -> None:
        await self.stack.aclose()

    def cpu(self) -> float:
        """Seconds of CPU that the server has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def resident(self) -> float:
        """MiB of memory that it occupies."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def complaints(self) -> list[str]:
        """Errors that it has written to its log, each with how often."""
        kinds = Counter(COMPLAINT.findall(self.log.read_text(errors="replace")))
        return [f"its log says {count:,} times: {kind}" for kind, count in kinds.items()]

    @property
    def log(self) -> Path:
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until it has nothing more to do, so that it does not disturb the next one's turn."""
        async with asyncio.timeout(SETTLE_LIMIT):
            used = QUIET + 1
            while used > QUIET:
                before = self.cpu()
                await asyncio.sleep(QUIET_FOR)
                used = self.cpu() - before


class CloudIDE(Contestant):
    """Ours as it ships. `halted`: the workspace is stopped once the documents are open, so that
    there is the journal and no file, which is what the others' persistence does."""

    server: Server
    workspace: str

    def __init__(self, *, halted: bool = False, profile: bool = False) -> None:
        kept = "journal, workspace stopped" if halted else "journal and file in a container"
        super().__init__("CloudIDE", kept)
        self._halted = halted
        self._profile = profile
        self._running = False

    @property
    def pid(self) -> int:
        return self.server.pid

    @property
    def log(self) -> Path:
        return self.server.log

    async def start(self) -> None:
        self.server = await self.stack.enter_async_context(cloudide(sockets_per_user=SOCKETS))
        pin(self.pid, SERVER_CORE)
        self.workspace = await self.server.api.create()
        self._running = True

    async def restart(self) -> None:
        await self.server.stop()
        await self.server.start()
        pin(self.pid, SERVER_CORE)
        await self.server.api.until(self.workspace, "running")

    async def open(self, documents: list[str]) -> list[Connection]:
        base = f"/api/v1/workspaces/{self.workspace}"
        if not self._running:
            await self.server.api.post(f"{base}/start")
            await self.server.api.until(self.workspace, "running")
            self._running = True
        for document in documents:
            await self.server.api.write(self.workspace, document, "")
        return [
            {
                "url": f"{self.server.url.replace('http', 'ws', 1)}{base}/collab/{document}",
                "headers": authorization(self.server),
                "subprotocols": ["cloudide.collab.v1"],
            }
            for document in documents
        ]

    def watched(self) -> AbstractAsyncContextManager[None]:
        return profiled(self.pid) if self._profile else nullcontext()

    async def joined(self) -> None:
        if self._halted:
            await self.server.api.post(f"/api/v1/workspaces/{self.workspace}/stop")
            await self.server.api.until(self.workspace, "stopped")
            self._running = False
            await self.settle()


class Store(NamedTuple):
    """What another's server keeps documents in, and the environment variable that says where."""

    name: str
    variable: str


class Peer(Contestant):
    """Another's server; without a store its documents are in memory only."""

    def __init__(self, name: str, store: Store | None, *command: str, named: bool = False) -> None:
        super().__init__(name, store.name if store else "")
        self._command = command
        self._store = store
        self._named = named  # each message carries the document's name
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._running = AsyncExitStack()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        return Path(self._folder, "log")

    async def start(self) -> None:
        self._folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peer-"))
        self.stack.push_async_callback(self._end)
        await self._begin()

    async def restart(self) -> None:
        await self._end()
        await self._begin()

    async def open(self, documents: list[str]) -> list[Connection]:
        names = [{"document": document} if self._named else {} for document in documents]
        return [
            {"url": f"ws://127.0.0.1:{self._port}/{document}", **name}
            for document, name in zip(documents, names, strict=True)
        ]

    async def _begin(self) -> None:
        kept = {self._store.variable: str(Path(self._folder, "kept"))} if self._store else {}
        log = self._running.enter_context(self.log.open("ab"))
        self._process = await self._running.enter_async_context(
            peer(*self._command, port=self._port, environment=kept, log=log)
        )

    async def _end(self) -> None:
        await self._running.aclose()


def contestants(options: Namespace, *, memory: bool, halted: bool = False) -> list[Contestant]:
    """All that take part, ours first. `memory`: the others once more without persistence; `halted`:
    ours once more with the workspace stopped."""
    only: set[str] | None = options.only
    y_websocket = [node(), str(BENCH / "node_modules/@y/websocket-server/src/server.js")]
    hocuspocus = [node(), str(BENCH / "peers/hocuspocus.mjs")]
    pycrdt = python_peer("pycrdt_server.py")
    named: list[tuple[str, Contestant]] = [("cloudide", CloudIDE(profile=options.profile))]
    if halted:
        named.append(("cloudide", CloudIDE(halted=True, profile=options.profile)))
    for stored in (True, False) if memory else (True,):
        level = Store("y-leveldb", "YPERSISTENCE") if stored else None
        sqlite = Store("SQLite", "DATABASE") if stored else None
        named += [
            ("y-websocket", Peer(_npm("@y/websocket-server"), level, *y_websocket)),
            ("hocuspocus", Peer(_npm("@hocuspocus/server"), sqlite, *hocuspocus, named=True)),
            ("pycrdt-websocket", Peer(_python("pycrdt-websocket"), sqlite, *pycrdt)),
        ]
    if only and (unknown := only - {name for name, _ in named}):
        raise SystemExit(f"There is no contestant {', '.join(unknown)}.")
    return [each for name, each in named if not only or name in only]


def _npm(package: str) -> str:
    described = json.loads((BENCH / "node_modules" / package / "package.json").read_text())
    return f"{package} {described['version']}"


def _python(package: str) -> str:
    return f"{package} {metadata.version(package)}"


@asynccontextmanager
async def started(taking_part: list[Contestant]) -> AsyncIterator[list[Contestant]]:
    """All servers running, each on the servers' core; only one of them is used at a time."""
    async with AsyncExitStack() as stack:
        for each in taking_part:
            stack.push_async_callback(each.stop)
            await each.start()
        yield taking_part
