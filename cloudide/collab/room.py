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
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec
import structlog
from pycrdt import Doc, Subscription, Text, TextEvent, TransactionEvent

from cloudide.collab.admission import Admission
from cloudide.collab.anchors import resolve
from cloudide.collab.broadcast import Broadcast
from cloudide.collab.connection import Connection
from cloudide.collab.journal import COMPACT_BYTES, COMPACT_ROWS, Journal
from cloudide.collab.presence import Presence
from cloudide.collab.records import Agreement, RoomRecord, Update
from cloudide.collab.text import Hunk, apply, diff, document_of, merged
from cloudide.errors import Conflict, EpochChanged, InvalidInput, NotFound, Unavailable
from cloudide.protocol import sync
from cloudide.protocol.updates import (
    EMPTY_UPDATE,
    Fit,
    UpdateShape,
    advance,
    read_update,
)

_log = structlog.get_logger(__name__)

DISK = "disk"  # the author of changes that came from the file
FEW = 16  # people who are all told how each write to the disk goes
PRESENCE_SECONDS = 0.05  # cursors move at most this often for those who watch


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


class Follower(Protocol):
    """What in this process hears of a room's text, change by change, and keeps the room loaded."""

    def changed(self, delta: list[dict[str, Any]]) -> None:
        """One transaction, as a Yjs event tells it (`retain`, `delete`: bytes of UTF-8)."""
        ...

    def moved(self) -> None:
        """The file has another path."""
        ...

    def lost(self) -> None:
        """The room has gone from memory: its text is to be had from the one that is loaded next."""
        ...


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
        self._admission = Admission(self.doc, self.text)
        self.connections = Broadcast(self._admission.clocks)
        self._expected: sync.SyncUpdate | None = None  # what the document is about to emit, if all
        self._arrived: dict[Connection, list[sync.SyncUpdate]] = {}
        self._author = ""
        self._sender: Connection | None = None
        self._journalled = False  # what the document is about to emit is in the journal
        self.unacknowledged: set[Connection] = set()  # who waits to hear that an edit is durable
        self._acknowledging = False
        self._awaiting_disk: set[Connection] = set()  # who was told that the file is being written
        self._moved: dict[int, sync.AwarenessEntry] = {}  # what readers are still to be shown
        self._showing: asyncio.TimerHandle | None = None
        self._subscription = self.doc.observe(self._emitted)
        self._followers: set[Follower] = set()
        self._following: Subscription | None = None

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
        if self.connections.pending:
            self.connections.flush()

    def _take(self, sender: Connection, messages: list[sync.SyncUpdate]) -> None:
        """Apply what one client sent in this turn, in order."""
        fitting: list[sync.SyncUpdate] = []
        # As they will be when `fitting` is applied.
        clocks = self._admission.clocks
        if len(messages) > 1:
            clocks = dict(clocks)
        for message in messages:
            fit = message.shape.fit(clocks)
            if fit is Fit.PARTLY_KNOWN:
                self._apply(sender, fitting)
                fitting = []
                if self._admission.contradicts(message):
                    sender.collided()
                    return
            if fit is not Fit.GAP and (refusal := self._admission.refusal(message)):
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

    def change(self, hunks: list[Hunk], content: str, author: str) -> None:
        """Edit the text on behalf of `author`, as one update; `hunks` were made for `content`."""
        self._author, self._sender = author, None
        with self.doc.transaction(origin=author):
            apply(hunks, self.text, content)

    def splice(self, splices: Sequence[tuple[int, int, str]], author: str) -> None:
        """Replace bytes `start:end` of the text, on behalf of `author`, as one update.

        They are in order and do not overlap; each begins and ends between characters.
        """
        self._author, self._sender = author, None
        with self.doc.transaction(origin=author):
            for start, end, text in reversed(splices):
                if end > start:
                    del self.text[start:end]
                if text:
                    self.text.insert(start, text)

    def revert(self, before: str, after: str, author: str) -> None:
        """Take back, on behalf of `author`, an edit that made `after` of `before`.

        What was done since stays; where that is nothing, the text is `before`.
        """
        current = str(self.text)
        wanted = before if current == after else merged(after, current, before)
        if hunks := diff(current, wanted):
            self.change(hunks, current, author)

    async def merge(
        self, update: bytes, agreement: Agreement, displaced: Agreement | None = None
    ) -> None:
        """Take a change that came from the disk, together with what is then agreed.

        It gets the number `seq + 1`. Both become durable at once, or not at all, and only then does
        anybody see the change: a client that had it from a server that lost it would give it back,
        and the file would be merged a second time. `displaced`: see `Journal.append`.

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

        row = Update(self.seq, DISK, update)
        self._journal.append(self.id, row, committed, agreement, displaced)
        self._count(update)
        await durable
        self._journalled = True
        try:
            self._transact([update], DISK, None)
        finally:
            self._journalled = False

    def knows(self, shape: UpdateShape) -> bool:
        """Whether all the changes that `shape` covers are in this document."""
        return shape.known_to(self._admission.clocks)

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
        self._admission.emitted(update, shape)
        if not self._journalled:
            self.seq += 1
            self._journal.append(self.id, Update(self.seq, self._author, update), self._committed)
            self._count(update)
        if self._sender is None and not self.connections.pending:
            # Not from a client, whose `settle` sends it.
            asyncio.get_running_loop().call_soon(self.settle)
        self.connections.queue(update, shape.ends, self._sender)
        self.on_edit()

    def _count(self, update: bytes) -> None:
        self._log_rows += 1
        self._log_bytes += len(update)

    def first_sync(self) -> list[bytes]:
        """Frames that carry the whole document, for whoever has nothing of it."""
        self.settle()
        return self.connections.first_sync(self.doc.get_update)

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

    # ── those who follow the text ───────────────────────────────────────────────────────────────

    @property
    def wanted(self) -> bool:
        """Whether somebody is here, or something follows."""
        return bool(self.connections or self._followers)

    def follow(self, follower: Follower) -> None:
        """From now on `follower` hears of what changes; the text as it is now is `self.text`."""
        self.settle()
        self._followers.add(follower)
        if self._following is None:
            self._following = self.text.observe(self._text_changed)

    def unfollow(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers and self._following is not None:
            self.text.unobserve(self._following)
            self._following = None
        if not self.wanted and self.state is not RoomState.CLOSED:
            self.on_empty()

    def _text_changed(self, event: TextEvent) -> None:
        delta = event.delta
        for follower in list(self._followers):
            try:
                follower.changed(delta)
            except Exception:
                # Whatever follows must not cost people their edit.
                _log.exception("room.follower_failed", room=self.id)

    def connection_of(self, client: int, person: str) -> Connection | None:
        """The connection of a person that has a Yjs client id, as its awareness told."""
        connection = self.presence.holder(client)
        return connection if connection and connection.grant.person.id == person else None

    def resolve(self, anchor: bytes) -> int | None:
        """The byte of the text that a Yjs relative position stands at; see `collab/anchors.py`."""
        return resolve(self.doc, self.text, anchor, self._admission.clocks)

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
            self.connections.send(sync.awareness(list(moved.values())))
            loop = asyncio.get_running_loop()
            self._showing = loop.call_later(PRESENCE_SECONDS, self._show)

    def _hide(self, removals: list[sync.AwarenessEntry]) -> None:
        """Tell at once who is gone."""
        for entry in removals:
            self._moved.pop(entry.client, None)
        if removals:
            self.connections.send(sync.awareness(removals))

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
        self.connections.send(sync.EMPTY_AWARENESS)
        self.connections.forget_first_sync()

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
        for follower in list(self._followers):
            follower.moved()
        for connection in self.connections:
            if connection.extended:
                connection.tell(sync.Moved(self.path))
            else:
                connection.fail(NotFound(f"The file is now {self.path}."))

    def close(self, code: int, reason: str) -> None:
        """Close every connection; the room itself stays as it is."""
        for connection in self.connections:
            connection.channel.close(code, reason)

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
            followers, self._followers = self._followers, set()
            for follower in followers:
                follower.lost()
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
        return set(self._admission.clocks)


def _load(record: RoomRecord) -> tuple[Doc[Text], Text]:
    updates = [data for _, data in record.updates]
    return document_of(*([record.snapshot] if record.snapshot else []), *updates)
