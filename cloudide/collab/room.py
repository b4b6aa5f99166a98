"""A room: one open file, its CRDT document, and everybody who edits it.

The path of an edit: the frame is checked (`protocol/sync.py`), applied to the document, and *the
update that the document emitted* is queued to the journal and then broadcast; when the journal is
durable the sender gets its acknowledgement. Everything that arrives within one turn of the event
loop is applied in one transaction for each sender, and goes out as one frame, encoded once and
shared by all readers.

The document has one owner, the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

import msgspec
import structlog
from pycrdt import Doc, Text, TransactionEvent, merge_updates

from cloudide.channel import encode
from cloudide.collab.connection import Connection
from cloudide.collab.journal import COMPACT_BYTES, COMPACT_ROWS, Journal
from cloudide.collab.presence import Presence
from cloudide.collab.records import Agreement, RoomRecord, Update
from cloudide.collab.text import Hunk, apply, document_of
from cloudide.errors import Conflict, EpochChanged, InvalidInput, NotFound, Unavailable
from cloudide.protocol import sync
from cloudide.protocol.collisions import contradicts
from cloudide.protocol.structs import Id, boundaries, second_halves
from cloudide.protocol.updates import (
    EMPTY_UPDATE,
    Fit,
    UpdateShape,
    advance,
    read_state_vector,
    read_update,
    write_state_vector,
)

_log = structlog.get_logger(__name__)

DISK = "disk"  # the author of changes that came from the file
FEW = 16  # people who are all told how each write to the disk goes
PRESENCE_SECONDS = 0.05  # cursors move at most this often for those who watch
FIRST_SYNC_TAIL = 64 * 1024  # bytes of updates after which a first sync is encoded anew


class RoomState(Enum):
    """LOADING is made of the journal and looks at the disk for the first time; OPEN takes edits;
    FLUSHING writes the last of them to the disk, and may become OPEN again when somebody joins;
    CLOSED is gone from memory."""

    LOADING = "loading"
    OPEN = "open"
    FLUSHING = "flushing"
    CLOSED = "closed"


_TRANSITIONS = {
    RoomState.LOADING: {RoomState.OPEN, RoomState.CLOSED},
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
        self.state = RoomState.LOADING
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
        # The second halves of the text's characters that take two clocks; most texts have none.
        self._second_halves: set[Id] = set()
        text = str(self.text)
        if len(text.encode("utf-16-le")) > 2 * len(text):
            self._second_halves.update(second_halves(self.doc.get_update()))
        self._expected: sync.SyncUpdate | None = None  # what the document is about to emit, if all
        self._arrived: dict[Connection, list[sync.SyncUpdate]] = {}
        self._outgoing: list[bytes] = []
        self._broadcast_state = self.doc.get_state()  # what everybody has been sent
        self._outgoing_sender: Connection | None = None
        self._author = ""
        self._sender: Connection | None = None
        self._journalled = False  # what the document is about to emit is in the journal
        self.unacknowledged: set[Connection] = set()  # who waits to hear that an edit is durable
        self._acknowledging = False
        self._awaiting_disk: set[Connection] = set()  # who was told that the file is being written
        self._moved: dict[int, sync.AwarenessEntry] = {}  # what readers are still to be shown
        self._showing: asyncio.TimerHandle | None = None
        self._first_sync: list[bytes] = []
        self._first_sync_tail = 0
        self._subscription = self.doc.observe(self._emitted)

    # ── edits ───────────────────────────────────────────────────────────────────────────────────

    def receive(self, sender: Connection, message: sync.SyncUpdate) -> None:
        """Take a client's update; `Connection.taken` or `lacks` tells it what became of it.

        It is applied at the end of this turn of the loop, together with all else that arrives in
        it: what a client sends in one go costs one transaction, one row of the journal and one
        frame to each reader.
        """
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self.settle)
        self._arrived.setdefault(sender, []).append(message)

    def settle(self) -> None:
        """Apply what has arrived, and send everybody what changed."""
        arrived, self._arrived = self._arrived, {}
        for sender, messages in arrived.items():
            if self.state is RoomState.CLOSED:
                return
            self._take(sender, messages)
        if self._outgoing:
            self._broadcast()

    def _take(self, sender: Connection, messages: list[sync.SyncUpdate]) -> None:
        """Apply what one client sent in this turn, in order."""
        fitting: list[sync.SyncUpdate] = []
        # As they will be when `fitting` is applied.
        clocks = self._clocks if len(messages) == 1 else dict(self._clocks)
        for message in messages:
            fit = message.shape.fit(clocks)
            if fit is Fit.PARTLY_KNOWN:
                self._apply(sender, fitting)
                fitting = []
                if self._contradicts(message):
                    sender.collided()
                    return
            if fit is not Fit.GAP and (refusal := self._refusal(message)):
                self._apply(sender, fitting)
                sender.fail(InvalidInput(refusal))
                return
            if fit is Fit.GAP:
                self._apply(sender, fitting)  # messages are counted in the order they came
                fitting = []
                sender.lacks(message.shape)
            else:
                fitting.append(message)
                if len(messages) > 1:
                    advance(clocks, message.shape.ends)
                if message.shape.wide or message.shape.rich:  # what follows is compared with it
                    self._apply(sender, fitting)
                    fitting = []
        self._apply(sender, fitting)

    def _apply(self, sender: Connection, messages: list[sync.SyncUpdate]) -> None:
        changes = [each for each in messages if each.update != EMPTY_UPDATE]
        try:
            if changes:
                self._expected = changes[0] if len(changes) == 1 else None
                updates = [each.update for each in changes]
                self._transact(updates, sender.grant.person.id, sender)
        except InvalidInput as error:
            sender.fail(error)
            return
        except Unavailable:
            return
        self._say_writing(sender)
        for message in messages:
            # What the document emitted decides, not what was expected of it.
            if self.knows(message.shape):
                sender.taken(self.seq)
            else:
                sender.lacks(message.shape)

    def _refusal(self, message: sync.SyncUpdate) -> str:
        """Why the document cannot take an update that builds on nothing but what it has, or ""."""
        shape, update = message.shape, message.update
        if (self._second_halves or shape.wide) and self._cuts(update):
            return "The update parts a character in two; it was not taken."
        if shape.rich and not self._bears(update):
            return "The update could not be applied; it was not taken."
        return ""

    def _cuts(self, update: bytes) -> bool:
        """Whether an update parts a character in two, which JavaScript can do and the CRDT library
        cannot: it would hand out nonsense from then on."""
        halves = self._second_halves.union(second_halves(update))
        return not halves.isdisjoint(boundaries(update))

    def _bears(self, update: bytes) -> bool:
        """Whether a copy of the document can take an update, and others can read what it emits.

        Only for what is more than text, of which no editor here makes any, and with which an update
        can be well-formed and still break a document.
        """
        copy, text = document_of(self.doc.get_update())
        emitted: list[bytes] = []
        subscription = copy.observe(lambda event: emitted.append(event.update))
        try:
            copy.apply_update(update)
            for each in emitted:
                read_update(each)
            _, told = document_of(copy.get_update())
            return str(text) == str(told)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the CRDT library is no Exception
            _log.info("room.update_refused", room=self.id, error=repr(error))
            return False
        finally:
            copy.unobserve(subscription)

    def _contradicts(self, message: sync.SyncUpdate) -> bool:
        """Whether an update gives clocks that the document has already to other changes."""
        since = dict(self._clocks)
        for client, start in message.shape.starts.items():
            if client in since:
                since[client] = min(start, since[client])
        return contradicts(message.update, self.doc.get_update(write_state_vector(since)))

    def change(self, hunks: list[Hunk], content: str, author: str) -> None:
        """Edit the text on behalf of `author`, as one update; `hunks` were made for `content`."""
        self._author, self._sender = author, None
        with self.doc.transaction(origin=author):
            apply(hunks, self.text, content)

    async def merge(self, update: bytes, agreement: Agreement, merged: str = "") -> None:
        """Take a change that came from the disk, together with what is then agreed.

        It gets the number `seq + 1`. Both become durable at once, or not at all, and only then does
        anybody see the change: a client that had it from a server that lost it would give it back,
        and the file would be merged a second time. `merged`: see `Journal.agree`.

        Raises:
            CloudIDEError: it is not durable, and not in the document.
        """
        self.seq += 1
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def committed(seq: int, error: BaseException | None) -> None:
            self._committed(seq, error)
            if not durable.done():
                if error is None:
                    durable.set_result(None)
                else:
                    durable.set_exception(error)

        self._journal.append(self.id, Update(self.seq, DISK, update), committed, agreement, merged)
        self._count(update)
        await durable
        self._journalled = True
        try:
            self._transact([update], DISK, None)
        finally:
            self._journalled = False

    def knows(self, shape: UpdateShape) -> bool:
        """Whether all the changes that `shape` covers are in this document."""
        return shape.known_to(self._clocks)

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

    def _transact(self, updates: list[bytes], author: str, sender: Connection | None) -> None:
        self._author, self._sender = author, sender
        try:
            with self.doc.transaction(origin=author):
                for update in updates:
                    self.doc.apply_update(update)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except ValueError as error:
            raise InvalidInput("The update could not be applied; it was not taken.") from error
        except BaseException as error:
            # A panic of the CRDT library is no Exception, and what it emits may be nonsense. The
            # document may be damaged: whoever holds it gets it anew from the journal, but for the
            # one who sent this and would send it again.
            _log.error("room.broken", room=self.id, error=repr(error))
            if sender is not None:
                sender.fail(InvalidInput("The update could not be applied; it was not taken."))
            self.on_broken(error)
            raise Unavailable("The document is being reloaded; reconnect shortly.") from error

    def _emitted(self, event: TransactionEvent) -> None:
        """The document changed: queue to the journal, then to everybody."""
        update = event.update
        if update == EMPTY_UPDATE:
            return
        expected, self._expected = self._expected, None
        # Before anything is done with it: what cannot be read must not be kept.
        if expected is not None and expected.update == update:
            shape = expected.shape
        else:
            shape = read_update(update)
        advance(self._clocks, shape.ends)
        if shape.wide:
            self._second_halves.update(second_halves(update))
        if not self._journalled:
            self.seq += 1
            self._journal.append(self.id, Update(self.seq, self._author, update), self._committed)
            self._count(update)
        if not self._outgoing:
            self._outgoing_sender = self._sender
            if self._sender is None:
                # Not from a client, whose `settle` sends it.
                asyncio.get_running_loop().call_soon(self.settle)
        elif self._outgoing_sender is not self._sender:
            self._outgoing_sender = None
        self._outgoing.append(update)
        self.on_edit()

    def _count(self, update: bytes) -> None:
        self._log_rows += 1
        self._log_bytes += len(update)

    def _broadcast(self) -> None:
        """Send what changed in this turn, encoded once, to all but its only author."""
        updates, self._outgoing = self._outgoing, []
        sender = self._outgoing_sender
        frame = sync.update(updates[0] if len(updates) == 1 else merge_updates(*updates))
        encoded = encode(frame)
        for connection in self.connections:
            if connection is sender:
                continue
            if direct := connection.channel.direct:
                direct(encoded)
            else:
                connection.broadcast(frame, self._broadcast_state)
        self._broadcast_state = self.doc.get_state()
        if self._first_sync:
            self._first_sync.append(frame)
            self._first_sync_tail += len(frame)
            if self._first_sync_tail > FIRST_SYNC_TAIL:
                self._first_sync = []

    def first_sync(self) -> list[bytes]:
        """Frames that carry the whole document: a step 2 and the updates since it was made.

        Whoever joins gets the same ones, so that a crowd costs one encoding.
        """
        self.settle()
        if not self._first_sync:
            self._first_sync = [sync.step_2(self.doc.get_update())]
            self._first_sync_tail = 0
        return self._first_sync

    def _committed(self, seq: int, error: BaseException | None) -> None:
        if error is not None:
            self.on_broken(error)
            return
        self.durable_seq = max(self.durable_seq, seq)
        if self.unacknowledged and not self._acknowledging:
            # One acknowledgement for all that was committed in one batch.
            self._acknowledging = True
            asyncio.get_running_loop().call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = False
        for connection in list(self.unacknowledged):
            connection.acknowledge(self.durable_seq)

    # ── people ──────────────────────────────────────────────────────────────────────────────────

    def announce(self, sender: Connection, entries: list[sync.AwarenessEntry]) -> None:
        """Take awareness from a client and show it to everybody, the sender included: it tells by
        the echo that the line is alive.

        Readers get at most one frame in `PRESENCE_SECONDS`, with the latest state of each person.
        """
        for entry in self.presence.update(sender, entries):
            self._moved[entry.client] = entry
        if self._moved and self._showing is None:
            self._show()

    def _show(self) -> None:
        self._showing = None
        if self._moved:
            moved, self._moved = self._moved, {}
            self._send_all(sync.awareness(list(moved.values())))
            loop = asyncio.get_running_loop()
            self._showing = loop.call_later(PRESENCE_SECONDS, self._show)

    def _hide(self, removals: list[sync.AwarenessEntry]) -> None:
        """Tell at once who is gone."""
        for entry in removals:
            self._moved.pop(entry.client, None)
        if removals:
            self._send_all(sync.awareness(removals))

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.unacknowledged.discard(connection)
        self._awaiting_disk.discard(connection)
        self._hide(self.presence.remove(connection))
        if not self.connections:
            self.on_empty()

    def keep_alive(self) -> None:
        """Let every client know that the line is alive, though nobody types; forget who has said
        nothing for long, and what was kept for those who might join."""
        self._hide(self.presence.expire())
        self._send_all(sync.EMPTY_AWARENESS)
        self._first_sync = []

    def tell(self, message: sync.Extension) -> None:
        """Send an extension message to every client that understands it."""
        for connection in self.connections:
            connection.tell(message)

    def tell_disk(self, state: sync.DiskState) -> None:
        """Say how the file stands to the document.

        In a room with many people, that it is being written and then written is told only to those
        who type: a thousand readers need not hear of each of somebody else's pauses.
        """
        if state == self.disk_state:
            return
        before, self.disk_state = self.disk_state, state
        if state.state == "writing" and len(self.connections) > FEW:
            return  # see `_say_writing`
        if state.state == "writing":
            self._awaiting_disk.update(self.connections)
            self.tell(state)
            return
        if before.state == "writing" and state.state == "clean":
            for connection in self._awaiting_disk:
                connection.tell(state)
        else:
            self.tell(state)
        self._awaiting_disk.clear()

    def _say_writing(self, sender: Connection) -> None:
        if self.disk_state.state == "writing" and sender not in self._awaiting_disk:
            self._awaiting_disk.add(sender)
            sender.tell(self.disk_state)

    def state_for(self, connection: Connection) -> sync.DiskState:
        """The state of the disk for one that hears it by itself, and hears how it goes on."""
        if self.disk_state.state == "writing":
            self._awaiting_disk.add(connection)
        return self.disk_state

    def moved(self) -> None:
        """The file has another path: tell who can be told, and send away the others."""
        for connection in list(self.connections):
            if connection.extended:
                connection.tell(sync.Moved(self.path))
            else:
                connection.fail(NotFound(f"The file is now {self.path}."))

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
            if self._showing is not None:
                self._showing.cancel()

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
