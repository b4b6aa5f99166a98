"""Language servers: what the way to them adds to a hover and to a 200 kB completion, diagnostics of
14 kB to twenty editors, and what editors cost.

One and the same server, which has its answers ready (`peers/language_server.py`), is reached:

- directly, by its standard input and output;
- through our session and multiplexer in this process, over the same pipes;
- through all of ours: websocket, server, agent, a process in a container;
- through jupyter-lsp: websocket, its server, a process on this machine, no container.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Quantity, Report, Series
from bench.serving import authorization, cloudide, free_port, peer
from bench.wire import Socket, connect
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.multiplexer import Configuration, Multiplexer
from cloudide.languages.session import Session
from cloudide.languages.uris import Root
from cloudide.protocol.jsonrpc import Framer, frame

PROGRAM = Path(__file__).parent / "peers" / "language_server.py"
ROUNDS, HOVERS, COMPLETIONS, WARM, PAUSE = 3, 150, 30, 10, 0.002  # PAUSE: seconds
EDITORS = (1, 5, 20)
FANOUTS = 40
URI = "file:///workspace/bench.stub"
AT = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}}
HOVER, COMPLETION = "textDocument/hover", "textDocument/completion"
EXECUTE = "workspace/executeCommand"
TOML = '[languages.stub]\ncommand = ["python3", "language_server.py"]\nextensions = [".stub"]\n'
ITEM = {"uri": URI, "languageId": "stub", "version": 1, "text": "text\n"}
OPENED = {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {"textDocument": ITEM}}
MIB = 1024 * 1024

Ask = Callable[[str, Any], Awaitable[int]]


async def measure(options: Namespace) -> list[Report]:
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(cloudide())
        workspace = await server.api.create(image="python")
        await server.api.write(workspace, "language_server.py", PROGRAM.read_bytes())
        await server.api.write(workspace, "cloudide.toml", TOML)
        await server.api.write(workspace, "bench.stub", "text\n")
        ours = f"{server.url}/api/v1/workspaces/{workspace}/lsp/stub"
        jupyter, process = await stack.enter_async_context(_jupyter())
        websockets = [(ours, authorization(server)), (jupyter, {})]
        # First of all: what a process has taken once it keeps.
        memory = await _memory(
            [("CloudIDE", server.pid, *websockets[0]), ("jupyter-lsp", process, *websockets[1])]
        )
        ways: list[tuple[str, Callable[[], Any]]] = [
            ("CloudIDE, in a container", lambda: _websocket(*websockets[0])),
            ("CloudIDE's multiplexer alone", _multiplexed),
            ("direct, standard input and output", _direct),
            ("jupyter-lsp, no container", lambda: _websocket(*websockets[1])),
        ]
        hovers = [Series(name) for name, _ in ways]
        completions = [Series(name) for name, _ in ways]
        for _ in range(rounds):
            for number, (_, way) in enumerate(ways):
                async with way() as ask:
                    hovers[number].rounds.append(await _time(ask, HOVER, HOVERS))
                    completions[number].rounds.append(await _time(ask, COMPLETION, COMPLETIONS))
        fanouts = [Series(ways[0][0]), Series(ways[3][0])]
        for series, (url, headers) in zip(fanouts, websockets, strict=True):
            for _ in range(rounds):
                series.rounds.append(await _fan_out(url, headers))
    conditions = (
        f"{rounds} alternating rounds, {PAUSE * 1000:g} ms between requests; one Python client, "
        "which reads each answer as JSON: its own time is in all figures. Nothing pinned. Goals: "
        "to a hover at most 0.4 ms added in this process and 1.5 ms through the container, a "
        "completion in at most 1.3 times the direct time."
    )
    memory_conditions = (
        "Resident size of the server beyond what it was before the first editor, with one document "
        "that all have open and 14 kB of diagnostics, beside the one process of the language "
        "server that they share. Without sharing there would be one each: here a program of "
        "Python's standard library, which has less than a tenth of what real ones have."
    )
    return [
        Report("Language servers: hover", conditions, hovers, target=2.0),
        Report("Language servers: completion of 200 kB", conditions, completions, target=6.0),
        Report(
            "Language servers: 14 kB of diagnostics to 20 editors", conditions, fanouts, target=5.0
        ),
        Report("Language servers: memory of editors", memory_conditions, quantities=memory),
    ]


async def _time(ask: Ask, method: str, count: int) -> list[float]:
    times: list[float] = []
    for _ in range(WARM + count):
        began = time.perf_counter()
        await ask(method, AT)
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return times[WARM:]


# ── ways to the server ──────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _pipes() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _direct() -> AsyncIterator[Ask]:
    async with _pipes() as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        framer, last = Framer(1 << 24), 0

        async def ask(method: str, params: Any) -> int:
            nonlocal last
            last += 1
            body = {"jsonrpc": "2.0", "id": last, "method": method, "params": params}
            stdin.write(frame(json.dumps(body).encode()))
            while True:
                for answer in framer.feed(await stdout.read(1 << 18)):
                    if json.loads(answer).get("id") == last:
                        return len(answer)

        await ask("initialize", {"capabilities": {}})
        yield ask


class _Alone:
    """The workspace of a session that has nothing but one server."""

    def __init__(self, stdin: asyncio.StreamWriter) -> None:
        self.root = Root("/workspace")
        self.stamps = Stamps()
        self.id = "stub"
        self.full = False
        self.multiplexer: Multiplexer | None = None
        self._stdin = stdin
        self.ready = asyncio.Event()
        configuration = Configuration(id="stub", root=self.root)
        self.core = Multiplexer(configuration, self, self, self.stamps)

    def send(self, body: bytes) -> None:
        self._stdin.write(frame(body))

    def initialized(self) -> None:
        self.multiplexer = self.core
        self.ready.set()

    async def started(self) -> None:
        await self.ready.wait()

    def now(self) -> float:
        return time.monotonic()

    def document(self, path: str) -> Document | None:
        return None

    def logged(self, text: str) -> None:
        raise RuntimeError(text)

    def failed(self, reason: str) -> None:
        raise RuntimeError(reason)

    def apply_edit(self, owner: Any, params: Any, done: Any) -> None:
        raise RuntimeError("the server edits nothing")


@asynccontextmanager
async def _multiplexed() -> AsyncIterator[Ask]:
    async with _pipes() as process:
        assert process.stdin is not None
        alone: Any = _Alone(process.stdin)
        answers: dict[int, asyncio.Future[int]] = {}

        def take(body: bytes) -> None:
            message = json.loads(body)
            if future := answers.pop(message.get("id"), None):
                future.set_result(len(body))

        grant = Grant(Person("bench", "Bench", "#000000"), "bench", Role.OWNER)
        session = Session(grant, alone, [alone], take, lambda: None)
        last = 0

        async def read() -> None:
            stdout, framer = process.stdout, Framer(1 << 24)
            assert stdout is not None
            while data := await stdout.read(1 << 18):
                for body in framer.feed(data):
                    alone.core.receive(body, time.monotonic())

        async def ask(method: str, params: Any) -> int:
            nonlocal last
            last += 1
            future = answers[last] = asyncio.get_running_loop().create_future()
            body = {"jsonrpc": "2.0", "id": last, "method": method, "params": params}
            if (waiting := session.receive(json.dumps(body))) is not None:
                await waiting
            return await future

        reading = asyncio.create_task(read())
        alone.core.start(time.monotonic())
        await ask("initialize", {"capabilities": {}})
        try:
            yield ask
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def _websocket(url: str, headers: dict[str, str]) -> AsyncIterator[Ask]:
    async with await connect(url, headers) as socket:
        ask = _asking(socket)
        await ask("initialize", {"capabilities": {}, "processId": None, "rootUri": None})
        yield ask


def _asking(socket: Socket) -> Ask:
    last = 0

    async def ask(method: str, params: Any) -> int:
        nonlocal last
        last += 1
        body = {"jsonrpc": "2.0", "id": last, "method": method, "params": params}
        await socket.send(json.dumps(body))
        while True:
            answer = await socket.recv()
            if json.loads(answer).get("id") == last:
                return len(answer)

    return ask


@asynccontextmanager
async def _jupyter() -> AsyncIterator[tuple[str, int]]:
    """jupyter-lsp with this one server: its address for a websocket, and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-jupyter-") as folder:
        command = [sys.executable, str(PROGRAM)]
        spec = {"argv": command, "languages": ["stub"], "version": 2, "mime_types": ["text/stub"]}
        config = {
            "ServerApp": {
                "root_dir": folder,
                "allow_root": True,
                "open_browser": False,
                "jpserver_extensions": {"jupyter_lsp": True},
            },
            "IdentityProvider": {"token": ""},
            "LanguageServerManager": {"language_servers": {"stub": spec}, "autodetect": False},
        }
        file = Path(folder) / "jupyter_server_config.json"
        file.write_text(json.dumps(config))
        server = [sys.executable, "-m", "jupyter_server", f"--port={port}", f"--config={file}"]
        async with peer(*server, port=port, pinned=False, log=subprocess.DEVNULL) as process:
            yield f"http://127.0.0.1:{port}/lsp/ws/stub", process.pid


# ── many editors ────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _editors(url: str, headers: dict[str, str], count: int) -> AsyncIterator[list[Socket]]:
    async with AsyncExitStack() as stack:
        sockets: list[Socket] = []
        for _ in range(count):
            socket = await stack.enter_async_context(await connect(url, headers))
            await _asking(socket)("initialize", {"capabilities": {}})
            sockets.append(socket)
        yield sockets


async def _fan_out(url: str, headers: dict[str, str]) -> list[float]:
    """From one editor's command until the last of twenty has the diagnostics that it makes."""
    times: list[float] = []
    async with _editors(url, headers, EDITORS[-1]) as sockets:
        for number in range(WARM + FANOUTS):
            mark = f"mark-{number}."
            body = {"jsonrpc": "2.0", "id": 1000 + number, "method": EXECUTE}
            body["params"] = _diagnose(mark)
            began = time.perf_counter()
            receiving = [asyncio.create_task(_diagnosed(socket, mark)) for socket in sockets]
            await sockets[0].send(json.dumps(body))
            await asyncio.gather(*receiving)
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE)
    return times[WARM:]


async def _diagnosed(socket: Socket, mark: str) -> None:
    while mark.encode() not in await socket.recv():
        pass


def _diagnose(mark: str) -> dict[str, Any]:
    """A command that makes diagnostics which hold `mark`."""
    return {"command": "bench.diagnose", "arguments": [mark]}


async def _memory(servers: list[tuple[str, int, str, dict[str, str]]]) -> list[Quantity]:
    """What editors cost, by number, in servers of these names, processes, and addresses."""
    found: list[Quantity] = []
    before = {pid: psutil.Process(pid).memory_info().rss for _, pid, _, _ in servers}
    for count in EDITORS:
        editors = f"{count} editor{'s' if count > 1 else ''}"
        for name, pid, url, headers in servers:
            async with _editors(url, headers, count) as sockets:
                for socket in sockets:
                    await socket.send(json.dumps(OPENED))
                    await _asking(socket)(EXECUTE, _diagnose("memory"))
                grown = (psutil.Process(pid).memory_info().rss - before[pid]) / MIB
            limit = 2.0 if pid == servers[0][1] else 0.0
            found.append(Quantity(f"{editors}, {name}", max(grown, 0.0), "MiB", limit))
        async with _pipes() as process:
            await asyncio.sleep(0.5)  # until it has read its program
            alone = psutil.Process(process.pid).memory_info().rss / MIB
        found.append(Quantity(f"{editors}, a language server each", count * alone, "MiB"))
    return found
