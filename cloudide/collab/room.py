"""A room: one open file, its CRDT document, and everybody who edits it.

The path of an edit: the frame is checked (`protocol/sync.py`), applied to the document, and *the
update that the document emitted* is queued to the journal and then broadcast; when the journal is
durable the sender gets its acknowledgement. Everything that arrives within one turn of the event
loop goes out as one frame, encoded once and shared by all readers.

The document has one owner, the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

import msgspec
import structlog
from pycrdt import Doc, Text, TransactionEvent, merge_updates

from cloudide.collab.connection import Connection
from cloudide.collab.journal import COMPACT_BYTES, COMPACT_ROWS, Journal
from cloudide.collab.presence import Presence
from cloudide.collab.records import Agreement, RoomRecord, Update
from cloudide.collab.text import Hunk, apply, document_of
from cloudide.errors import Conflict, EpochChanged, InvalidInput, Unavailable
from cloudide.protocol import sync
from cloudide.protocol.updates import (
    EMPTY_UPDATE,
    UpdateShape,
    read_state_vector,
    read_update,
)

_log = structlog.get_logger(__name__)

DISK = "disk"  # the author of changes that came from the file


class RoomState(Enum):
    """OPEN takes edits; FLUSHING writes the last of them to the disk, and may become OPEN again
    when somebody joins; CLOSED is gone from memory."""

    OPEN = "open"
    FLUSHING = "flushing"
    CLOSED = "closed"


_TRANSITIONS = {
    RoomState.OPEN: {RoomState.FLUSHING, RoomState.CLOSED},
    RoomState.FLUSHING: {RoomState.OPEN, RoomState.CLOSED},
    RoomState.CLOSED: set[RoomState](),
}


class Limits(msgspec.Struct, frozen=True):
    """Bytes, seconds."""

    editable: int
    awareness: int
    write_back_delay: float
    write_back_limit: float


class Room:
    def __init__(
        self,
        workspace: str,
        path: str,
        record: RoomRecord,
        journal: Journal,
        limits: Limits,
    ) -> None:
        self.workspace = workspace
        self.path = path
        self.id = record.id
        self.epoch = record.epoch
        self.format = record.format
        self.limits = limits
        self.state = RoomState.OPEN
        self.connections: set[Connection] = set()
        self.presence: Presence[Connection] = Presence()
        self.disk_state = sync.DiskState("clean")
        self.seq = record.updates[-1][0] if record.updates else record.snapshot_seq
        self.durable_seq = self.seq
        self._log_rows = len(record.updates)
        self._log_bytes = sum(len(data) for _, data in record.updates)
        self.on_edit: Callable[[], None] = lambda: None
        self.on_broken: Callable[[BaseException], None] = lambda error: None
        self.on_empty: Callable[[], None] = lambda: None

        self._journal = journal
        self._retired_clients = record.retired_clients
        self.doc, self.text = _load(record)
        self._clocks = read_state_vector(self.doc.get_state())
        self._outgoing: list[bytes] = []
        self._broadcast_state = self.doc.get_state()  # what everybody has been sent
        self._outgoing_sender: Connection | None = None
        self._author = ""
        self._sender: Connection | None = None
        self._agreement: tuple[Agreement, str] | None = None
        self._acknowledging = False
        self._subscription = self.doc.observe(self._emitted)

    # ── edits ───────────────────────────────────────────────────────────────────────────────────

    def edit(self, sender: Connection, message: sync.SyncUpdate) -> bool:
        """Apply a client's update; False when it builds on something this room does not have.

        After True every change of the update is in the document and, at least, queued to the
        journal up to `seq`.

        Raises:
            InvalidInput: it cannot be applied.
            Unavailable: the document broke on it and is being reloaded.
        """
        if message.update != EMPTY_UPDATE:
            self._apply(message.update, sender.grant.person.id, sender)
            if not self.knows(message.shape):
                return False
        return True

    def change(self, hunks: list[Hunk], content: str, author: str) -> None:
        """Edit the text on behalf of `author`, as one update; `hunks` were made for `content`."""
        self._author, self._sender = author, None
        with self.doc.transaction(origin=author):
            apply(hunks, self.text, content)

    def merge(self, update: bytes, agreement: Agreement, merged: str = "") -> None:
        """Take a change that came from the disk, together with what is then agreed.

        It gets the number `seq + 1`. Both become durable at once, or not at all: one without the
        other would double the change after a crash. `merged`: see `Journal.agree`.
        """
        self._agreement = agreement, merged
        try:
            self._apply(update, DISK, None)
        finally:
            if self._take_agreement() is not None:
                raise Unavailable("A change from the disk could not be merged.")

    def knows(self, shape: UpdateShape) -> bool:
        """Whether all the changes that `shape` covers are in this document."""
        return not shape.missing_from(self._clocks)

    def check_epoch(self, clocks: dict[int, int]) -> None:
        """Refuse a client whose document belongs to a predecessor of this room.

        Raises:
            EpochChanged: it names a client id that wrote in a former epoch.
        """
        if self._retired_clients and not self._retired_clients.isdisjoint(clocks):
            raise EpochChanged(
                "This file was deleted and made anew since you opened it. Reload it; text that was "
                "not saved is offered back."
            )

    def check_named_epoch(self, epoch: str) -> None:
        """Refuse a client that names another epoch than this room's.

        Raises:
            EpochChanged: it does.
        """
        if epoch != self.epoch:
            raise EpochChanged()

    def _apply(self, update: bytes, author: str, sender: Connection | None) -> None:
        self._author, self._sender = author, sender
        try:
            with self.doc.transaction(origin=author):
                self.doc.apply_update(update)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except ValueError as error:
            raise InvalidInput("The update could not be applied; it was not taken.") from error
        except BaseException as error:
            # A panic of the CRDT library is no Exception. The document may be damaged: whoever
            # holds it gets it anew from the journal.
            _log.error("room.broken", room=self.id, error=repr(error))
            self.on_broken(error)
            raise Unavailable("The document is being reloaded; reconnect shortly.") from error

    def _emitted(self, event: TransactionEvent) -> None:
        """The document changed: queue to the journal, then to everybody."""
        update = event.update
        if update == EMPTY_UPDATE:
            return
        self.seq += 1
        agreement, merged = self._take_agreement() or (None, "")
        self._journal.append(
            self.id,
            Update(self.seq, self._author, update),
            self._committed,
            agreement,
            merged,
        )
        self._log_rows += 1
        self._log_bytes += len(update)
        for client, end in read_update(update).ends.items():
            if end > self._clocks.get(client, 0):
                self._clocks[client] = end
        if not self._outgoing:
            self._outgoing_sender = self._sender
            asyncio.get_running_loop().call_soon(self._broadcast)
        elif self._outgoing_sender is not self._sender:
            self._outgoing_sender = None
        self._outgoing.append(update)
        self.on_edit()

    def _take_agreement(self) -> tuple[Agreement, str] | None:
        agreement, self._agreement = self._agreement, None
        return agreement

    def _broadcast(self) -> None:
        updates, self._outgoing = self._outgoing, []
        sender = self._outgoing_sender
        frame = sync.update(updates[0] if len(updates) == 1 else merge_updates(*updates))
        for connection in self.connections:
            if connection is not sender:
                connection.broadcast(frame, self._broadcast_state)
        self._broadcast_state = self.doc.get_state()

    def _committed(self, seq: int, error: BaseException | None) -> None:
        if error is not None:
            self.on_broken(error)
            return
        self.durable_seq = max(self.durable_seq, seq)
        if not self._acknowledging:
            # One acknowledgement for all that was committed in one batch.
            self._acknowledging = True
            asyncio.get_running_loop().call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = False
        for connection in self.connections:
            connection.acknowledge(self.durable_seq)

    # ── people ──────────────────────────────────────────────────────────────────────────────────

    def announce(self, sender: Connection, entries: list[sync.AwarenessEntry]) -> None:
        """Take awareness from a client and show it to everybody, the sender included: it tells by
        the echo that the line is alive."""
        if accepted := self.presence.update(sender, entries):
            self._send_all(sync.awareness(accepted))

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if removals := self.presence.remove(connection):
            self._send_all(sync.awareness(removals))
        if not self.connections:
            self.on_empty()

    def keep_alive(self) -> None:
        """Let every client know that the line is alive, though nobody types."""
        self._send_all(sync.EMPTY_AWARENESS)

    def tell(self, message: sync.Extension) -> None:
        """Send an extension message to every client that understands it."""
        if isinstance(message, sync.DiskState):
            if message == self.disk_state:
                return
            self.disk_state = message
        for connection in self.connections:
            connection.tell(message)

    def close(self, code: int, reason: str) -> None:
        """Close every connection; the room itself stays as it is."""
        for connection in list(self.connections):
            connection.channel.close(code, reason)

    def _send_all(self, frame: bytes) -> None:
        for connection in self.connections:
            if not connection.lagging:
                connection.channel.send(frame)

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    def become(self, state: RoomState) -> None:
        """The one place where a room changes state."""
        if state is self.state:
            return
        if state not in _TRANSITIONS[self.state]:
            raise Conflict(f"A room cannot go from {self.state.value} to {state.value}.")
        self.state = state
        if state is RoomState.CLOSED:
            self.doc.unobserve(self._subscription)

    @property
    def log_grown(self) -> bool:
        """Whether the journal's log of this room is due to be folded into a snapshot."""
        return self._log_rows >= COMPACT_ROWS or self._log_bytes >= COMPACT_BYTES

    def log_folded(self) -> None:
        self._log_rows = self._log_bytes = 0

    def clients(self) -> set[int]:
        """Every client id that ever wrote in this document."""
        return set(self._clocks)


def _load(record: RoomRecord) -> tuple[Doc[Text], Text]:
    updates = [data for _, data in record.updates]
    return document_of(*([record.snapshot] if record.snapshot else []), *updates)
