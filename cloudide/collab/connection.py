"""One client's connection to a room: what it sent, what it must still be told.

Text goes in as frames of the y-websocket protocol (`receive`) and out through the channel. A reader
that falls behind its budget loses its queue and gets, once it reads again, one message that carries
everything from the last state it has seen; it never grows memory and never slows a peer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cloudide.channel import Channel
from cloudide.errors import CloudIDEError, Denied
from cloudide.identity.permissions import Action, Grant
from cloudide.protocol import sync

if TYPE_CHECKING:
    from cloudide.collab.room import Room


class Connection:
    """A member of `room`; `extended` clients speak `cloudide.collab.v1`."""

    def __init__(self, room: Room, grant: Grant, channel: Channel, *, extended: bool) -> None:
        self.room = room
        self.grant = grant
        self.channel = channel
        self.extended = extended
        self.lagging = False
        self._received = 0
        self._unacknowledged: deque[tuple[int, int]] = deque()  # (count, room seq it waits for)
        self._acknowledged = 0
        self._missed_from: bytes | None = None
        channel.on_drained = self._drained

    @property
    def read_only(self) -> bool:
        return not self.grant.allows(Action.WRITE)

    def join(self) -> None:
        """Send the whole first sync and subscribe, in one turn of the loop: no update can be missed
        between the two."""
        room = self.room
        if self.extended:
            reason = "You can look, but not edit, here." if self.read_only else ""
            self._tell(sync.Hello(room.epoch, self.read_only, room.format, reason))
            self._tell(room.disk_state)
        self.channel.send(sync.step_1(room.doc.get_state()))
        if entries := room.presence.entries():
            self.channel.send(sync.awareness(entries))
        room.connections.add(self)

    def receive(self, frame: bytes) -> None:
        """Handle one frame.

        A frame that cannot be understood, or that this client may not send, closes this connection
        with the error's code; the room goes on.
        """
        try:
            message = sync.read_message(frame, self.room.limits.awareness)
            if isinstance(message, sync.SyncStep1):
                self._answer(message)
            elif isinstance(message, sync.SyncUpdate):
                self._edit(message)
            elif isinstance(message, sync.Awareness):
                self.room.announce(self, message.entries)
            elif entries := self.room.presence.entries():
                self.channel.send(sync.awareness(entries))
        except CloudIDEError as error:
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

    def acknowledge(self, durable: int) -> None:
        """Tell the client how many of its messages are durable, now that the room is up to
        `durable`."""
        waiting = self._unacknowledged
        if not waiting or waiting[0][1] > durable:
            return
        while waiting and waiting[0][1] <= durable:
            self._acknowledged = waiting.popleft()[0]
        if not self.lagging:
            self._tell(sync.Ack(self._acknowledged))

    def tell(self, message: sync.Extension) -> None:
        if self.extended and not self.lagging:
            self._tell(message)

    def _tell(self, message: sync.Extension) -> None:
        if self.extended:
            self.channel.send(message.frame())

    def _answer(self, message: sync.SyncStep1) -> None:
        self.room.check_epoch(message.clocks)
        # The first sync is as large as the file's history: it must not count as a slow reader's
        # backlog.
        self.channel.send(
            sync.step_2(self.room.doc.get_update(message.state_vector)), counted=False
        )

    def _edit(self, message: sync.SyncUpdate) -> None:
        self._received += 1
        if self.read_only:
            # Every client answers step 1, and with nothing to add when it has not edited; deletions
            # in that answer cannot be told from known ones, so nothing of it is ever applied.
            if not message.answer or not self.room.knows(message.shape):
                raise Denied("You have read-only access to this workspace; the edit was not taken.")
        elif not self.room.edit(self, message):
            # A gap: something this update builds on never arrived. Ask for all that is missing;
            # the answer will carry this update again.
            self.channel.send(sync.step_1(self.room.doc.get_state()))
            return
        self._unacknowledged.append((self._received, self.room.seq))
        self.acknowledge(self.room.durable_seq)

    def _drained(self) -> None:
        if not self.lagging:
            return
        self.lagging = False
        missed, self._missed_from = self._missed_from, None
        update = self.room.doc.get_update(missed) if missed else self.room.doc.get_update()
        self.channel.send(sync.update(update), counted=False)
        if entries := self.room.presence.entries():
            self.channel.send(sync.awareness(entries))
        if self.extended:
            self._tell(sync.Ack(self._acknowledged))
            self._tell(self.room.disk_state)
