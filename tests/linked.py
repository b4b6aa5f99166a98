"""A workspace without a container: the server's side of the link and an agent process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cloudide.agents import Agent, Agents, Listener
from cloudide.agents.tunnels import Connection, Tunnel
from cloudide.errors import AgentUnavailable
from cloudide.protocol.agent import (
    Change,
    Exit,
    Exited,
    FilesChanged,
    Port,
    Ready,
    Replay,
    Resized,
    TerminalInfo,
)
from cloudide.protocol.output import OutputMessage, Splitter

TIMEOUT = 20  # seconds


class Recorder(Listener):
    """What was heard, and a way to wait for it."""

    def __init__(self) -> None:
        self.connections: list[Agent] = []
        self.disconnections = 0
        self.files: list[FilesChanged] = []
        self.terminals: dict[str, TerminalInfo] = {}
        self.removed: list[str] = []
        self.ports: list[Port] | None = None
        self._changed = asyncio.Event()

    def connected(self, agent: Agent) -> None:
        self.connections.append(agent)
        self._changed.set()

    def disconnected(self, workspace_id: str) -> None:
        self.disconnections += 1
        self._changed.set()

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None:
        self.files.append(event)
        self._changed.set()

    def terminal_changed(self, workspace_id: str, terminal: TerminalInfo) -> None:
        self.terminals[terminal.id] = terminal
        self._changed.set()

    def terminal_removed(self, workspace_id: str, terminal_id: str) -> None:
        self.removed.append(terminal_id)
        self._changed.set()

    def ports_changed(self, workspace_id: str, ports: list[Port]) -> None:
        self.ports = ports
        self._changed.set()

    @property
    def changes(self) -> list[Change]:
        return [change for event in self.files for change in event.changes]

    async def until(self, condition: Callable[[Recorder], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class Linked:
    """Agents, one agent process, and its root directory."""

    def __init__(self, agents: Agents, recorder: Recorder, link: Path, root: Path) -> None:
        self.agents = agents
        self.heard = recorder
        self.link = link
        self.root = root
        self.process: asyncio.subprocess.Process

    @property
    def agent(self) -> Agent:
        return self.agents.agent("one")

    async def start(self, **environment: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cloudide.agent",
            env={
                **os.environ,
                "CLOUDIDE_LINK": str(self.link),
                "CLOUDIDE_ROOT": str(self.root),
                **environment,
            },
        )
        await self.agents.wait("one", TIMEOUT)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()


@asynccontextmanager
async def linked(directory: Path, **environment: str) -> AsyncIterator[Linked]:
    root = directory / "root"
    root.mkdir(exist_ok=True)
    agents = Agents(directory / "run")
    recorder = Recorder()
    agents.subscribe(recorder)
    both = Linked(agents, recorder, await agents.listen("one"), root)
    try:
        await both.start(**environment)
        yield both
    finally:
        await both.stop()
        await agents.close()


class Attached:
    """A terminal's connection, for who would rather wait than be called."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._connection = Connection(tunnel)
        self._splitter = Splitter()
        self._pieces: deque[bytes | OutputMessage] = deque()

    async def recv(self) -> bytes | OutputMessage:
        """Raises: AgentUnavailable: it was cut."""
        while not self._pieces:
            data = await self._connection.read()
            if not data:
                raise AgentUnavailable("Nothing more comes.")
            self._pieces.extend(self._splitter.feed(data))
        return self._pieces.popleft()

    async def send(self, data: bytes) -> None:
        await self._connection.write(data)

    async def close(self) -> None:
        self._connection.close()


async def attach(agent: Agent, terminal: str) -> Attached:
    return Attached(await agent.attach_terminal(terminal))


async def past(stream: Attached) -> bytes:
    """The replay of a freshly attached terminal."""
    content = b""
    async with asyncio.timeout(TIMEOUT):
        assert isinstance(await stream.recv(), Replay)
        while isinstance(message := await stream.recv(), bytes):
            content += message
    assert isinstance(message, Ready)
    return content


async def until(stream: Attached, wanted: bytes, seen: bytes = b"") -> bytes:
    """Receive until `wanted` was printed."""
    async with asyncio.timeout(TIMEOUT):
        while wanted not in seen:
            message = await stream.recv()
            if isinstance(message, Resized):
                continue
            assert isinstance(message, bytes), (message, seen)
            seen += message
    return seen


async def rest(stream: Attached) -> tuple[bytes, Exit]:
    """Everything to the end of the program."""
    seen = b""
    async with asyncio.timeout(TIMEOUT):
        while isinstance(message := await stream.recv(), bytes):
            seen += message
    assert isinstance(message, Exited), message
    return seen, message.exit
