"""A connection to a room without a document of its own: it sends what it is told, answers nothing,
and keeps what it hears."""

from __future__ import annotations

import json

from local import ADA, QUICK, WORKSPACE, Collab

from cloudide.channel import Channel, Frame
from cloudide.collab.connection import Connection
from cloudide.collab.room import Room
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.protocol import sync
from cloudide.protocol.varint import Reader


class Raw:
    """Its wire takes everything at once."""

    unsent = 0
    direct = None

    def __init__(self, collab: Collab, path: str, person: Person = ADA, role: Role = Role.EDITOR):
        self.frames: list[bytes] = []
        self.close_code: int | None = None
        self.sent = 0
        self._collab = collab
        self._path = path
        self._grant = Grant(person, WORKSPACE, role)
        self._connection: Connection

    async def join(self) -> Raw:
        channel = Channel(self, QUICK.collab_queue)
        self._connection = await self._collab.rooms.join(
            self._grant, self._path, channel, extended=True
        )
        self.close_code = None
        return self

    @property
    def room(self) -> Room:
        return self._connection.room

    @property
    def acknowledged(self) -> int:
        count = 0
        for frame in self.frames:
            if frame[0] == sync.EXTENSION:
                reader = Reader(frame, 1)
                message = json.loads(reader.text())
                if message["type"] == "ack":
                    count = message["count"]
        return count

    @property
    def asked(self) -> bool:
        """Whether the room asked for what it lacks, since the frames were last forgotten."""
        return any(frame[:2] == b"\x00\x00" for frame in self.frames)

    def send(self, frame: bytes) -> None:
        if self.close_code is None:
            self.sent += 1
            handling = self._connection.receive(frame)
            assert handling is None, "use send_any"

    async def send_any(self, frame: bytes) -> None:
        """A frame of any size; a large one is waited for."""
        if self.close_code is None:
            self.sent += 1
            if handling := self._connection.receive(frame):
                await handling

    async def settled(self) -> None:
        """Everything sent is applied, durable, and whoever is to hear of it has heard."""
        self.room.settle()
        await self._collab.journal.barrier()

    def leave(self) -> None:
        self._connection.leave()

    # ── the wire ────────────────────────────────────────────────────────────────────────────────

    def write(self, frame: Frame) -> None:
        assert isinstance(frame, bytes)
        self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.close_code = code
