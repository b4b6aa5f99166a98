"""Compare-and-swap: nobody's content is lost, whatever the file is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloudide.agent import exchange, files, system
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal
from cloudide.protocol.agent import CONTENT_LIMIT, WriteFile, Written


def write(root: Root, content: bytes, expected: bytes | None, path: str = "file") -> Written:
    hashed = None if expected is None else files.digest(expected)
    return exchange.write(root, WriteFile(path, content, hashed))


@pytest.fixture
def file(root: Root) -> Path:
    path = root.path / "file"
    path.write_bytes(b"old")
    return path


@contextmanager
def unprivileged(*owned: Path) -> Iterator[None]:
    """As an ordinary user who owns these files: nothing is read-only for root."""
    if os.geteuid():
        yield
        return
    for path in owned:
        os.chown(path, 1000, 1000)
    os.seteuid(1000)
    try:
        yield
    finally:
        os.seteuid(0)


def only(root: Root, *names: str) -> bool:
    return sorted(os.listdir(root.path)) == sorted(names)


def test_replaces_what_was_expected(root: Root, file: Path) -> None:
    written = write(root, b"new", b"old")
    assert written.hash == files.digest(b"new")
    assert written.stat == files.stat_paths(root, ["file"])[0]
    assert (written.created, written.displaced) == (False, None)
    assert file.read_bytes() == b"new"
    assert only(root, "file")


def test_returns_and_keeps_what_was_not_expected(root: Root, file: Path) -> None:
    written = write(root, b"new", b"something else")
    assert file.read_bytes() == b"new"
    assert written.displaced is not None
    assert written.displaced.content == b"old"
    swap = root.path / written.displaced.name
    assert swap.read_bytes() == b"old"
    assert [entry.path for entry in files.list_tree(root, "", 1, 10).entries] == ["file"]
    assert files.read(root, "file", 100, "", True).swaps == [written.displaced]
    exchange.release(root, "file", written.displaced.name)
    exchange.release(root, "file", written.displaced.name)
    assert only(root, "file")


def test_release_removes_nothing_but_swaps_of_the_file(root: Root, file: Path) -> None:
    for name in ("file", "../file", ".other.0123456789abcdef.swap", ".file.0123456789abcdef.part"):
        with pytest.raises(Refused):
            exchange.release(root, "file", name)
    assert file.exists()


def test_creates_only_what_is_missing(root: Root) -> None:
    written = exchange.write(root, WriteFile("a/b", b"new", "", parents=True, mode=0o755))
    assert written.created
    assert stat.S_IMODE((root.path / "a/b").stat().st_mode) == 0o755
    with pytest.raises(FileExistsError):
        exchange.write(root, WriteFile("a/b", b"newer", ""))
    assert (root.path / "a/b").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        write(root, b"new", b"old", "gone")
    assert only(root, "a")
    assert os.listdir(root.path / "a") == ["b"]


def test_replaces_whatever_is_there(root: Root, file: Path) -> None:
    assert write(root, b"new", None).displaced is None
    assert write(root, b"other", None, "another").created
    assert only(root, "another", "file")


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o664])
def test_keeps_the_mode(root: Root, file: Path, mode: int) -> None:
    file.chmod(mode)
    write(root, b"new", b"old")
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_keeps_the_group(root: Root, file: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give a file away")
    os.chown(file, 0, 1234)
    write(root, b"new", b"old")
    assert file.stat().st_gid == 1234


def test_writes_hard_links_in_place(root: Root, file: Path) -> None:
    os.link(file, root.path / "other")
    inode = file.stat().st_ino
    write(root, b"new", b"old")
    assert file.stat().st_ino == inode
    assert (root.path / "other").read_bytes() == b"new"
    with pytest.raises(Refused) as refused:
        write(root, b"newer", b"old")
    assert refused.value.failure.code == "conflict"
    assert file.read_bytes() == b"new"


def test_writes_through_a_link(root: Root, file: Path) -> None:
    (root.path / "link").symlink_to("file")
    write(root, b"new", b"old", "link")
    assert file.read_bytes() == b"new"
    assert (root.path / "link").is_symlink()


def test_writes_foreign_files_in_place(root: Root, file: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give a file away")
    os.chown(file, 1234, 1234)
    write(root, b"new", b"old")
    assert (file.stat().st_uid, file.read_bytes()) == (1234, b"new")


@pytest.mark.parametrize("number", exchange.CANNOT)
def test_writes_in_place_where_nothing_can_be_exchanged(
    root: Root, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(system, "rename", refuse)
    write(root, b"new", b"old")
    assert file.read_bytes() == b"new"
    with pytest.raises(Refused):
        write(root, b"newer", b"old")
    exchange.write(root, WriteFile("created", b"x", ""))
    with pytest.raises(FileExistsError):
        exchange.write(root, WriteFile("created", b"y", ""))
    assert only(root, "created", "file")


def test_a_full_disk_damages_nothing(
    root: Root, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(exchange, "write_all", full)
        with pytest.raises(OSError, match="No space") as error:
            write(root, b"new", b"old")
    assert refusal(error.value, "file").failure.code == "no_space"
    os.link(file, root.path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(system, "reserve", full)
        with pytest.raises(OSError, match="No space"):
            write(root, b"new", b"old")
    assert file.read_bytes() == b"old"
    assert only(root, "file", "other")


def test_a_writer_in_between_is_displaced_not_lost(
    root: Root, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange_files = exchange.Part.exchange

    def slow(part: exchange.Part, name: bytes, status: os.stat_result) -> os.stat_result:
        file.write_bytes(b"in between")
        return exchange_files(part, name, status)

    monkeypatch.setattr(exchange.Part, "exchange", slow)
    written = write(root, b"new", b"old")
    assert written.displaced is not None
    assert written.displaced.content == b"in between"
    assert file.read_bytes() == b"new"


def test_displaced_content_that_is_too_large_is_put_back(root: Root, file: Path) -> None:
    os.truncate(file, CONTENT_LIMIT + 1)
    with pytest.raises(Refused) as refused:
        write(root, b"new", b"old")
    assert refused.value.failure.code == "too_large"
    assert file.stat().st_size == CONTENT_LIMIT + 1
    assert only(root, "file")


def test_a_long_name_has_room_for_its_swap(root: Root) -> None:
    name = "n" * 255
    (root.path / name).write_bytes(b"old")
    displaced = write(root, b"new", b"else", name).displaced
    assert displaced is not None
    assert files.read(root, name, 100, "", True).swaps == [displaced]
    exchange.release(root, name, displaced.name)


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_writes_only_files(root: Root, name: str) -> None:
    (root.path / "folder").mkdir()
    os.mkfifo(root.path / "pipe")
    with pytest.raises((Refused, OSError)) as error:
        write(root, b"new", None, name)
    refused = error.value if isinstance(error.value, Refused) else refusal(error.value, name)
    assert refused.failure.code == "not_a_file"
    with pytest.raises((Refused, OSError)):
        files.read(root, name, 100, "", False)


def test_a_read_only_file_stays_as_it_is(root: Root, file: Path) -> None:
    file.chmod(0o444)
    with unprivileged(root.path, file), pytest.raises(PermissionError):
        write(root, b"new", b"old")
    assert file.read_bytes() == b"old"
