"""All rooms of the server: opened by the first who asks, unloaded when nobody needs them.

A room is loaded once, however many ask at the same moment, and unloaded only when it is empty, its
disk peer has nothing to write, and both still hold in the very turn in which it goes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, ParamSpec

import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.channel import Channel
from cloudide.collab.connection import Connection
from cloudide.collab.disk import DiskPeer
from cloudide.collab.hints import Hints
from cloudide.collab.journal import Journal
from cloudide.collab.records import RoomRecord
from cloudide.collab.room import Follower, Limits, Room, RoomState
from cloudide.collab.text import content_hash, decode, diff, document_of, encode
from cloudide.collab.writeback import WriteBack
from cloudide.errors import (
    AgentUnavailable,
    CloudIDEError,
    Conflict,
    EpochChanged,
    NotEditable,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from cloudide.identity.permissions import Grant
from cloudide.protocol.agent import FileContent, ReadFile, Stat, WriteFile
from cloudide.protocol.sync import DiskState, FileFormat, Moved
from cloudide.settings import Settings

_log = structlog.get_logger(__name__)

P = ParamSpec("P")
Key = tuple[str, str]  # workspace id, path
KEEP_ALIVE_SECONDS = 5.0
RESTARTING, OVERLOADED = 1012, 1013  # close codes after which a client comes back


class _Open:
    """A room in memory, its disk peer, and the peer's task."""

    def __init__(self, room: Room, peer: DiskPeer) -> None:
        self.room = room
        self.peer = peer
        self.task: asyncio.Task[None] | None = None
        self.unloading: asyncio.Task[None] | None = None


class Rooms(Listener):
    """Use as an async context manager; it owns every task that rooms need."""

    def __init__(self, agents: Agents, journal: Journal, settings: Settings) -> None:
        self._agents = agents
        self._journal = journal
        self._settings = settings
        self._limits = Limits(
            editable=settings.editable_limit,
            awareness=settings.awareness_limit,
            write_back_delay=settings.write_back_delay,
            write_back_limit=settings.write_back_limit,
        )
        self._clock = WriteBack()
        self._open: dict[Key, _Open] = {}
        self._hints = Hints(
            agents, lambda: [entry.peer for entry in self._open.values()], self._peer, self.moved
        )
        self._loading: dict[Key, asyncio.Task[_Open]] = {}
        self._tasks = asyncio.TaskGroup()
        self._ticking: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Rooms:
        await self._tasks.__aenter__()
        self._agents.subscribe(self._hints)
        self._agents.subscribe(self)
        self._ticking = [
            self._spawn(self._hints.compare, self._settings.stat_interval),
            self._spawn(self._keep_alive),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send everybody away to come back later, write what can be written, and end."""
        for task in (*self._ticking, *self._loading.values()):
            task.cancel()
        flushes: list[asyncio.Task[bool]] = []
        for entry in self._open.values():
            entry.room.close(RESTARTING, "The server is restarting.")
            flushes.append(asyncio.create_task(self._flush_quietly(entry)))
        if flushes:
            # The journal has everything; the next start writes what is not written in this time.
            await asyncio.wait(flushes, timeout=3)
            for flush in flushes:
                flush.cancel()
        for entry in list(self._open.values()):
            self._drop(entry)
        await self._tasks.__aexit__(kind, error, trace)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    async def join(
        self,
        grant: Grant,
        path: str,
        channel: Channel,
        *,
        extended: bool,
        epoch: str = "",
        first: Callable[[Connection], None] = lambda connection: None,
    ) -> Connection:
        """Connect a client to the room of a file.

        `epoch`: the one that the client's document belongs to, if it has one; a file that was
        renamed while the client was away is found by it. `first` is called when the client is let
        in, before the room sends anything.

        Raises:
            NotFound, TooLarge, NotEditable: as the file is.
            AgentUnavailable: the file was never opened and the workspace does not run.
            EpochChanged: the client's document is of another epoch.
        """
        entry = await self._entry_of(grant.workspace, path, epoch)
        connection = Connection(entry.room, grant, channel, extended=extended)
        entry.room.become(RoomState.OPEN)
        first(connection)
        if entry.room.path != path:
            connection.tell(Moved(entry.room.path))
        connection.join()
        return connection

    async def follow(self, workspace: str, path: str, follower: Follower) -> Room:
        """The room of a file, which stays loaded until `follower` leaves it (`Room.unfollow`).

        Raises:
            NotFound, TooLarge, NotEditable: as the file is.
            AgentUnavailable: the file was never opened and the workspace does not run.
        """
        entry = await self._entry(workspace, path)
        entry.room.become(RoomState.OPEN)
        entry.room.follow(follower)
        return entry.room

    async def _entry_of(self, workspace: str, path: str, epoch: str) -> _Open:
        """The room at a path or, for a client whose file has moved meanwhile, where that is now."""
        try:
            entry = await self._entry(workspace, path)
            if epoch:
                entry.room.check_named_epoch(epoch)
        except (NotFound, EpochChanged):
            moved = await self._journal.path_of(workspace, epoch) if epoch else None
            if moved is None or moved == path:
                raise
            entry = await self._entry(workspace, moved)
        return entry

    def count(self) -> tuple[int, int]:
        """How many rooms there are, and connections to them."""
        rooms = [entry.room for entry in self._open.values()]
        return len(rooms), sum(len(room.connections) for room in rooms)

    def is_open(self, workspace: str, path: str) -> bool:
        entry = self._open.get((workspace, path))
        return entry is not None and not entry.peer.deleted

    async def read(self, workspace: str, path: str) -> bytes | None:
        """The bytes of a file as its room has them, or None when it is not open."""
        entry = self._open.get((workspace, path))
        if entry is None or entry.peer.deleted:
            return None
        return encode(str(entry.room.text), entry.room.format)

    async def write(
        self, workspace: str, path: str, content: bytes, author: str, expected: str | None
    ) -> str | None:
        """Write a file that is open, as an edit of its room; None when it is not open.

        Returns the hash of the room's bytes once they are on the disk.

        Raises:
            PreconditionFailed: `expected` is not the hash of what the room has.
            NotEditable, TooLarge: the new content cannot be edited together.
        """
        entry = self._open.get((workspace, path))
        if entry is None or entry.peer.deleted:
            return None
        room = entry.room
        current = str(room.text)
        if expected is not None and expected != content_hash(encode(current, room.format)):
            raise PreconditionFailed()
        text, room.format = decode(content, self._limits.editable)
        if hunks := diff(current, text):
            room.change(hunks, current, author)
        await entry.peer.flush()
        return _hash(room)

    async def restore(
        self, workspace: str, path: str, text: str, format: FileFormat, author: str
    ) -> tuple[str, int, int]:
        """Give a file a former text, as an edit by `author`; one that is gone is made anew.

        Returns the hash of the room's bytes, the room, and the number of its last update before.
        All is durable then, and on the disk if the workspace runs.

        Raises:
            AgentUnavailable: the workspace does not run and the file was never opened, or is gone.
            NotEditable, TooLarge: what is there now is no text.
        """
        try:
            entry = await self._entry(workspace, path)
        except NotFound:
            with suppress(Conflict):  # somebody has just made it
                agent = self._agents.agent(workspace)
                await agent.call(WriteFile(path, b"", expected="", parents=True))
            entry = await self._entry(workspace, path)
            entry.room.format = format
        room = entry.room
        before, current = room.seq, str(room.text)
        if hunks := diff(current, text):
            room.change(hunks, current, author)
        seq = room.seq
        await self._journal.barrier()
        if room.durable_seq < seq or room.state is RoomState.CLOSED:
            raise Unavailable("The journal cannot be written; nothing was restored.")
        with suppress(AgentUnavailable):
            await entry.peer.restore()
        return _hash(room), room.id, before

    async def revive(self, workspace: str, path: str) -> str:
        """Make a file that was deleted anew, with the text its room has; returns its hash.

        Raises:
            NotFound: nobody has it open, so that there is no text.
            CloudIDEError: it could not be written.
        """
        entry = self._open.get((workspace, path))
        if entry is None:
            raise NotFound(f"Nobody has {path} open; restore a version from its history.")
        await entry.peer.restore()
        return _hash(entry.room)

    async def flush(self, workspace: str, path: str = "") -> None:
        """Write the open rooms at or below `path` to the disk, so that a program sees them.

        Raises:
            CloudIDEError: one could not be written.
        """
        for entry in self._below(workspace, path):
            await entry.peer.flush()

    async def flush_quietly(self, workspace: str) -> None:
        """Write what can be written; the journal has the rest."""
        for entry in self._below(workspace, ""):
            await self._flush_quietly(entry)

    async def moved(self, workspace: str, source: str, target: str) -> None:
        """A file or folder was renamed: its rooms follow, and whoever can be told stays in them."""
        for entry in self._below(workspace, source):
            room = entry.room
            path = target + room.path[len(source) :]
            await self._end_left_over(workspace, path)
            if self._open.get((workspace, room.path)) is not entry:
                continue  # it went, or somebody else moved it
            del self._open[workspace, room.path]
            room.path = path
            self._open[workspace, path] = entry
            await self._journal.rename(room.id, path)
            room.moved()

    async def _end_left_over(self, workspace: str, path: str) -> None:
        """End the room of a file that was at `path` before, and is there no longer."""
        if former := self._open.get((workspace, path)):
            clients = former.room.clients()
            former.room.close(EpochChanged.close_code, EpochChanged.title)
            self._drop(former)
            await self._journal.retire(former.room.id, clients)
        elif record := await self._journal.load(workspace, path):
            await self._journal.retire(record.id, record.clients())

    async def forget(self, workspace: str) -> None:
        """A workspace is gone, with all its files."""
        for entry in self._below(workspace, ""):
            entry.room.close(NotFound.close_code, "The workspace was deleted.")
            self._drop(entry)
        self._hints.forget(workspace)
        await self._journal.forget(workspace)

    async def _entry(self, workspace: str, path: str) -> _Open:
        key = (workspace, path)
        if entry := self._open.get(key):
            return entry
        loading = self._loading.get(key)
        if loading is None:
            # A task of its own, so that the first one to ask may go away without the others.
            loading = self._loading[key] = asyncio.create_task(self._load(workspace, path))
            loading.add_done_callback(lambda task: self._loaded(key, task))
        return await asyncio.shield(loading)

    def _loaded(self, key: Key, task: asyncio.Task[_Open]) -> None:
        del self._loading[key]
        if not task.cancelled():
            task.exception()  # whoever asked has it; they may all be gone

    async def _load(self, workspace: str, path: str) -> _Open:
        record = await self._journal.load(workspace, path)
        stat: Stat | None = None
        reading: asyncio.Task[FileContent] | None = None
        if record is None:
            record, stat = await self._begin(workspace, path)
        else:
            # The agent looks at the file while the document is made.
            reading = asyncio.create_task(self._read(workspace, path, record.agreement.hash))
            await asyncio.sleep(0)
        room = Room(workspace, path, record, self._journal, self._limits)
        peer = DiskPeer(room, record, self._agents, self._journal, self._clock)
        entry = _Open(room, peer)
        # From the start: a first look may already change the document.
        room.on_broken = lambda error: self._broken(entry, error)
        if reading is None:
            # What is compared from now on: also a file that goes before it is first looked at.
            peer.stat = stat
        else:
            try:
                await peer.look(reading)
            except AgentUnavailable as unavailable:
                # The journal has the text; the disk joins when the workspace runs.
                peer.offline = True
                room.tell_disk(DiskState("offline", unavailable.message))
            except NotEditable as error:
                await self._journal.retire(room.id, room.clients())
                raise error
            if peer.deleted and not peer.dirty:
                await self._journal.retire(room.id, room.clients())
                raise NotFound(f"There is no file {path} in the workspace.")
        if room.state is RoomState.CLOSED:
            raise Unavailable("The document could not be loaded; try again shortly.")
        room.become(RoomState.OPEN)
        room.on_edit = peer.edited
        room.on_empty = lambda: self._empty(entry)
        peer.on_replaced = lambda error: self._replaced(entry, error)
        peer.follow = lambda: self._hints.follow(peer)
        self._open[workspace, path] = entry
        entry.task = self._spawn(self._run, entry)
        self._empty(entry)
        return entry

    async def _begin(self, workspace: str, path: str) -> tuple[RoomRecord, Stat]:
        """The record of a file that was never opened, whose first update is what the disk has."""
        file = await self._read(workspace, path)
        content = file.content or b""
        text, format = decode(content, self._limits.editable)
        document, body = document_of()
        # Also for an empty file the first update is there: it is what the epoch begins with.
        with document.transaction():
            body += text
        update, epoch = document.get_update(), secrets.token_hex(8)
        record = await self._journal.create(
            workspace, path, epoch, format, update, content_hash(content)
        )
        return record, file.stat

    async def _read(self, workspace: str, path: str, known: str = "") -> FileContent:
        """The file, without its content if that is `known`, and what interrupted writes left."""
        request = ReadFile(path, self._limits.editable, known, swaps=bool(known))
        return await self._agents.agent(workspace).call(request)

    async def _run(self, entry: _Open) -> None:
        try:
            await entry.peer.run()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A panic of the CRDT library is no Exception.
            _log.error("room.broken", room=entry.room.id, error=repr(error))
            self._broken(entry, error)

    def _spawn(
        self, work: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Task[None]:
        """A task whose failure is logged and ends nothing but itself."""

        async def run() -> None:
            try:
                await work(*args, **kwargs)
            except CloudIDEError as error:
                _log.warning("rooms.task_failed", task=work.__qualname__, error=error.message)
            except Exception:
                _log.exception("rooms.task_failed", task=work.__qualname__)

        return self._tasks.create_task(run())

    # ── ending ──────────────────────────────────────────────────────────────────────────────────

    def _empty(self, entry: _Open) -> None:
        """Nobody is in the room: unload it after a while, unless somebody comes."""
        if entry.unloading is None and entry.room.state is not RoomState.CLOSED:
            entry.unloading = self._spawn(self._unload, entry)

    async def _unload(self, entry: _Open) -> None:
        room, peer = entry.room, entry.peer
        try:
            while True:
                await asyncio.sleep(self._settings.room_grace)
                if room.wanted:
                    return
                room.become(RoomState.FLUSHING)
                offline = not await self._flush_quietly(entry)
                # From here to the end there is no await: what holds now holds when it goes.
                if room.wanted:
                    room.become(RoomState.OPEN)
                    return
                if not peer.dirty or offline:
                    self._drop(entry)
                    return
        finally:
            entry.unloading = None

    async def _flush_quietly(self, entry: _Open) -> bool:
        """Flush; False when the disk is out of reach, so that only the journal has the text."""
        try:
            await entry.peer.flush()
        except (AgentUnavailable, NotFound):
            return False
        except CloudIDEError as error:
            _log.warning("room.not_flushed", room=entry.room.id, error=error.message)
        return True

    def _drop(self, entry: _Open) -> None:
        room = entry.room
        room.become(RoomState.CLOSED)
        if self._open.get((room.workspace, room.path)) is entry:
            del self._open[room.workspace, room.path]
        if entry.task is not None:
            entry.task.cancel()
        if entry.unloading is not None and entry.unloading is not asyncio.current_task():
            entry.unloading.cancel()

    def _broken(self, entry: _Open, error: BaseException) -> None:
        """The document or the journal failed: forget what is in memory; clients come back to what
        is durable, and give again what was not."""
        if entry.room.state is not RoomState.CLOSED:
            message = error.message if isinstance(error, CloudIDEError) else ""
            entry.room.close(OVERLOADED, message or "The document is being reloaded.")
            self._drop(entry)

    def _replaced(self, entry: _Open, error: CloudIDEError) -> None:
        """The file is no longer text that can be edited: the epoch ends."""
        entry.room.close(error.close_code, error.message)
        self._drop(entry)
        self._spawn(self._journal.retire, entry.room.id, entry.room.clients())

    def connected(self, agent: Agent) -> None:
        self._spawn(self._write_left_over, agent.workspace_id)

    async def _write_left_over(self, workspace: str) -> None:
        """Load the rooms whose last edits are only in the journal, so that they reach the disk."""
        for path in await self._journal.unwritten(workspace):
            try:
                await self._entry(workspace, path)
            except CloudIDEError as error:
                _log.warning("room.left_over", workspace=workspace, error=error.message)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            for entry in self._open.values():
                entry.room.keep_alive()

    def _peer(self, workspace: str, path: str) -> DiskPeer | None:
        entry = self._open.get((workspace, path))
        return None if entry is None else entry.peer

    def _below(self, workspace: str, path: str) -> list[_Open]:
        return [
            entry
            for (owner, name), entry in self._open.items()
            if owner == workspace and (not path or name == path or name.startswith(path + "/"))
        ]


def _hash(room: Room) -> str:
    return content_hash(encode(str(room.text), room.format))
