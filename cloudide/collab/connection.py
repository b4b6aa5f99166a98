"""One client's connection to a room: what it sent, what it must still be told.

Text goes in as frames of the y-websocket protocol (`receive`) and out through the channel. A reader
that falls behind its budget loses its queue and gets, once it reads again, one message that carries
everything from the last state it has seen; it never grows memory and never slows a peer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cloudide.channel import Channel
from cloudide.errors import CloudIDEError, EpochChanged
from cloudide.identity.permissions import Grant
from cloudide.protocol import sync
from cloudide.protocol.updates import UpdateShape

if TYPE_CHECKING:
    from cloudide.collab.room import Room

LARGE = 64 * 1024  # bytes of a frame that is not read on the event loop


class Connection:
    """A member of `room`; `extended` clients speak `cloudide.collab.v1`."""

    def __init__(self, room: Room, grant: Grant, channel: Channel, *, extended: bool) -> None:
        self.room = room
        self.grant = grant
        self.channel = channel
        self.extended = extended
        self.read_only = not grant.sends("collab", "update")
        self.lagging = False
        self.answered = 0  # messages that were taken or refused
        self._awaited: list[tuple[int, Callable[[], None]]] = []
        self._taken: deque[tuple[int, int]] = deque()  # (count, room's seq that it waits for)
        self._acknowledged = 0
        self._lacking: UpdateShape | None = None  # what a refused message needed or brought
        self._missed_from: bytes | None = None
        channel.on_drained = self._drained

    def join(self) -> None:
        """Send the whole first sync and subscribe, in one turn of the loop: no update can be missed
        between the two."""
        room = self.room
        if self.extended:
            reason = "You can look, but not edit, here." if self.read_only else ""
            self._tell(sync.Hello(room.epoch, self.read_only, room.format, reason))
            self._tell(room.state_for(self))
        self.channel.send(sync.step_1(room.doc.get_state()))
        if entries := room.presence.entries():
            self.channel.send(sync.awareness(entries))
        room.connections.add(self)

    def receive(self, frame: bytes) -> Awaitable[None] | None:
        """Handle one frame; where there is something to wait for, the next one waits for it too.

        A frame that cannot be understood, or that this client may not send, closes this connection
        with the error's code; the room goes on.
        """
        if len(frame) > LARGE:
            return self._receive_large(frame)
        try:
            self._handle(self._read(frame))
        except CloudIDEError as error:
            self.fail(error)
        return None

    async def _receive_large(self, frame: bytes) -> None:
        """Look at it in a thread: some megabytes of small changes take seconds."""
        try:
            message = await asyncio.to_thread(self._read, frame)
            if self in self.room.connections:
                self._handle(message)
        except CloudIDEError as error:
            self.fail(error)

    def _read(self, frame: bytes) -> sync.ClientMessage:
        return sync.read_message(frame, self.room.limits.awareness, read_only=self.read_only)

    def _handle(self, message: sync.ClientMessage) -> None:
        if isinstance(message, sync.SyncUpdate):
            self.room.receive(self, message)
        elif isinstance(message, sync.SyncStep1):
            self._answer(message)
        elif isinstance(message, sync.Awareness):
            self.room.announce(self, message.entries)
        elif entries := self.room.presence.entries():
            self.channel.send(sync.awareness(entries))

    def fail(self, error: CloudIDEError) -> None:
        self.channel.close(error.close_code, error.message)

    def leave(self) -> None:
        self.room.remove(self)

    def broadcast(self, frame: bytes, before: bytes) -> None:
        """Queue a change that leads on from the state vector `before`."""
        if self.lagging:
            return
        self.channel.send(frame, tag=before)
        if self.channel.over_budget:
            dropped = self.channel.drop()
            self._missed_from = dropped if isinstance(dropped, bytes) else before
            self.lagging = True

    # ── what became of this client's changes ────────────────────────────────────────────────────

    def taken(self, seq: int) -> None:
        """The next message is in the document; it is durable when the room's `seq` is."""
        self._count()
        if not self.extended:
            return
        if self._lacking is not None and self.room.knows(self._lacking):
            self._lacking = None
        self._taken.append((self.answered, seq))
        self.room.unacknowledged.add(self)
        if seq <= self.room.durable_seq:
            self.acknowledge(self.room.durable_seq)

    def lacks(self, shape: UpdateShape) -> None:
        """The next message builds on something that never arrived, and was not taken.

        The client is asked for all that is missing; its answer carries this message again. Until
        then nothing after it is acknowledged, because an acknowledgement covers all before it.
        """
        self._count()
        if self._lacking is None:
            self._lacking = shape
        else:
            self._lacking.add(shape)
        self.channel.send(sync.step_1(self.room.doc.get_state()))

    def await_message(self, count: int, arrived: Callable[[], None]) -> Callable[[], None]:
        """Call `arrived` when that many messages of this client were taken or refused.

        Returns how to wait for it no longer.
        """
        awaited = (count, arrived)
        self._awaited.append(awaited)

        def forget() -> None:
            if awaited in self._awaited:
                self._awaited.remove(awaited)

        return forget

    def _count(self) -> None:
        self.answered += 1
        if self._awaited:
            due = [arrived for count, arrived in self._awaited if count <= self.answered]
            self._awaited = [each for each in self._awaited if each[0] > self.answered]
            for arrived in due:
                arrived()

    def collided(self) -> None:
        """The next message says something else in the place of what the document has.

        Two documents share a client id. The client's can never agree with this one again; it is
        sent away to begin anew, with what it has and the room lacks.
        """
        self.channel.send(sync.step_1(self.room.doc.get_state()))
        self.fail(
            EpochChanged(
                "Your copy of this file contradicts the server's (two copies use one client id). "
                "Reload it; text that was not saved is offered back."
            )
        )

    def acknowledge(self, durable: int) -> None:
        """Tell the client how many of its messages are durable, now that the room is up to
        `durable`."""
        if self._lacking is not None:
            return
        waiting = self._taken
        before = self._acknowledged
        while waiting and waiting[0][1] <= durable:
            self._acknowledged = waiting.popleft()[0]
        if not waiting:
            self.room.unacknowledged.discard(self)
        if self._acknowledged > before and not self.lagging:
            self._tell(sync.Ack(self._acknowledged))

    def tell(self, message: sync.Extension) -> None:
        if self.extended and not self.lagging:
            self._tell(message)

    def _tell(self, message: sync.Extension) -> None:
        if self.extended:
            self.channel.send(message.frame())

    def _answer(self, message: sync.SyncStep1) -> None:
        """Send what the client lacks, outside the budget: it is as large as the file's history."""
        room = self.room
        room.check_epoch(message.clocks)
        if message.clocks:
            room.settle()
            missing = room.doc.get_update(message.state_vector)
            self.channel.send(sync.step_2(missing), counted=False)
        else:
            for frame in room.first_sync():
                self.channel.send(frame, counted=False)

    def _drained(self) -> None:
        if not self.lagging:
            return
        self.room.settle()
        self.lagging = False
        missed, self._missed_from = self._missed_from, None
        update = self.room.doc.get_update(missed) if missed else self.room.doc.get_update()
        self.channel.send(sync.update(update), counted=False)
        if entries := self.room.presence.entries():
            self.channel.send(sync.awareness(entries))
        if self.extended:
            self._tell(sync.Ack(self._acknowledged))
            self._tell(self.room.state_for(self))
