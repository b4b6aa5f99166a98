"""The history: versions by the minute, what changed in each, who wrote what, and its bounds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pycrdt import Doc, Text

from cloudide.collab import journal as journal_module
from cloudide.collab import keyframes, upkeep
from cloudide.collab.folding import Fold
from cloudide.collab.history import History, Name, Run
from cloudide.collab.journal import Journal
from cloudide.collab.records import Update
from cloudide.collab.replay import Replay
from cloudide.collab.schema import TABLES, select
from cloudide.collab.text import document_of
from cloudide.errors import InvalidInput, NotFound
from cloudide.protocol.sync import FileFormat

START = 30_000_000.0 * 60  # some minute, exactly
DAYS = 30


class Clock:
    """What the journal and the history take for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        clock = SimpleNamespace(time=lambda: self.now)
        for module in (journal_module, keyframes, upkeep):
            monkeypatch.setattr(module, "time", clock)

    @property
    def minute(self) -> int:
        return int(self.now // 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def journal(tmp_path: Path, clock: Clock) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()
    yield journal
    await journal.close()


@pytest.fixture
def history(journal: Journal) -> History:
    return History(journal, DAYS)


class Writing:
    """A room's document, and what its history should be."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.doc: Doc[Text]
        self.doc, self.text = document_of()
        self.letters: list[tuple[str, str, int]] = []  # character, author, minute
        self.versions: dict[int, str] = {}
        self.seq = self.folded = 0
        self._emitted: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self._emitted.append(event.update))

    async def begin(self, text: str, path: str = "a.txt", workspace: str = "w") -> Writing:
        self.text += text
        update = self.doc.get_update()
        record = await self.journal.create(workspace, path, "e", FileFormat(), update, "hash")
        self.room, self.seq = record.id, 1
        self._note("disk", 0, 0, text)
        self._emitted.clear()
        return self

    def edit(self, author: str, start: int, end: int, text: str) -> None:
        """Replace characters `start:end`."""
        content = str(self.text)
        offset = len(content[:start].encode())
        with self.doc.transaction():
            if end > start:
                del self.text[offset : offset + len(content[start:end].encode())]
            if text:
                self.text.insert(offset, text)
        for update in self._emitted:
            self.seq += 1
            self.journal.append(self.room, Update(self.seq, author, update), _ignore)
        self._emitted.clear()
        self._note(author, start, end, text)

    async def fold(self) -> None:
        bases = {1: b"\0\0"}  # nobody asks for it here
        fold = Fold(self.seq, self.doc.get_update(), self.seq - self.folded, bases)
        assert await self.journal.fold(self.room, fold, str(self.text))
        self.folded = self.seq

    def _note(self, author: str, start: int, end: int, text: str) -> None:
        minute = self.clock.minute
        self.letters[start:end] = [(letter, author, minute) for letter in text]
        self.versions[minute] = "".join(letter for letter, _, _ in self.letters)


def _ignore(seq: int, error: BaseException | None) -> None:
    assert error is None, error


async def check(history: History, writing: Writing) -> None:
    """Every version is what it was, made of the one before by its changes; blame is right."""
    listed, more = await history.versions("w", "a.txt")
    assert not more
    assert [each.name for each in listed] == [
        Name(writing.room, minute) for minute in sorted(writing.versions, reverse=True)
    ]
    before = ""
    for summary in reversed(listed):
        version = await history.version("w", "a.txt", summary.name)
        assert version.text == writing.versions[summary.name.minute]
        assert version.authors == summary.authors
        assert {edit.author for edit in version.edits} <= set(version.authors)
        content = before
        inserted = deleted = 0
        for edit in version.edits:
            assert edit.time // 60 == summary.name.minute
            end = edit.start + len(edit.deleted)
            assert content[edit.start : end] == edit.deleted
            content = content[: edit.start] + edit.inserted + content[end:]
            inserted += len(edit.inserted)
            deleted += len(edit.deleted)
        assert version.complete
        assert content == version.text
        assert (summary.inserted, summary.deleted) == (inserted, deleted)
        before = version.text
    assert await letters(history, writing.room) == writing.letters


async def letters(history: History, room: int) -> list[tuple[str, str, int]]:
    played = await history._keyframes.latest(room)
    assert played is not None
    content, position = played.text.encode(), 0
    found: list[tuple[str, str, int]] = []
    for span in played.spans:
        part = content[position : position + span.length].decode()
        found += [(letter, span.author, int(span.time // 60)) for letter in part]
        position += span.length
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_versions_and_blame_of_random_edits(
    journal: Journal,
    history: History,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """By several people, in text that is not ASCII, folded at any time, with few and many
    keyframes."""
    chance = random.Random(seed)  # noqa: S311
    monkeypatch.setattr(keyframes, "FRAME_COST", chance.choice([1, 5, 40, 10_000]))
    writing = await Writing(journal, clock).begin("first\nlinje på svenska\n日本語\n")
    for _ in range(120):
        clock.now += chance.choice([0, 1, 1, 20, 61])
        size = len(writing.letters)
        start = chance.randrange(size + 1)
        end = min(size, start + chance.choice([0, 0, 0, 1, 5]))
        text = "".join(chance.choices("ab\né日😀", k=chance.choice([0, 1, 1, 3])))
        if end > start or text:
            writing.edit(chance.choice(["ada", "ada", "bob", "disk"]), start, end, text)
        if chance.random() < 0.1 and writing.seq > writing.folded:
            await writing.fold()
        if chance.random() < 0.02:
            await history.upkeep.tend(0.0)
    await check(history, writing)
    clock.now += 120
    await check(history, writing)  # from keyframes and counts that the first time left


async def test_keyframes_bound_what_a_version_costs(
    journal: Journal, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframes, "FRAME_COST", 10)
    writing = await Writing(journal, clock).begin("")
    for number in range(100):
        clock.now += 30
        writing.edit("ada", number, number, "x")
    for _ in range(2):
        writing.edit("ada", 0, 0, "y")
        await writing.fold()
    clock.now += 60
    await history.upkeep.tend(0.0)
    fed: list[int] = []
    real = Replay.feed

    def feed(self: Replay, rows, pause=0.0):
        rows = list(rows)
        fed.append(len(rows))
        return real(self, rows, pause)

    monkeypatch.setattr(Replay, "feed", feed)
    for minute in sorted(writing.versions)[-20:]:
        await history.version("w", "a.txt", Name(writing.room, minute))
        assert sum(fed) <= 10 + 4
        fed.clear()


async def test_a_clock_that_goes_back_breaks_nothing(
    journal: Journal, history: History, clock: Clock
) -> None:
    writing = await Writing(journal, clock).begin("a")
    clock.now += 600
    writing.edit("ada", 1, 1, "b")
    await writing.fold()
    clock.now -= 300
    writing.edit("ada", 2, 2, "c")
    await writing.fold()
    await writing.journal.barrier()
    minutes = [minute for minute in writing.versions if minute != clock.minute]
    clock.now += 600
    listed, _ = await history.versions("w", "a.txt")
    assert [each.name.minute for each in listed] == sorted(minutes, reverse=True)
    latest = await history.version("w", "a.txt", listed[0].name)
    assert latest.text == "abc"


async def test_pages(journal: Journal, history: History, clock: Clock) -> None:
    writing = await Writing(journal, clock).begin("")
    for number in range(9):
        clock.now += 60
        writing.edit("ada", 0, 0, str(number))
    everything, more = await history.versions("w", "a.txt")
    assert (len(everything), more) == (10, False)
    first, more = await history.versions("w", "a.txt", limit=4)
    assert (first, more) == (everything[:4], True)
    second, more = await history.versions("w", "a.txt", first[-1].name, limit=6)
    assert (second, more) == (everything[4:], False)
    assert await history.versions("w", "other.txt") == ([], False)


async def test_versions_of_other_files_and_workspaces_are_not_there(
    journal: Journal, history: History, clock: Clock
) -> None:
    writing = await Writing(journal, clock).begin("secret")
    name = Name(writing.room, clock.minute)
    assert (await history.version("w", "a.txt", name)).text == "secret"
    for workspace, path in (("w", "b.txt"), ("v", "a.txt"), ("v", "b.txt"), ("w", "")):
        with pytest.raises(NotFound):
            await history.version(workspace, path, name)
        assert await history.versions(workspace, path) == ([], False)
        with pytest.raises(NotFound):
            await history.blame(workspace, path)
    for unknown in (Name(99, clock.minute), Name(writing.room, clock.minute - 1)):
        with pytest.raises(NotFound):
            await history.version("w", "a.txt", unknown)


@pytest.mark.parametrize(
    "name", ["", "1", "1-", "-1", "1-2-", "a-b", "1-2-3-4", " 1-2", "\u0661-1"]
)
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(InvalidInput):
        Name.parse(name)


async def test_a_version_within_a_minute(journal: Journal, history: History, clock: Clock) -> None:
    """What a restore replaced need not be the end of a minute."""
    writing = await Writing(journal, clock).begin("a")
    for letter in "bcd":
        writing.edit("ada", len(writing.letters), len(writing.letters), letter)
    for folds in range(3):
        for seq, text in enumerate(["a", "ab", "abc", "abcd"], start=1):
            name = await history.name(writing.room, seq)
            assert name == Name(writing.room, int(START // 60), seq)
            assert Name.parse(str(name)) == name
            assert (await history.version("w", "a.txt", name)).text == text
        if folds < 2:
            clock.now += 60
            writing.edit("ada", 0, 0, "x")
            await writing.fold()
    with pytest.raises(NotFound):
        await history.version("w", "a.txt", Name(writing.room, int(START // 60), 5))


async def test_a_version_tells_a_bounded_number_of_edits(
    journal: Journal, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframes, "EDITS", 3)
    writing = await Writing(journal, clock).begin("")
    for number in range(8):
        writing.edit(f"author {number}", 0, 0, "x")
    version = await history.version("w", "a.txt", Name(writing.room, clock.minute))
    assert version.text == "x" * 8
    assert (len(version.edits), version.complete) == (3, False)


async def test_blame_by_line(journal: Journal, history: History, clock: Clock) -> None:
    writing = await Writing(journal, clock).begin("one\ntwo\nthree\n")
    assert await history.blame("w", "a.txt") == [Run(1, 4, "disk", START)]
    clock.now += 60
    writing.edit("ada", 5, 5, "é")
    clock.now += 60
    writing.edit("bob", 14, 15, "😀\n\n")
    assert str(writing.text) == "one\ntéwo\nthree😀\n\n"
    assert await history.blame("w", "a.txt") == [
        Run(1, 1, "disk", START),
        Run(2, 2, "ada", START + 60),
        Run(3, 5, "bob", START + 120),
    ]
    writing.edit("ada", 0, len(writing.letters), "")
    assert await history.blame("w", "a.txt") == []


async def test_an_embedded_object_shifts_nothing(
    journal: Journal, history: History, clock: Clock
) -> None:
    """A client of another kind may put one into the text; it counts where no character is."""
    writing = await Writing(journal, clock).begin("éab")
    writing.text.insert_embed(2, {"picture": 1})
    writing.seq += 1
    update = writing._emitted.pop()
    journal.append(writing.room, Update(writing.seq, "bob", update), _ignore)
    clock.now += 60
    writing.text.insert(4, "x")
    writing.seq += 1
    update = writing._emitted.pop()
    journal.append(writing.room, Update(writing.seq, "ada", update), _ignore)
    version = await history.version("w", "a.txt", Name(writing.room, clock.minute))
    assert version.text == str(writing.text)
    authors = [(letter, author) for letter, author, _ in await letters(history, writing.room)]
    assert authors == [("é", "disk"), ("a", "disk"), ("x", "ada"), ("b", "disk")]


async def test_what_is_too_old_goes_and_its_authors_stay(
    journal: Journal, history: History, clock: Clock
) -> None:
    writing = await Writing(journal, clock).begin("begun\n")
    for number in range(40):
        clock.now += 86400
        writing.edit("ada" if number % 2 else "bob", 0, 0, f"{number}é\n")
        await writing.fold()
    await history.upkeep.tend(0.0)
    kept = {minute for minute in writing.versions if minute >= clock.minute - DAYS * 24 * 60}
    assert 29 <= len(kept) <= 31
    writing.versions = {minute: writing.versions[minute] for minute in kept}
    listed, _ = await history.versions("w", "a.txt")
    assert {each.name.minute for each in listed} == kept
    for each in listed:
        version = await history.version("w", "a.txt", each.name)
        assert version.text == writing.versions[each.name.minute]
    assert await letters(history, writing.room) == writing.letters
    ((oldest,),) = await journal.transact(lambda db: select(db, "SELECT min(minute) FROM history"))
    assert oldest >= min(kept)
    with pytest.raises(NotFound):
        await history.version("w", "a.txt", Name(writing.room, int(START // 60)))


async def test_what_is_too_much_goes(
    journal: Journal, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "HISTORY_BYTES", 20_000)
    writing = await Writing(journal, clock).begin("begun\n")
    noise = random.Random(1)  # noqa: S311
    for _ in range(60):
        clock.now += 60
        writing.edit("ada", 0, len(writing.letters), noise.randbytes(500).hex())
        await writing.fold()
    await history.upkeep.tend(0.0)
    ((packed,),) = await journal.transact(
        lambda db: select(db, "SELECT sum(length(delta)) FROM history")
    )
    assert packed <= 20_000
    listed, _ = await history.versions("w", "a.txt")
    assert 5 < len(listed) < 40
    for each in listed:
        version = await history.version("w", "a.txt", each.name)
        assert version.text == writing.versions[each.name.minute]


async def test_former_rooms_of_a_path_stay_and_a_renamed_one_takes_its_history_along(
    journal: Journal, history: History, clock: Clock
) -> None:
    former = await Writing(journal, clock).begin("former")
    await journal.retire(former.room, set())
    clock.now += 60
    now = await Writing(journal, clock).begin("now")
    listed, _ = await history.versions("w", "a.txt")
    assert [each.name.room for each in listed] == [now.room, former.room]
    version = await history.version("w", "a.txt", listed[1].name)
    assert version.text == "former"
    await journal.rename(now.room, "b.txt")
    listed, _ = await history.versions("w", "b.txt")
    assert [each.name.room for each in listed] == [now.room]
    listed, _ = await history.versions("w", "a.txt")
    assert [each.name.room for each in listed] == [former.room]
    # After its time nothing is left of the former one, and all of the other, which may be idle.
    clock.now += (DAYS + 1) * 86400
    await history.upkeep.tend(0.0)
    rooms = await journal.transact(lambda db: select(db, "SELECT id FROM rooms"))
    assert rooms == [(now.room,)]


async def test_a_forgotten_workspace_leaves_nothing(
    journal: Journal, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframes, "FRAME_COST", 1)
    writing = await Writing(journal, clock).begin("text")
    for _ in range(3):
        clock.now += 60
        writing.edit("ada", 0, 0, "x")
        await writing.fold()
    clock.now += 60
    await check(history, writing)
    await journal.forget("w")
    for table in (*TABLES, "rooms"):
        query = f"SELECT * FROM {table}"  # noqa: S608 - the names are the program's
        assert await journal.transact(lambda db, query=query: select(db, query)) == [], table
