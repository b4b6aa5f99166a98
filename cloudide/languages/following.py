"""One document that editors have open: its room, followed, and the mirror that servers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from cloudide.errors import CloudIDEError
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.editing import Room as EditedRoom
from cloudide.languages.editing import Rooms as EditedRooms

RELOAD_SECONDS = (0.0, 0.2, 1.0, 5.0)  # before each try to have a lost room back

_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """A client of the room; `answered` counts its messages that were taken or refused."""

    answered: int

    def await_message(self, count: int, arrived: Callable[[], None]) -> Callable[[], None]: ...


class Room(EditedRoom, Protocol):
    def settle(self) -> None:
        """Take what has arrived."""
        ...

    def connection_of(self, client: int, person: str) -> Connection | None: ...

    def resolve(self, anchor: bytes) -> int | None: ...


class Rooms(EditedRooms, Protocol):
    async def follow(self, workspace: str, path: str, follower: Any) -> Room: ...


class Following:
    """A follower of the room (`collab.room.Follower`). `on_gone`: it is to be closed."""

    def __init__(
        self, rooms: Rooms, workspace: str, path: str, uri: str, language: str, stamps: Stamps
    ) -> None:
        self.path = path
        self.language = language
        self.document: Document
        self.opening: asyncio.Task[None] | None = None
        self.loaded = False
        self.on_gone: Callable[[], None] = lambda: None
        self.on_change: Callable[[Document], None] = lambda document: None
        self._rooms = rooms
        self._workspace = workspace
        self._uri = uri
        self._stamps = stamps
        self._room: Room | None = None
        self._holders = 0
        self._closing: asyncio.TimerHandle | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._ended = False

    async def load(self) -> None:
        """Join the room.

        Raises:
            CloudIDEError: as the file is.
        """
        room = self._room = await self._rooms.follow(self._workspace, self.path, self)
        if self._ended:
            room.unfollow(self)
            return
        text = str(room.text)
        if self.loaded:
            self.document.replace(text, room.seq)
            return
        self.document = Document(self.path, self._uri, self.language, text, room.seq, self._stamps)
        self.document.on_change = lambda: self.on_change(self.document)
        self.loaded = True

    def hold(self) -> None:
        self._holders += 1
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def release(self, grace: float) -> None:
        """One editor less; after the last one it stays for `grace` seconds."""
        self._holders = max(0, self._holders - 1)
        if not self._holders and not self._ended and self._closing is None:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(grace, self.on_gone)

    def end(self) -> None:
        self._ended = True
        if self._closing is not None:
            self._closing.cancel()
        if self._reloading is not None:
            self._reloading.cancel()
        if self._room is not None:
            self._room.unfollow(self)
            self._room = None

    # ── the room ────────────────────────────────────────────────────────────────────────────────

    def changed(self, delta: list[dict[str, Any]]) -> None:
        if not self.loaded or self._room is None:
            return
        try:
            self.document.apply(delta, self._room.seq)
        except ValueError:
            _log.warning("languages.out_of_step", workspace=self._workspace, path=self.path)
            self.document.replace(str(self._room.text), self._room.seq)

    def moved(self) -> None:
        # Under its new name it is another document for the servers; editors open that.
        asyncio.get_running_loop().call_soon(self.on_gone)

    def lost(self) -> None:
        self._room = None
        if not self._ended:
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        for pause in RELOAD_SECONDS:
            await asyncio.sleep(pause)
            try:
                await self.load()
                return
            except CloudIDEError:
                continue
        self.on_gone()

    # ── requests while people type ──────────────────────────────────────────────────────────────

    def arrival(
        self, person: str, client: int, updates: int, patience: float
    ) -> Awaitable[None] | None:
        """Wait until the room has what a client has sent, or `patience` is over; None if it has."""
        if self._room is None:
            return None
        self._room.settle()
        connection = self._room.connection_of(client, person)
        if connection is None or connection.answered >= updates:
            return None
        return self._wait(connection, updates, patience)

    async def _wait(self, connection: Connection, updates: int, patience: float) -> None:
        arrived = asyncio.Event()
        forget = connection.await_message(updates, arrived.set)
        try:
            async with asyncio.timeout(patience):
                await arrived.wait()
        except TimeoutError:
            pass  # it is asked about what the room has
        finally:
            forget()

    def place(self, anchor: bytes) -> int | None:
        return None if self._room is None else self._room.resolve(anchor)
