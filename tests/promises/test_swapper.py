"""Promise 16: a program that swaps folders and files for links to elsewhere gets nothing out.

The swapper is a process of its own. Each operation of the agent's goes through names that lead out
of the root at one moment and not at the next.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from record import record

from cloudide.agent import exchange, files, inputs
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.protocol.agent import WriteFile

SECRET, OWN = b"outside", b"inside"
SWAPPER = """
import os, sys
from cloudide.agent import system
root = os.open(sys.argv[1], os.O_PATH)
pairs = [(b"folder", b"link"), (b"deep/folder", b"deep/link"), (b"plain/file", b"plain/link")]
os.write(1, b".")
while True:
    for one, other in pairs:
        try:
            system.rename(root, one, root, other, system.RENAME_EXCHANGE)
        except FileNotFoundError:
            pass  # one of them was deleted, and comes again
"""


class Place:
    """What is inside and out, and what is done with it."""

    def __init__(self, root: Root, outside: Path) -> None:
        self.root = root
        self.outside = outside
        self.counts = Counter[str]()
        for folder in (outside, root.path / "folder", root.path / "deep/folder"):
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(SECRET if folder is outside else OWN)
        (outside / "secret").touch()
        (root.path / "plain").mkdir()
        (root.path / "plain/file").write_bytes(OWN)
        for link, target in (("link", ""), ("deep/link", ""), ("plain/link", "file")):
            (root.path / link).symlink_to(outside / target)
        self._before = self._look()

    @contextmanager
    def swapping(self) -> Iterator[None]:
        process = subprocess.Popen(
            [sys.executable, "-c", SWAPPER, str(self.root.path)], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
            try:
                yield
                assert process.poll() is None
            finally:
                process.kill()

    def perform(self, chance: random.Random) -> None:
        """One operation through a name that is swapped."""
        name, operation = chance.choice(OPERATIONS)
        try:
            operation(self.root, chance)
        except (OSError, Refused):
            self.counts["refused"] += 1
        else:
            self.counts[name] += 1

    def untouched(self) -> bool:
        return self._look() == self._before

    def _look(self) -> object:
        """All that an operation outside would change; reading is found out by what it gave."""
        found = [(self.outside, self.outside.stat()), *_entries(self.outside)]
        return [(path, s.st_mode, s.st_ino, s.st_size, s.st_mtime_ns) for path, s in found]


def _entries(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.lstat()) for path in sorted(folder.rglob("*"))]


def _at(chance: random.Random) -> str:
    return chance.choice(["folder", "deep/folder", "link", "deep/link"])


def _read(root: Root, chance: random.Random) -> None:
    path = chance.choice([f"{_at(chance)}/file", "plain/file", "plain/link"])
    assert files.read(root, path, 100, "", True).content == OWN


def _list(root: Root, chance: random.Random) -> None:
    for entry in files.list_tree(root, _at(chance), 2, 100).entries:
        assert "secret" not in entry.path


def _stat(root: Root, chance: random.Random) -> None:
    [stat] = files.stat_paths(root, [f"{_at(chance)}/file"])
    assert stat is None or stat.size == len(OWN)


def _hash(root: Root, chance: random.Random) -> None:
    assert not inputs.hash_files(root, [f"{_at(chance)}/secret*"]).files


def _make(root: Root, chance: random.Random) -> None:
    files.make_directory(root, f"{_at(chance)}/new{chance.randrange(8)}/inner")


def _move(root: Root, chance: random.Random) -> None:
    files.move(root, f"{_at(chance)}/new{chance.randrange(8)}", f"{_at(chance)}/new9")


def _delete(root: Root, chance: random.Random) -> None:
    files.delete(root, f"{_at(chance)}/new{chance.randrange(10)}", True)


def _write(root: Root, chance: random.Random) -> None:
    path = chance.choice([f"{_at(chance)}/file", "plain/file", f"{_at(chance)}/made"])
    exchange.write(root, WriteFile(path, OWN))


# Writing waits for the disk, so it is done less often.
OPERATIONS: list[tuple[str, Callable[[Root, random.Random], None]]] = [
    *[("read", _read)] * 40,
    *[("list", _list)] * 20,
    *[("stat", _stat)] * 20,
    *[("make", _make)] * 8,
    *[("move", _move)] * 8,
    *[("delete", _delete)] * 8,
    *[("hash", _hash)] * 4,
    ("write", _write),
]


@pytest.mark.parametrize("way", ["openat2", "walk"])
def test_a_swapper_never_gets_anything_out(
    tmp_path: Path, soak: Callable[[int, int], int], way: str
) -> None:
    """Paths resolved by the kernel, and walked by us as where openat2 is missing."""
    (tmp_path / "root").mkdir()
    root = Root(tmp_path / "root")
    root.walks = way == "walk"
    place = Place(root, tmp_path / "outside")
    chance = random.Random(16)  # noqa: S311
    operations = soak(500_000, 5_000)
    with place.swapping():
        for _ in range(operations):
            place.perform(chance)
    root.close()
    assert place.untouched()
    # Each kind of operation succeeded and was refused, so that there was something to tell apart.
    assert all(place.counts[name] for name, _ in OPERATIONS), place.counts
    assert place.counts["refused"]
    record(
        16,
        f"{operations:,} operations against a swapper, by {way}: {place.counts['refused']:,} "
        "refused, nothing outside read or changed.",
    )
