"""Power cuts, full disks and I/O errors under the journal: what was reported committed is there.

A VFS of our own lies between SQLite and the file system. It knows, for each file, what a sync has
made durable and which writes came since. At a cut, any of those may be on the disk, whole, in part
(by sectors) or not at all, in any order.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from pycrdt import Doc, Text
from record import record

from cloudide.collab.folding import Fold
from cloudide.collab.journal import Journal
from cloudide.collab.records import RoomRecord, Update
from cloudide.collab.text import document_of
from cloudide.protocol.sync import FileFormat

SYSTEM = "unix"  # SQLite's own VFS
SECTOR = 512
WAIT_SECONDS = 60.0
CUTS = 10  # of one run


class Disk:
    """What a disk holds for certain, and what it may hold."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.pending: dict[str, list[tuple[int, bytes | None]]] = {}  # None: cut off there
        self.before: Callable[[str, str], None] = lambda operation, name: None

    def opened(self, name: str) -> None:
        self.durable.setdefault(name, bytearray())
        self.pending.setdefault(name, [])

    def synced(self, name: str) -> None:
        _carry_out(self.durable[name], self.pending[name])
        self.pending[name] = []

    def deleted(self, name: str) -> None:
        self.durable.pop(name, None)
        self.pending.pop(name, None)

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """What is found when the power comes back."""
        found: dict[str, bytes] = {}
        for name, durable in self.durable.items():
            content = bytearray(durable)
            kept: list[tuple[int, bytes | None]] = []
            for offset, data in self.pending[name]:
                fate = chance.random()
                if fate < 0.4:
                    kept.append((offset, data))
                elif fate < 0.7 and data is not None:
                    for start in range(0, len(data), SECTOR):
                        if chance.random() < 0.5:
                            kept.append((offset + start, data[start : start + SECTOR]))
            if chance.random() < 0.3:
                chance.shuffle(kept)
            _carry_out(content, kept)
            found[name] = bytes(content)
        return found


def _carry_out(content: bytearray, writes: list[tuple[int, bytes | None]]) -> None:
    for offset, data in writes:
        if data is None:
            del content[offset:]
            continue
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data


class UnreliableVFS(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        super().__init__("unreliable", SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return UnreliableFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.disk.deleted(Path(filename).name)

    def excepthook(self, etype: Any, evalue: Any, etraceback: Any) -> bool:
        return True  # the errors are meant


class UnreliableFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__(SYSTEM, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path).name if path else ""
        self._disk = disk
        disk.opened(self._name)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.before("write", self._name)
        super().xWrite(data, offset)
        self._disk.pending[self._name].append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.before("truncate", self._name)
        super().xTruncate(newsize)
        self._disk.pending[self._name].append((newsize, None))

    def xSync(self, flags: int) -> None:
        self._disk.before("sync", self._name)
        super().xSync(flags)
        self._disk.synced(self._name)

    def excepthook(self, etype: Any, evalue: Any, etraceback: Any) -> bool:
        return True  # the errors are meant


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    vfs = UnreliableVFS(disk)
    yield disk
    apsw.set_default_vfs(SYSTEM)
    vfs.unregister()


class Typist:
    """Types tokens into one room, as a room does it: after a failure it goes on from what a reload
    finds. The log is folded now and then."""

    def __init__(self, journal: Journal, chance: random.Random) -> None:
        self.journal = journal
        self.committed: set[str] = set()
        self.failed: set[str] = set()
        self._chance = chance
        self._count = 0
        self._queued = 0
        self._settled = asyncio.Event()
        self._broken = False

    async def begin(self) -> None:
        document, _ = document_of()
        record = await self.journal.create("w", "a", "e", FileFormat(), document.get_update(), "h")
        self._load(record)

    async def type(self, count: int) -> None:
        """Each burst is in the queue at once."""
        end = self._count + count
        while self._count < end:
            for _ in range(self._chance.choice([1, 1, 2, 10, 40])):
                self._append()
            if self._chance.random() < 0.2:
                await self._fold()
            if self._chance.random() < 0.5:
                await self.settled()
            if self._broken:
                await self.settled()
                await self._reload()
        await self.settled()

    async def settled(self) -> None:
        """All that was queued is reported."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self._queued:
                self._settled.clear()
                await self._settled.wait()

    def _append(self) -> None:
        self._count += 1
        token = f"<{self._count}>"
        self._text.insert(self._chance.choice([0, len(self._text)]), token + "x" * 30)
        self._seq += 1
        self._queued += 1

        def reported(seq: int, error: BaseException | None) -> None:
            # What a room that has failed hears later it tells nobody.
            self._broken = self._broken or error is not None
            (self.failed if self._broken else self.committed).add(token)
            self._queued -= 1
            self._settled.set()

        self.journal.append(self._room, Update(self._seq, "ada", self._emitted.pop()), reported)

    async def _fold(self) -> None:
        rows = self._seq - self._folded - self._lost
        fold = Fold(self._seq, self._doc.get_update(), rows, {1: self._first})
        try:
            if await self.journal.fold(self._room, fold, str(self._text)):
                self._folded, self._lost = fold.seq, 0
        except Exception:
            self._broken = True

    async def _reload(self) -> None:
        while True:
            try:
                record = await self.journal.load("w", "a")
                break
            except Exception:  # the disk is not well yet
                await asyncio.sleep(0)
        assert record is not None
        self._load(record)
        self._broken = False

    def _load(self, record: RoomRecord) -> None:
        self._doc: Doc[Text]
        self._doc, self._text = loaded(record)
        self._emitted: list[bytes] = []
        self._subscription = self._doc.observe(lambda event: self._emitted.append(event.update))
        self._room = record.id
        self._seq = record.updates[-1][0] if record.updates else record.snapshot_seq
        self._folded = record.snapshot_seq
        self._lost = self._seq - record.snapshot_seq - len(record.updates)
        self._first = b"\0\0"


def loaded(record: RoomRecord) -> tuple[Doc[Text], Text]:
    updates = [data for _, data in record.updates]
    return document_of(*([record.snapshot] if record.snapshot else []), *updates)


def read(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.glob("journal.sqlite*")}


async def found_in(image: dict[str, bytes]) -> str | None:
    """The text that a journal finds in these files; None: no room."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in image.items():
            if not name.endswith("-shm"):
                (Path(directory) / name).write_bytes(content)
        journal = Journal(Path(directory) / "journal.sqlite")
        await journal.start()
        try:
            record = await journal.load("w", "a")
            return None if record is None else str(loaded(record)[1])
        finally:
            await journal.close()


def tokens_once(text: str, wanted: set[str]) -> None:
    """Every wanted token is there exactly once, and no other one twice."""
    found = [part + ">" for part in text.replace("x", "").split(">") if part]
    assert len(found) == len(set(found))
    assert wanted <= set(found)


async def test_a_power_cut_loses_nothing_that_was_reported(
    disk: Disk, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    for run in range(soak(2000, 20) // CUTS):
        chance = random.Random(run)  # noqa: S311
        directory = tmp_path / str(run)
        directory.mkdir()
        disk.durable.clear()
        disk.pending.clear()
        journal = Journal(directory / "journal.sqlite")
        await journal.start()
        typist = Typist(journal, chance)
        await typist.begin()
        images: list[tuple[dict[str, bytes], set[str]]] = []
        countdown = chance.randrange(1, 60)

        def operation(
            kind: str,
            name: str,
            chance: random.Random = chance,
            typist: Typist = typist,
            images: list[tuple[dict[str, bytes], set[str]]] = images,
        ) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown <= 0 and len(images) < CUTS:
                # In the journal's thread; what was reported before is to be there.
                images.append((disk.cut(chance), typist.committed.copy()))
                countdown = chance.randrange(1, 60)

        disk.before = operation
        async with asyncio.timeout(WAIT_SECONDS):
            while len(images) < CUTS:
                await typist.type(100)
        disk.before = lambda kind, name: None
        await journal.close()
        assert not typist.failed
        for image, committed in images:
            tokens_once(await found_in(image) or "", committed)


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
async def test_what_a_failing_disk_did_not_take_is_not_reported(
    disk: Disk, tmp_path: Path, soak: Callable[[int, int], int], error: type[apsw.Error]
) -> None:
    for run in range(soak(200, 20) // 2):
        chance = random.Random(run)  # noqa: S311
        directory = tmp_path / str(run)
        directory.mkdir()
        disk.durable.clear()
        disk.pending.clear()
        journal = Journal(directory / "journal.sqlite")
        await journal.start()
        typist = Typist(journal, chance)
        await typist.begin()
        await typist.type(20)
        fails = chance.randrange(1, 6)
        wait = chance.randrange(20)
        kinds = chance.choice([("write",), ("sync",), ("write", "sync", "truncate")])

        def operation(kind: str, name: str, kinds: tuple[str, ...] = kinds) -> None:
            nonlocal fails, wait
            if kind not in kinds or not fails:
                return
            if wait:
                wait -= 1
                return
            fails -= 1
            raise error("a named fault")

        disk.before = operation
        async with asyncio.timeout(WAIT_SECONDS):
            while fails:
                await typist.type(20)
        disk.before = lambda kind, name: None
        await typist.type(20)
        before = len(typist.committed)
        await typist.type(20)
        assert len(typist.committed) >= before + 20
        await journal.close()
        text = await found_in(read(directory))
        tokens_once(text or "", typist.committed)


def used(log: bytes) -> bytes:
    """The part of a write-ahead log that counts; what lies behind is of an earlier use of the file
    (https://www.sqlite.org/fileformat2.html#the_write_ahead_log)."""
    page = int.from_bytes(log[8:12], "big")
    salts, end = log[16:24], 32
    while log[end + 8 : end + 16] == salts:
        end += 24 + page
    return log[:end]


async def test_a_log_cut_at_any_byte_loads_a_prefix(
    tmp_path: Path, soak: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was folded in between: the text is what it was after some update."""
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()
    chance = random.Random(1)  # noqa: S311
    typist = Typist(journal, chance)
    await typist.begin()
    texts = {None, ""}
    for _ in range(30):
        typist._append()
        texts.add(str(typist._text))
        await typist.settled()
        if chance.random() < 0.2:
            await typist._fold()
    files = read(tmp_path)
    last = str(typist._text)
    await journal.close()
    log = used(files["journal.sqlite-wal"])
    assert len(log) > 50_000
    # The space that a journal makes ready when it starts is most of the time this takes.
    monkeypatch.setattr("cloudide.collab.journal.CHECKPOINT_PAGES", 10)
    ends = range(0, len(log) + 1, soak(1, 997))
    lengths: list[int] = []
    text: str | None = None
    for end in [*ends, len(log)]:
        text = await found_in({**files, "journal.sqlite-wal": log[:end]})
        assert text in texts, end
        lengths.append(len(text or ""))
    assert lengths == sorted(lengths)
    assert text == last
    record(6, f"a log of {len(log):,} bytes cut at each of them: always the text of a prefix.")
