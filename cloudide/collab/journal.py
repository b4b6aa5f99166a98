"""The journal: every update of every room, durable before anybody is told "saved".

One SQLite file that nothing else opens, through APSW (it bundles a current SQLite), with one writer
thread that is also the only checkpointer: WAL, `synchronous=FULL`. The thread takes whatever is
queued (at most `BATCH` operations), runs it in one transaction, commits, and reports to the event
loop; operations are committed in the order in which they were queued.

A commit begins at once when the thread is at rest, and it rests after each in proportion to what
that cost: where many people type, commits take a fifth of the time and are shared by all who typed
meanwhile. Without the rest a commit would be made for nearly every keystroke, each of which costs
the event loop's thread its processor and its interpreter lock. Operations that somebody waits for
end the rest.

What it keeps for a room (one file of one workspace, in one epoch):

- `updates`: numbered from 1 by the room, each exactly as the room's document emitted it;
- a verified snapshot of the state up to a number, and the generation before it (`folding.py`);
- the updates that were folded, packed by the minute (`history.py`);
- the *agreement*: which state of the room the file on disk was last known to hold, as a number
  (`upto`: all updates up to it) and the numbers of further ones (`extras`: changes that came from
  the disk while the room was ahead of it);
- *former agreements* of the last minute, which the room replaced by what it wrote: a program may
  have read the file then, to write it later;
- *intents*: content hashes that a write to the disk was about to leave there. After a crash a disk
  that matches one is agreement, never a change; it would be merged a second time otherwise.
"""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import functools
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import apsw
import msgspec
import structlog

from cloudide.collab.folding import Fold, fold
from cloudide.collab.records import Agreement, Former, Generation, Intent, RoomRecord, Update
from cloudide.collab.schema import discard, prepare, select
from cloudide.collab.text import document_of
from cloudide.errors import StorageFull, Unavailable
from cloudide.protocol.sync import FileFormat

T = TypeVar("T")
BATCH = 256
REST = 4  # times as long as a commit took, and at most `REST_LIMIT` seconds
REST_LIMIT = 0.005
CHECKPOINT_PAGES = 1000
FORMER_SECONDS = 60.0
MERGED = 0  # as an intent's `upto`: a content that was displaced and merged, see `agree`
COMPACT_ROWS = 1000
COMPACT_BYTES = 1024 * 1024

_log = structlog.get_logger(__name__)


class _Operation(msgspec.Struct):
    run: Callable[[apsw.Connection], Any]
    done: Callable[[Any, BaseException | None], None]
    room: int = 0  # whose log it adds to, if it does


class _Append(msgspec.Struct):
    """One update: by far the most frequent operation, which needs nothing but its row."""

    row: tuple[int, int, str, float, bytes]  # as the columns of `updates`
    committed: Callable[[int, BaseException | None], None]

    @property
    def room(self) -> int:
        return self.row[0]


_INSERT = "INSERT INTO updates VALUES (?, ?, ?, ?, ?)"
_LOST = "The journal cannot be written; the last edits were not saved."
_Batch = list["_Operation | _Append"]
_Outcome = tuple[Any, BaseException | None]
_DONE: _Outcome = (None, None)


class Journal:
    """Open with `start`, end with `close`. Methods may be called from the event loop only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hurry = threading.Event()  # somebody waits for what is queued
        self._queue: queue.SimpleQueue[_Operation | _Append | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Rooms that lost an update. What they add builds on it, and is refused until they are
        # loaded again; only the writer thread uses this.
        self._lacking: set[int] = set()

    async def start(self) -> None:
        """Open or create the file.

        Raises:
            StorageFull, Unavailable: the file cannot be used; the message says why.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="journal")
        self._thread.start()
        try:
            await opened
        except (apsw.Error, Unavailable) as error:
            self._thread.join()
            raise Unavailable(f"The journal {self._path} cannot be opened: {error}") from error

    async def close(self) -> None:
        """Commit all that is queued, then close the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._hurry.set()
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def append(
        self,
        room: int,
        update: Update,
        committed: Callable[[int, BaseException | None], None],
        agreement: Agreement | None = None,
        displaced: Agreement | None = None,
    ) -> None:
        """Queue an update; `committed(seq, error)` is called when it is durable or lost.

        With `agreement`, both become durable together or not at all. The update came from the disk
        then, and former agreements are of no more use, but for what our write `displaced` there a
        moment ago: a program may have read that, to write it yet. Its hash is `merged`, see
        `agree`.
        """
        row = (room, update.seq, update.author, time.time(), update.data)
        if agreement is None:
            self._queue.put(_Append(row, committed))
            return

        def run(db: apsw.Connection) -> None:
            db.execute(_INSERT, row)
            _agree(db, room, agreement, displaced.hash if displaced else "")
            db.execute("DELETE FROM former_agreements WHERE room = ?", (room,))
            if displaced is not None:
                extras = msgspec.json.encode(displaced.extras)
                db.execute(
                    "INSERT INTO former_agreements VALUES (?, ?, ?, ?, ?)",
                    (room, time.time(), displaced.hash, displaced.upto, extras),
                )

        self._queue.put(_Operation(run, lambda _, error: committed(update.seq, error), room))

    async def load(self, workspace: str, path: str) -> RoomRecord | None:
        """What is known of the live room of a file, or None."""
        return await self._call(lambda db: self._load(db, workspace, path))

    async def create(
        self, workspace: str, path: str, epoch: str, format: FileFormat, data: bytes, hash: str
    ) -> RoomRecord:
        """Begin a room whose first update is `data`, agreed with a disk that has `hash`."""

        def run(db: apsw.Connection) -> RoomRecord:
            db.execute(
                "INSERT INTO rooms(workspace, path, epoch, format, created, agreed_hash,"
                " agreed_upto, agreed_extras) VALUES (?, ?, ?, ?, ?, ?, 1, '[]')",
                (workspace, path, epoch, msgspec.json.encode(format), time.time(), hash),
            )
            room = db.last_insert_rowid()
            db.execute("INSERT INTO updates VALUES (?, 1, 'disk', ?, ?)", (room, time.time(), data))
            record = _load(db, workspace, path)
            assert record is not None
            return record

        return await self._call(run)

    async def intend(self, room: int, intent: Intent) -> None:
        """Make durable that `intent.hash` is about to be written, and all updates before it."""
        await self._call(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO intents VALUES (?, ?, ?)", (room, intent.hash, intent.upto)
            ),
            hurry=False,
        )

    async def withdraw(self, room: int, intent: Intent) -> None:
        """Forget an intent whose write certainly did not happen."""
        await self._call(
            lambda db: db.execute(
                "DELETE FROM intents WHERE room = ? AND hash = ?", (room, intent.hash)
            )
        )

    async def agree(self, room: int, agreement: Agreement, merged: str = "") -> None:
        """Make an agreement durable; it settles all intents.

        `merged` is the hash of a displaced content that is part of the room now; it must not be
        merged again when it is still found beside the file after a crash.
        """
        await self._call(lambda db: _agree(db, room, agreement, merged), hurry=False)

    async def fold(self, room: int, folded: Fold, text: str) -> bool:
        """Take a snapshot of all the updates up to a number, and keep the generation before.

        The snapshot is loaded afresh and must give `text`. One that does not is not taken, nor one
        of a log that lacks something the document had; then the answer is False.
        """
        if await asyncio.to_thread(_text_of, folded.state) != text:
            _log.error("journal.snapshot_differs", room=room, seq=folded.seq)
            return False
        return await self.transact(lambda db: fold(db, room, folded))

    async def retire(self, room: int, clients: set[int]) -> None:
        """End an epoch. `clients` wrote in it; whoever names one later belongs to the past."""

        def run(db: apsw.Connection) -> None:
            db.execute("UPDATE rooms SET retired = ? WHERE id = ?", (time.time(), room))
            for table in ("bases", "intents", "former_agreements"):
                db.execute(f"DELETE FROM {table} WHERE room = ?", (room,))  # noqa: S608
            for client in clients:
                db.execute(
                    "INSERT OR IGNORE INTO retired_clients"
                    " SELECT workspace, path, ? FROM rooms WHERE id = ?",
                    (client, room),
                )

        await self._call(run)

    async def rename(self, room: int, path: str) -> None:
        """The file of a room has another path; a room that was left there has ended."""

        def run(db: apsw.Connection) -> None:
            db.execute(
                "UPDATE rooms SET retired = ?1 WHERE retired IS NULL AND path = ?2 AND id != ?3"
                " AND workspace = (SELECT workspace FROM rooms WHERE id = ?3)",
                (time.time(), path, room),
            )
            db.execute("UPDATE rooms SET path = ? WHERE id = ?", (path, room))

        await self._call(run)

    async def path_of(self, workspace: str, epoch: str) -> str | None:
        """Where the file of a live room is now."""

        def run(db: apsw.Connection) -> str | None:
            found = select(
                db,
                "SELECT path FROM rooms WHERE workspace = ? AND epoch = ? AND retired IS NULL",
                *(workspace, epoch),
            )
            return found[0][0] if found else None

        return await self._call(run)

    async def barrier(self) -> None:
        """Return when everything queued so far is durable."""
        await self._call(lambda _: None)

    async def unwritten(self, workspace: str) -> list[str]:
        """Paths of live rooms with updates that the disk does not hold yet."""

        def run(db: apsw.Connection) -> list[str]:
            return [
                row[0]
                for row in db.execute(
                    "SELECT path FROM rooms WHERE workspace = ? AND retired IS NULL AND"
                    " max(snapshot_seq, coalesce((SELECT max(seq) FROM updates"
                    " WHERE room = rooms.id), 0)) > agreed_upto",
                    (workspace,),
                )
            ]

        return await self._call(run)

    async def forget(self, workspace: str) -> None:
        """Delete all there is of a workspace that is gone."""

        def run(db: apsw.Connection) -> None:
            for (room,) in select(db, "SELECT id FROM rooms WHERE workspace = ?", workspace):
                discard(db, room)
            db.execute("DELETE FROM retired_clients WHERE workspace = ?", (workspace,))

        await self._call(run)

    async def transact(self, run: Callable[[apsw.Connection], T]) -> T:
        """What `run` returns, in the writer thread after all that is queued. Keep it short."""
        return await self._call(run)

    async def _call(self, run: Callable[[apsw.Connection], T], *, hurry: bool = True) -> T:
        result: asyncio.Future[T] = self._loop.create_future()

        def done(value: T, error: BaseException | None) -> None:
            if result.done():
                return  # the caller was cancelled; the operation stands all the same
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(value)

        self._queue.put(_Operation(run, done))
        if hurry:
            self._hurry.set()
        return await result

    # ── the writer thread ───────────────────────────────────────────────────────────────────────

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            db = apsw.Connection(str(self._path))
            db.set_busy_timeout(5000)
            db.pragma("journal_mode", "wal")
            db.pragma("synchronous", "FULL")
            db.execute("PRAGMA wal_autocheckpoint=0")
            prepare(db)
            _reserve(db)
        except Exception as error:
            self._loop.call_soon_threadsafe(opened.set_exception, error)
            return
        db.set_wal_hook(self._checkpoint)
        self._loop.call_soon_threadsafe(opened.set_result, None)
        stopping = False
        while not stopping:
            batch: _Batch = []
            self._hurry.clear()
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = item is None
            if batch:
                began = monotonic()
                outcomes = self._commit(db, batch)
                took = monotonic() - began
                self._loop.call_soon_threadsafe(_report, batch, outcomes)
                if not stopping:
                    self._hurry.wait(min(REST * took, REST_LIMIT))
        db.close()

    def _commit(self, db: apsw.Connection, batch: _Batch) -> list[_Outcome]:
        try:
            if not self._lacking and (rows := _rows(batch)):
                # One statement, which is a transaction by itself: between statements the
                # interpreter's lock would go back and forth between this thread and the loop's.
                db.execute(_insert(len(batch)), rows)
                return [_DONE] * len(batch)
            outcomes: list[_Outcome] = []
            db.execute("BEGIN IMMEDIATE")
            for operation in batch:
                if operation.room in self._lacking:
                    outcomes.append((None, Unavailable(_LOST)))
                elif isinstance(operation, _Append):
                    db.execute(_INSERT, operation.row)
                    outcomes.append(_DONE)
                else:
                    outcomes.append((operation.run(db), None))
            db.execute("COMMIT")
        except Exception as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._lacking.update(operation.room for operation in batch if operation.room)
            if isinstance(error, apsw.FullError):
                failure = StorageFull("The server's disk is full; the last edits were not saved.")
            else:
                _log.exception("journal.commit_failed", operations=len(batch))
                failure = Unavailable(_LOST)
                failure.__cause__ = error
            return [(None, failure)] * len(batch)
        return outcomes

    def _load(self, db: apsw.Connection, workspace: str, path: str) -> RoomRecord | None:
        record = _load(db, workspace, path)
        if record is not None:
            self._lacking.discard(record.id)
        return record

    @staticmethod
    def _checkpoint(db: apsw.Connection, name: str, pages: int) -> int:
        if pages >= CHECKPOINT_PAGES:
            db.wal_checkpoint(name, apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK


def _reserve(db: apsw.Connection) -> None:
    """Make the write-ahead log as long as it gets between two checkpoints.

    From then on commits overwrite it. A commit that makes the file longer waits for the file
    system's own journal as well, and takes twice as long.
    """
    with db:
        db.execute("CREATE TABLE reserve(space)")
        pages = CHECKPOINT_PAGES * int(str(db.pragma("page_size")))
        db.execute("INSERT INTO reserve VALUES (zeroblob(?))", (pages,))
        db.execute("DROP TABLE reserve")
    db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_RESTART)


def _rows(batch: _Batch) -> list[Any] | None:
    """The values of all rows one after the other, if there is nothing but rows to add."""
    values: list[Any] = []
    for operation in batch:
        if not isinstance(operation, _Append):
            return None
        values += operation.row
    return values


@functools.cache
def _insert(rows: int) -> str:
    return _INSERT + ", (?, ?, ?, ?, ?)" * (rows - 1)


def _report(batch: _Batch, outcomes: list[_Outcome]) -> None:
    for operation, (value, error) in zip(batch, outcomes, strict=True):
        if isinstance(operation, _Append):
            operation.committed(operation.row[1], error)
        else:
            operation.done(value, error)


def _agree(db: apsw.Connection, room: int, agreement: Agreement, merged: str) -> None:
    if select(
        db,
        "SELECT 1 FROM rooms WHERE id = ?1 AND ?2 < previous_seq"
        " AND NOT EXISTS (SELECT 1 FROM bases WHERE room = ?1 AND upto = ?2)",
        *(room, agreement.upto),
    ):
        raise LookupError(f"room {room}: the state after update {agreement.upto} was not kept")
    now = time.time()
    db.execute(
        "INSERT OR REPLACE INTO former_agreements"
        " SELECT id, ?, agreed_hash, agreed_upto, agreed_extras FROM rooms WHERE id = ?",
        (now, room),
    )
    db.execute(
        "DELETE FROM former_agreements WHERE room = ? AND until < ?", (room, now - FORMER_SECONDS)
    )
    db.execute(
        "UPDATE rooms SET agreed_hash = ?, agreed_upto = ?, agreed_extras = ?, format = ?"
        " WHERE id = ?",
        (
            agreement.hash,
            agreement.upto,
            msgspec.json.encode(agreement.extras),
            msgspec.json.encode(agreement.format),
            room,
        ),
    )
    db.execute("DELETE FROM intents WHERE room = ?", (room,))
    if merged:
        db.execute("INSERT INTO intents VALUES (?, ?, ?)", (room, merged, MERGED))


def _load(db: apsw.Connection, workspace: str, path: str) -> RoomRecord | None:
    row = db.execute(
        "SELECT id, epoch, format, snapshot_seq, previous_seq, agreed_hash, agreed_upto,"
        " agreed_extras FROM rooms WHERE workspace = ? AND path = ? AND retired IS NULL",
        (workspace, path),
    ).fetchone()
    if row is None:
        return None
    room, epoch, encoded, snapshot_seq, previous_seq, hash, upto, extras = row
    format = msgspec.json.decode(encoded, type=FileFormat)
    agreement = Agreement(hash, upto, msgspec.json.decode(extras, type=tuple[int, ...]), format)
    intents = [
        Intent(hash, upto)
        for hash, upto in db.execute("SELECT hash, upto FROM intents WHERE room = ?", (room,))
    ]
    former = [
        Former(until, Agreement(hash, upto, msgspec.json.decode(extras, type=tuple[int, ...])))
        for until, hash, upto, extras in db.execute(
            "SELECT until, hash, upto, extras FROM former_agreements WHERE room = ? ORDER BY until",
            (room,),
        )
    ]
    referred = {agreement.upto, *(intent.upto for intent in intents if intent.upto != MERGED)}
    referred |= {each.agreement.upto for each in former}
    previous = None
    if min(referred) < snapshot_seq:
        updates = _updates(db, room, previous_seq, snapshot_seq)
        previous = Generation(_snapshot(db, room, previous_seq), previous_seq, updates)
    return RoomRecord(
        id=room,
        epoch=epoch,
        format=format,
        snapshot=_snapshot(db, room, snapshot_seq),
        snapshot_seq=snapshot_seq,
        updates=_updates(db, room, snapshot_seq),
        agreement=agreement,
        intents=[intent for intent in intents if intent.upto != MERGED],
        former=former,
        merged=frozenset(intent.hash for intent in intents if intent.upto == MERGED),
        retired_clients=frozenset(
            client
            for (client,) in db.execute(
                "SELECT client FROM retired_clients WHERE workspace = ? AND path = ?",
                (workspace, path),
            )
        ),
        previous=previous,
        bases={
            upto: state
            for upto, state in db.execute("SELECT upto, state FROM bases WHERE room = ?", (room,))
            if upto in referred
        },
    )


def _snapshot(db: apsw.Connection, room: int, seq: int) -> bytes | None:
    found = select(db, "SELECT state FROM snapshots WHERE room = ? AND seq = ?", room, seq)
    return found[0][0] if found else None


def _updates(
    db: apsw.Connection, room: int, after: int, upto: int = sys.maxsize
) -> list[tuple[int, bytes]]:
    return select(
        db,
        "SELECT seq, data FROM updates WHERE room = ? AND seq > ? AND seq <= ? ORDER BY seq",
        *(room, after, upto),
    )


def _text_of(state: bytes) -> str:
    _, content = document_of(state)
    return str(content)
