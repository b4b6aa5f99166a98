"""Rooms without a web server: the journal, a real agent process, and clients in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import msgspec
from linked import Linked, linked
from peer import WAIT_SECONDS, Peer

from cloudide.agents import Agents, Listener
from cloudide.channel import Channel, Frame
from cloudide.collab.journal import Journal
from cloudide.collab.rooms import Rooms
from cloudide.errors import AgentUnavailable, CloudIDEError
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.protocol import sync
from cloudide.settings import Settings

WORKSPACE = "one"
ADA = Person("ada", "Ada", "#aa0000")
BOB = Person("bob", "Bob", "#0000bb")
QUICK = Settings(
    write_back_delay=0.01,
    write_back_limit=0.1,
    stat_interval=0.1,
    room_grace=0.05,
    editable_limit=64 * 1024,
)


class Hub:
    """The agents, with faults: calls of some kinds fail before or after they were carried out."""

    def __init__(self, agents: Agents) -> None:
        self.agents = agents
        self.cut = False  # nothing reaches the workspace
        self.lose_answers_to: tuple[type[Any], ...] = ()
        self.lost = asyncio.Event()
        self.calls: list[Any] = []

    def subscribe(self, listener: Listener) -> Any:
        return self.agents.subscribe(listener)

    def agent(self, workspace: str) -> Any:
        if self.cut:
            raise AgentUnavailable
        agent = self.agents.agent(workspace)
        return SimpleNamespace(call=lambda request: self._call(agent, request), stat=agent.stat)

    async def _call(self, agent: Any, request: Any) -> Any:
        self.calls.append(request)
        answer = await agent.call(request)
        if isinstance(request, self.lose_answers_to):
            self.cut = True
            self.lost.set()
            raise AgentUnavailable
        return answer


class LocalWire:
    """A wire that is full as soon as more than a little has been written and not been read."""

    FULL = 1024
    direct = None

    def __init__(self, client: Local) -> None:
        self.unsent = 0
        self.channel: Channel
        self._client = client
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._paused = False
        self._closed = False

    def write(self, frame: Frame) -> None:
        assert isinstance(frame, bytes)
        self._frames.append(frame)
        self.unsent += len(frame)
        self._wake.set()
        if self.unsent > self.FULL and not self._paused:
            self._paused = True
            self.channel.pause()

    def close(self, code: int, reason: str) -> None:
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver, until closed."""
        while True:
            while self._frames:
                await self._client.reading.wait()
                frame = self._frames.popleft()
                self.unsent -= len(frame)
                await self._client.arrived(frame)
            if self._closed:
                return
            if self._paused:
                self._paused = False
                self.channel.resume()
                continue
            self._wake.clear()
            await self._wake.wait()


class Local(Peer):
    """A client whose socket is a function call."""

    def __init__(self, collab: Collab, path: str, person: Person, role: Role, **options: Any):
        self.epoch: str = options.pop("epoch", "")
        self.budget: int = options.pop("budget", QUICK.collab_queue)
        super().__init__("", **options)
        self.reading = asyncio.Event()
        self.reading.set()
        self.frames: list[bytes] = []
        self._collab = collab
        self._path = path
        self._grant = Grant(person, WORKSPACE, role)

    async def connect(self) -> None:
        wire = LocalWire(self)
        self.channel = wire.channel = Channel(wire, self.budget)
        self.connection = await self._collab.rooms.join(
            self._grant, self._path, self.channel, extended=self.extended, epoch=self.epoch
        )
        self.sent = self.acknowledged = 0
        self.answered = False
        self.close_code = None
        self.socket: Any = self
        await self.send(sync.step_1(self.doc.get_state()))
        self._reading = asyncio.create_task(self._converse(wire))

    @property
    def synced(self) -> bool:
        """Whether the first step 2 has come."""
        return any(frame[:2] == b"\x00\x01" for frame in self.frames)

    async def send(self, frame: bytes) -> None:
        """One frame to the room, whatever it holds."""
        if not self.channel.closing and (handling := self.connection.receive(frame)):
            await handling

    async def leave(self) -> None:
        """Go, as a browser does that is closed."""
        self.channel.close()
        assert self._reading is not None
        await self._reading

    async def close(self) -> None:
        if self.socket is not None:
            await self.leave()

    async def _converse(self, wire: LocalWire) -> None:
        await wire.run()
        self.connection.leave()
        self.close_code, self.close_reason = self.channel.close_code, self.channel.close_reason
        self.socket = None
        async with self.changed:
            self.changed.notify_all()

    async def arrived(self, frame: bytes) -> None:
        self.frames.append(frame)
        await self._handle(frame)
        async with self.changed:
            self.changed.notify_all()

    async def written(self) -> None:
        """Wait until everything typed here is acknowledged and in the file."""
        await self.saved()
        await self.until(lambda: self.disk.get("state") == "clean")


class Collab:
    """One server's rooms; `restart` is another server on the same journal."""

    def __init__(self, link: Linked, directory: Path, settings: Settings) -> None:
        self.link = link
        self.root = link.root
        self.hub = Hub(link.agents)
        self.settings = settings
        self.journal_file = directory / "journal.sqlite"
        self.journal: Journal
        self.rooms: Rooms

    async def start(self) -> None:
        self.hub.cut = False
        self.hub.lose_answers_to = ()
        self.journal = Journal(self.journal_file)
        await self.journal.start()
        hub: Any = self.hub
        self.rooms = Rooms(hub, self.journal, self.settings)
        await self.rooms.__aenter__()

    async def stop(self) -> None:
        await self.rooms.__aexit__(None, None, None)
        await self.journal.close()

    async def restart(self) -> None:
        """As after a kill: nothing more reaches the workspace from the server that was."""
        self.hub.cut = True
        await self.stop()
        await self.start()

    @asynccontextmanager
    async def join(
        self, path: str, person: Person = ADA, role: Role = Role.EDITOR, **options: Any
    ) -> AsyncIterator[Local]:
        """A client that has the whole text."""
        client = Local(self, path, person, role, **options)
        await client.connect()
        try:
            await client.until(lambda: client.synced or client.close_code is not None)
            yield client
        finally:
            await client.close()

    async def refused(self, path: str, **options: Any) -> CloudIDEError:
        """The error that keeps a client out."""
        client = Local(self, path, ADA, Role.EDITOR, **options)
        try:
            await client.connect()
        except CloudIDEError as error:
            return error
        await client.close()
        raise AssertionError("The client was let in.")

    async def unloaded(self, path: str) -> None:
        """Wait until a room that nobody is in has gone from memory."""
        async with asyncio.timeout(WAIT_SECONDS):
            while entry := self.rooms._open.get((WORKSPACE, path)):
                assert entry.unloading is not None
                await asyncio.wait([entry.unloading])

    def write(self, path: str, content: bytes) -> Path:
        """Write a file as a program in the workspace does."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    @contextlib.contextmanager
    def database(self) -> Any:
        """The journal's file, seen from outside."""
        db = apsw.Connection(str(self.journal_file))
        db.set_busy_timeout(5000)
        try:
            yield db
        finally:
            db.close()


@asynccontextmanager
async def collaborating(directory: Path, **settings: Any) -> AsyncIterator[Collab]:
    async with linked(directory) as link:
        collab = Collab(link, directory, msgspec.structs.replace(QUICK, **settings))
        await collab.start()
        try:
            yield collab
        finally:
            await collab.stop()
