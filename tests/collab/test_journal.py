"""The journal: order, durability, failure, and what a reload finds."""

from __future__ import annotations

import asyncio
import os
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Text

from cloudide.collab.folding import Fold
from cloudide.collab.journal import BATCH, Journal
from cloudide.collab.records import Agreement, Intent, RoomRecord, Update
from cloudide.collab.schema import select
from cloudide.collab.text import document_of
from cloudide.errors import CloudIDEError, StorageFull, Unavailable
from cloudide.protocol.sync import FileFormat

CRLF = FileFormat(bom=True, eol="\r\n")

LOGS = 1000 if os.environ.get("CLOUDIDE_SOAK") == "1" else 100


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()
    yield journal
    await journal.close()


async def create(journal: Journal, path: str = "a.txt", text: str = "one\n") -> RoomRecord:
    document, body = document_of()
    body += text
    update = document.get_update()
    return await journal.create("w", path, "epoch", FileFormat(), update, "hash")


async def load(journal: Journal, path: str = "a.txt") -> RoomRecord:
    record = await journal.load("w", path)
    assert record is not None
    return record


def text_of(record: RoomRecord) -> str:
    updates = [data for _, data in record.updates]
    _, body = document_of(*([record.snapshot] if record.snapshot else []), *updates)
    return str(body)


class Outcomes:
    """What `append` reported, in order."""

    def __init__(self, wanted: int) -> None:
        self.reported: list[tuple[int, BaseException | None]] = []
        self.complete = asyncio.Event()
        self._wanted = wanted

    def __call__(self, seq: int, error: BaseException | None) -> None:
        self.reported.append((seq, error))
        if len(self.reported) == self._wanted:
            self.complete.set()


async def test_a_room_begins_with_its_text_and_an_agreement(journal: Journal) -> None:
    record = await create(journal)
    assert record.agreement == Agreement("hash", 1)
    assert text_of(record) == "one\n"
    assert await load(journal) == record
    assert await journal.load("w", "b.txt") is None
    assert await journal.load("v", "a.txt") is None


async def test_updates_are_reported_in_the_order_they_were_queued(journal: Journal) -> None:
    record = await create(journal)
    count = 3 * BATCH
    outcomes = Outcomes(count)
    for seq in range(2, count + 2):
        journal.append(record.id, Update(seq, "ada", b"%d" % seq), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert outcomes.reported == [(seq, None) for seq in range(2, count + 2)]
    updates = (await load(journal)).updates
    assert [seq for seq, _ in updates] == list(range(1, count + 2))


async def test_what_was_reported_is_there_after_a_close_and_what_was_queued_too(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()
    record = await create(journal)
    outcomes = Outcomes(1000)
    for seq in range(2, 100):
        journal.append(record.id, Update(seq, "ada", b"x"), outcomes)
    await journal.close()
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()
    assert len((await load(journal)).updates) == 99
    await journal.close()


async def test_an_agreement_comes_with_its_update_or_not_at_all(journal: Journal) -> None:
    record = await create(journal)
    outcomes = Outcomes(2)
    agreement = Agreement("new", 1, (2,), CRLF)
    await journal.intend(record.id, Intent("other", 1))
    journal.append(record.id, Update(2, "disk", b"x"), outcomes, agreement)
    await journal.barrier()
    now = await load(journal)
    assert now.agreement == agreement
    assert now.format == CRLF
    assert now.intents == []
    assert now.former == []
    # The number is taken: neither the update nor its agreement.
    journal.append(record.id, Update(2, "disk", b"y"), outcomes, Agreement("lost", 2))
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert isinstance(outcomes.reported[1][1], Unavailable)
    assert (await load(journal)).agreement == agreement


async def test_intents_are_kept_until_they_are_settled_or_withdrawn(journal: Journal) -> None:
    record = await create(journal)
    await journal.intend(record.id, Intent("a", 1))
    await journal.intend(record.id, Intent("b", 1))
    await journal.withdraw(record.id, Intent("a", 1))
    assert (await load(journal)).intents == [Intent("b", 1)]
    await journal.agree(record.id, Agreement("b", 1))
    now = await load(journal)
    assert now.intents == []
    assert [each.agreement.hash for each in now.former] == ["hash"]


async def test_a_failed_commit_is_reported_and_the_next_one_works(
    journal: Journal, tmp_path: Path
) -> None:
    record = await create(journal)
    outside = apsw.Connection(str(tmp_path / "journal.sqlite"))
    outside.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON updates WHEN NEW.author = 'mallory'"
        " BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    outside.close()
    outcomes = Outcomes(2)
    journal.append(record.id, Update(2, "mallory", b"x"), outcomes)
    journal.append(record.id, Update(3, "mallory", b"y"), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert all(isinstance(error, Unavailable) for _, error in outcomes.reported)
    # What builds on a lost update is lost as well, until the room is loaded without it.
    outcomes = Outcomes(1)
    journal.append(record.id, Update(4, "ada", b"z"), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert isinstance(outcomes.reported[0][1], Unavailable)
    assert [seq for seq, _ in (await load(journal)).updates] == [1]
    outcomes = Outcomes(1)
    journal.append(record.id, Update(2, "ada", b"x"), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert outcomes.reported == [(2, None)]


async def test_a_full_disk_has_its_own_error(journal: Journal) -> None:
    record = await create(journal)

    def fill(db: apsw.Connection) -> None:
        pages = db.pragma("page_count")
        assert isinstance(pages, int)
        db.pragma("max_page_count", pages)

    await journal._call(fill)
    outcomes = Outcomes(1)
    journal.append(record.id, Update(2, "ada", b"x" * 8_000_000), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert isinstance(outcomes.reported[0][1], StorageFull)
    with pytest.raises(StorageFull):
        await journal.create("w", "b", "e", FileFormat(), b"x" * 8_000_000, "hash")

    await journal._call(lambda db: db.pragma("max_page_count", 1 << 30))
    assert [seq for seq, _ in (await load(journal)).updates] == [1]
    outcomes = Outcomes(1)
    journal.append(record.id, Update(2, "ada", b"x" * 8_000_000), outcomes)
    await asyncio.wait_for(outcomes.complete.wait(), 30)
    assert outcomes.reported == [(2, None)]


async def test_a_journal_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database, but long enough " * 99)
    with pytest.raises(CloudIDEError, match=r"journal\.sqlite"):
        await Journal(tmp_path / "journal.sqlite").start()


async def test_retired_rooms_are_remembered_by_who_wrote_in_them(journal: Journal) -> None:
    record = await create(journal)
    await journal.retire(record.id, {5, 6})
    assert await journal.load("w", "a.txt") is None
    again = await create(journal)
    assert again.id != record.id
    assert again.retired_clients == {5, 6}
    assert (await create(journal, "b.txt")).retired_clients == frozenset()


async def test_a_renamed_room_takes_the_place_of_one_that_was_left(journal: Journal) -> None:
    record = await create(journal)
    await create(journal, "b.txt", "other")
    await journal.rename(record.id, "b.txt")
    assert await journal.load("w", "a.txt") is None
    assert (await load(journal, "b.txt")).id == record.id


async def test_only_rooms_with_something_unwritten_are_unwritten(journal: Journal) -> None:
    record = await create(journal)
    await create(journal, "b.txt")
    assert await journal.unwritten("w") == []
    journal.append(record.id, Update(2, "ada", b"x"), lambda seq, error: None)
    assert await journal.unwritten("w") == ["a.txt"]
    await journal.agree(record.id, Agreement("h", 2))
    assert await journal.unwritten("w") == []


async def test_a_snapshot_that_is_not_the_text_is_not_taken(journal: Journal) -> None:
    record = await create(journal)
    fold = Fold(1, record.updates[0][1], 1, {})
    assert not await journal.fold(record.id, fold, "something else")
    assert (await load(journal)) == record


@settings(max_examples=LOGS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 6), st.text(max_size=6)),
        min_size=1,
        max_size=40,
    ),
    folds=st.sets(st.integers(1, 40), max_size=4),
)
def test_folding_equals_replay(edits: list[tuple[int, int, str]], folds: set[int]) -> None:
    """Whatever was folded when, a reload gives the same text and the same state."""

    async def run(directory: Path) -> None:
        journal = Journal(directory / "journal.sqlite")
        await journal.start()
        try:
            record = await create(journal)
            document, body = document_of(record.updates[0][1])
            emitted: list[bytes] = []
            folded = 0
            subscription = document.observe(lambda event: emitted.append(event.update))
            for seq, (place, length, insertion) in enumerate(edits, start=2):
                content = str(body)
                start = min(place, len(content))
                end = min(start + length, len(content))
                offset = len(content[:start].encode())
                with document.transaction():
                    if end > start:
                        del body[offset : offset + len(content[start:end].encode())]
                    body.insert(offset, insertion + ".")
                (update,) = emitted
                emitted.clear()
                journal.append(record.id, Update(seq, "ada", update), lambda seq, error: None)
                if seq in folds:
                    fold = Fold(seq, document.get_update(), seq - folded, {1: record.updates[0][1]})
                    assert await journal.fold(record.id, fold, str(body))
                    folded = seq
            document.unobserve(subscription)
            loaded = await load(journal)
            assert text_of(loaded) == str(body)
            last = max((seq for seq in folds if 2 <= seq < len(edits) + 2), default=0)
            assert loaded.snapshot_seq == last
            assert [seq for seq, _ in loaded.updates] == list(range(last + 1, len(edits) + 2))
        finally:
            await journal.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))


# ── folding ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_state_before_the_snapshot_is_built_from_the_generation_before(
    journal: Journal,
) -> None:
    """Agreements, intents and former agreements refer to it."""
    record = await create(journal, text="1")
    document, body = document_of(record.updates[0][1])
    states = {1: document.get_update()}
    emitted: list[bytes] = []
    subscription = document.observe(lambda event: emitted.append(event.update))
    for seq in range(2, 10):
        body += str(seq)
        journal.append(record.id, Update(seq, "ada", emitted[-1]), lambda seq, error: None)
        states[seq] = document.get_update()
        if seq == 3:
            await journal.intend(record.id, Intent("three", 3))
        if seq in (4, 8):
            rows = seq if seq == 4 else 4
            fold = Fold(seq, states[seq], rows, {1: states[1], 3: states[3]} if seq == 8 else {})
            assert await journal.fold(record.id, fold, str(body))
    document.unobserve(subscription)
    loaded = await load(journal)
    assert loaded.snapshot_seq == 8
    assert set(loaded.bases) == {1, 3}
    for upto in (1, 3, *range(4, 10)):
        assert str(loaded.state_at(upto).get("content", type=Text)) == "123456789"[:upto]
    with pytest.raises(LookupError):
        loaded.state_at(2)
    # What is agreed from now on can be built again, or it is not agreed.
    await journal.agree(record.id, Agreement("three", 3))
    with pytest.raises(Unavailable):
        await journal.agree(record.id, Agreement("two", 2))
    assert (await load(journal)).agreement == Agreement("three", 3)


async def test_a_snapshot_of_what_the_log_does_not_have_is_not_taken(journal: Journal) -> None:
    """An update whose commit failed is in the document for a moment; a change from the disk
    without its agreement would be merged again."""
    record = await create(journal)
    document, body = document_of(record.updates[0][1])
    body += "lost"
    fold = Fold(2, document.get_update(), 2, {})
    assert not await journal.fold(record.id, fold, str(body))
    assert await load(journal) == record
    # Nor one without the states that are still referred to.
    for seq in (2, 3):
        journal.append(record.id, Update(seq, "ada", b"\0\0"), lambda seq, error: None)
    state = record.updates[0][1]
    assert await journal.fold(record.id, Fold(2, state, 2, {}), "one\n")
    assert not await journal.fold(record.id, Fold(3, state, 1, {}), "one\n")
    assert (await load(journal)).snapshot_seq == 2


FIRST = """
CREATE TABLE rooms(
    id INTEGER PRIMARY KEY, workspace TEXT NOT NULL, path TEXT NOT NULL, epoch TEXT NOT NULL,
    format BLOB NOT NULL, created REAL NOT NULL, retired REAL,
    snapshot BLOB, snapshot_seq INTEGER NOT NULL DEFAULT 0,
    previous_snapshot BLOB, previous_seq INTEGER NOT NULL DEFAULT 0,
    agreed_hash TEXT NOT NULL, agreed_upto INTEGER NOT NULL, agreed_extras BLOB NOT NULL);
CREATE UNIQUE INDEX live_rooms ON rooms(workspace, path) WHERE retired IS NULL;
CREATE TABLE updates(
    room INTEGER NOT NULL, seq INTEGER NOT NULL, author TEXT NOT NULL, time REAL NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY(room, seq)) WITHOUT ROWID;
CREATE TABLE former_agreements(
    room INTEGER NOT NULL, until REAL NOT NULL, hash TEXT NOT NULL, upto INTEGER NOT NULL,
    extras BLOB NOT NULL, PRIMARY KEY(room, until)) WITHOUT ROWID;
CREATE TABLE intents(
    room INTEGER NOT NULL, hash TEXT NOT NULL, upto INTEGER NOT NULL,
    PRIMARY KEY(room, hash)) WITHOUT ROWID;
CREATE TABLE retired_clients(
    workspace TEXT NOT NULL, path TEXT NOT NULL, client INTEGER NOT NULL,
    PRIMARY KEY(workspace, path, client)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


async def test_a_file_of_the_first_version_is_brought_to_this_one(tmp_path: Path) -> None:
    document, body = document_of()
    states: list[bytes] = []
    emitted: list[bytes] = []
    subscription = document.observe(lambda event: emitted.append(event.update))
    for letter in "abc":
        body += letter
        states.append(document.get_update())
    document.unobserve(subscription)
    db = apsw.Connection(str(tmp_path / "journal.sqlite"))
    db.execute(FIRST)
    db.execute(
        "INSERT INTO rooms VALUES (7, 'w', 'a.txt', 'e', '{}', 60, NULL, ?, 2, ?, 1, 'h', 3, '[]')",
        (states[1], states[0]),
    )
    for seq in (2, 3):
        row = (7, seq, "ada", 120.0, emitted[seq - 1])
        db.execute("INSERT INTO updates VALUES (?, ?, ?, ?, ?)", row)
    db.execute("INSERT INTO retired_clients VALUES ('w', 'a.txt', 5)")
    db.close()
    for _ in range(2):  # the second time there is nothing to do
        journal = Journal(tmp_path / "journal.sqlite")
        await journal.start()
        record = await load(journal)
        assert (record.id, record.snapshot_seq, record.retired_clients) == (7, 2, {5})
        assert text_of(record) == "abc"
        await journal.close()
    db = apsw.Connection(str(tmp_path / "journal.sqlite"))
    assert db.pragma("user_version") == 2
    ((seq, state),) = select(db, "SELECT seq, state FROM keyframes")
    assert (seq, zlib.decompress(state)) == (1, states[0])
    db.pragma("user_version", 3)
    db.close()
    with pytest.raises(CloudIDEError, match="newer"):
        await Journal(tmp_path / "journal.sqlite").start()
