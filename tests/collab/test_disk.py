"""The file as a peer of the room: programs write it in every way they do, at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from local import ADA, BOB, WORKSPACE, Collab, Local, collaborating
from peer import WAIT_SECONDS

from cloudide.collab import disk
from cloudide.collab.text import content_hash
from cloudide.errors import NotEditable, NotFound, StorageFull, Unavailable
from cloudide.identity.permissions import Role
from cloudide.protocol.agent import Change, FilesChanged, ReleaseSwap, WriteFile


def lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def rename_over(file: Path, content: bytes) -> None:
    """How editors and `sed -i` write."""
    new = file.with_name("new")
    new.write_bytes(content)
    new.replace(file)


def truncate_and_write(file: Path, content: bytes) -> None:
    with file.open("wb") as output:
        output.write(content)


def write_twice(file: Path, content: bytes) -> None:
    file.write_bytes(content[: len(content) // 2])
    file.write_bytes(content)


def write_in_pieces(file: Path, content: bytes) -> None:
    with file.open("wb", buffering=0) as output:
        for start in range(0, len(content), 3):
            output.write(content[start : start + 3])


WRITES = [rename_over, truncate_and_write, write_twice, write_in_pieces]


@pytest.mark.parametrize("write", WRITES)
async def test_a_change_on_disk_arrives_while_people_type(collab: Collab, write) -> None:
    file = collab.write("a.txt", b"first\nmiddle\nlast\n")
    async with collab.join("a.txt") as ada, collab.join("a.txt", BOB) as bob:
        await ada.insert(0, "ada ")
        await ada.written()
        write(file, b"ada first\nMIDDLE\nlast\n")
        await bob.append("bob\n")
        await ada.until(lambda: "MIDDLE" in str(ada) and "bob" in str(ada))
        await bob.until(lambda: str(bob) == str(ada))
        assert str(ada) == "ada first\nMIDDLE\nlast\nbob\n"
        await ada.written()
        await bob.written()
        assert file.read_text() == str(ada)
        assert sorted(os.listdir(collab.root)) == ["a.txt"]


async def test_each_of_two_quick_writes_counts(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        for number in range(20):
            file.write_bytes(b"number %d\n" % number)
            file.write_bytes(b"number %d and a half\n" % number)
        await client.until(lambda: str(client) == "number 19 and a half\n")
        await client.append("typed\n")
        await client.written()
        assert file.read_bytes() == b"number 19 and a half\ntyped\n"


async def test_a_formatter_on_every_save_makes_no_echo(collab: Collab) -> None:
    """A program that rewrites the file whenever it changes must not set off an endless exchange."""
    file = collab.write("a.py", b"x=1\n")
    async with collab.join("a.py") as client:
        await client.append("y=2\n")
        await client.written()
        file.write_bytes(file.read_bytes().replace(b"=", b" = "))
        await client.until(lambda: str(client) == "x = 1\ny = 2\n")
        file.write_bytes(file.read_bytes())
        await client.append("z=3\n")
        await client.written()
        writes = sum(isinstance(call, WriteFile) for call in collab.hub.calls)
        assert writes == 2
        assert file.read_bytes() == b"x = 1\ny = 2\nz=3\n"
        # A look at a file that is as agreed writes and reads nothing.
        os.utime(file)
        collab.hub.calls.clear()
        await collab.rooms._open[WORKSPACE, "a.py"].peer.look()
        assert not any(isinstance(call, WriteFile) for call in collab.hub.calls)


async def test_the_echo_of_an_own_write_is_not_read(collab: Collab) -> None:
    """The agent tells of every write; only what somebody else wrote is looked at."""
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
        peer = collab.rooms._open[WORKSPACE, "a.txt"].peer
        asked: list[str] = []
        peer.hint = lambda: asked.append("hint")
        for content in (b"one\ntwo\n", b"one\nthree\n"):
            change = Change("a.txt", "modified", content_hash(content))
            collab.rooms._hints.files_changed(WORKSPACE, FilesChanged([change]))
            assert asked == (["hint"] if b"three" in content else [])
        collab.rooms._hints.files_changed(WORKSPACE, FilesChanged([Change("a.txt", "modified")]))
        assert asked == ["hint", "hint"]


async def test_a_file_that_was_empty_for_a_moment(collab: Collab) -> None:
    """A program empties the file and takes its time to write the new content."""
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        await client.append("three\n")
        await client.written()
        file.write_bytes(b"")
        await client.until(lambda: str(client) == "")
        file.write_bytes(b"one\ntwo\nthree\nfour\n")
        await client.until(lambda: "four" in str(client))
        await client.append("five\n")
        await client.written()
        assert str(client) == file.read_text() == "one\ntwo\nthree\nfour\nfive\n"


async def test_both_sides_make_the_same_change_once(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\ntwo\nthree\n")
    async with collab.join("a.txt") as client:
        client.text.insert(0, "same\n")
        file.write_bytes(b"same\none\ntwo\nthree\n")
        await client.flush()
        await client.written()
        await client.append("end\n")
        await client.written()
        assert str(client) == file.read_text() == "same\none\ntwo\nthree\nend\n"


async def test_sed_from_a_stale_copy_undoes_nothing(collab: Collab) -> None:
    """The program has read the file, then the room writes it, then the program writes it back."""
    file = collab.write("a.txt", b"one\ntwo\nthree\n")
    async with collab.join("a.txt") as client:
        read = file.read_bytes()
        await client.append("typed while sed ran\n")
        await client.written()
        assert b"typed" in file.read_bytes()
        rename_over(file, read.replace(b"two", b"TWO"))
        await client.until(lambda: "TWO" in str(client))
        await client.insert(0, "and more\n")
        await client.written()
        wanted = "and more\none\nTWO\nthree\ntyped while sed ran\n"
        assert str(client) == file.read_text() == wanted


async def test_sed_between_the_look_and_the_write(collab: Collab) -> None:
    """What a write displaced is merged before it goes."""
    file = collab.write("a.txt", b"one\ntwo\nthree\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call
        raced = False

        async def call(agent, request):
            nonlocal raced
            if isinstance(request, WriteFile) and not raced:
                raced = True
                rename_over(file, b"one\ntwo\nTHREE\n")
            return await real(agent, request)

        collab.hub._call = call
        await client.insert(0, "typed\n")
        await client.until(lambda: "THREE" in str(client))
        await client.written()
        assert str(client) == file.read_text() == "typed\none\ntwo\nTHREE\n"
        assert sorted(os.listdir(collab.root)) == ["a.txt"]
        assert any(isinstance(request, ReleaseSwap) for request in collab.hub.calls)


async def test_real_sed_beside_somebody_who_types(collab: Collab) -> None:
    file = collab.write("a.txt", b"start\nend\n")
    async with collab.join("a.txt") as client:
        for number in range(10):
            await client.insert(0, f"typed-{number}\n")
            sed = await asyncio.create_subprocess_exec("sed", "-i", f"$a sed-{number}", str(file))
            await client.insert(0, f"more-{number}\n")
            assert await sed.wait() == 0
            await client.until(lambda number=number: f"sed-{number}\n" in str(client))
        await client.written()
        text = file.read_text()
        assert text == str(client)
        wanted = {f"{kind}-{number}" for kind in ("typed", "more", "sed") for number in range(10)}
        assert sorted(lines(text)) == sorted(wanted | {"start", "end"})


async def test_where_both_changed_both_are_kept_and_people_are_told(collab: Collab) -> None:
    file = collab.write("a.txt", b"the middle of it\n")
    async with collab.join("a.txt") as client:
        collab.hub.cut = True
        await client.insert(7, "TYPED")
        await client.saved()
        await client.until(lambda: client.disk["state"] == "offline")
        file.write_bytes(b"the miDISKdle of it\n")
        collab.hub.cut = False
        for entry in collab.rooms._below(WORKSPACE, ""):
            entry.peer.reconnected()
        await client.until(lambda: client.disk["state"] == "clean")
        assert "TYPED" in str(client)
        assert "DISK" in str(client)
        assert client.notices
        assert file.read_text() == str(client)


# ── deleted, replaced, mode ─────────────────────────────────────────────────────────────────────


async def test_a_deleted_file_says_so_and_comes_back_with_an_edit(collab: Collab) -> None:
    file = collab.write("src/a.txt", b"one\n")
    async with collab.join("src/a.txt") as client:
        shutil.rmtree(collab.root / "src")
        await client.until(lambda: client.disk["state"] == "deleted")
        assert str(client) == "one\n"
        assert not file.exists()
        await client.append("two\n")
        await client.written()
        assert file.read_bytes() == b"one\ntwo\n"


async def test_a_file_that_comes_back_as_it_was_is_the_same(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        file.unlink()
        await client.until(lambda: client.disk["state"] == "deleted")
        file.write_bytes(b"one\n")
        await client.until(lambda: client.disk["state"] == "clean")
        await client.append("two\n")
        await client.written()
        assert file.read_bytes() == b"one\ntwo\n"


async def test_a_file_that_was_gone_and_is_made_anew_is_another(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with (
        collab.join("a.txt") as client,
        collab.join("a.txt", BOB, extended=False) as plain,
    ):
        await plain.append("two\n")
        await client.until(lambda: str(client) == "one\ntwo\n")
        await collab.rooms.flush(WORKSPACE, "a.txt")
        file.unlink()
        await client.until(lambda: client.disk["state"] == "deleted")
        file.write_bytes(b"something else\n")
        await client.until(lambda: client.close_code is not None)
        await plain.until(lambda: plain.close_code is not None)
        assert (client.close_code, plain.close_code) == (4409, 4409)
        # Nobody brings the former text along, not even a client that knows no epochs.
        await plain.connect()
        await plain.until(lambda: plain.close_code is not None)
        assert plain.close_code == 4409
    async with collab.join("a.txt") as later:
        assert str(later) == "something else\n"
        assert later.hello["epoch"] != client.hello["epoch"]
    assert file.read_bytes() == b"something else\n"


async def test_a_program_that_saves_by_moving_the_old_file_away(collab: Collab) -> None:
    """As vim does: `a.txt` to `a.txt~`, a new `a.txt`, and `a.txt~` goes."""
    file = collab.write("a.txt", b"one\n")
    backup = collab.root / "a.txt~"
    async with collab.join("a.txt") as client:
        epoch = client.hello["epoch"]
        for number in range(5):
            file.rename(backup)
            for entry in collab.rooms._below(WORKSPACE, ""):
                entry.peer.hint()
            await client.append(f"typed {number}\n")
            await client.saved()
            file.write_bytes(backup.read_bytes() + b"by vim %d\n" % number)
            backup.unlink()
            await client.until(lambda number=number: f"by vim {number}\n" in str(client))
            await client.written()
        assert (client.close_code, client.moved) == (None, "")
        assert epoch == client.hello["epoch"]
        assert file.read_text() == str(client)
        for number in range(5):
            assert str(client).count(f"typed {number}\n") == 1
            assert str(client).count(f"by vim {number}\n") == 1


async def test_a_deleted_file_is_restored_on_demand(collab: Collab) -> None:
    file = collab.write("src/a.txt", b"one\r\n")
    async with collab.join("src/a.txt") as client:
        shutil.rmtree(collab.root / "src")
        await client.until(lambda: client.disk["state"] == "deleted")
        hash = await collab.rooms.revive(WORKSPACE, "src/a.txt")
        assert file.read_bytes() == b"one\r\n"
        assert hash == content_hash(b"one\r\n")
        await client.until(lambda: client.disk["state"] == "clean")
    with pytest.raises(NotFound, match="history"):
        await collab.rooms.revive(WORKSPACE, "nobody/has/it.txt")


@pytest.mark.parametrize("source", ["src", "src/deep/a.txt"])
async def test_a_rename_in_the_workspace_is_followed(collab: Collab, source: str) -> None:
    collab.write("src/deep/a.txt", b"one\n")
    target = "lib" if source == "src" else "src/b.txt"
    there = "lib/deep/a.txt" if source == "src" else "src/b.txt"
    async with (
        collab.join("src/deep/a.txt") as client,
        collab.join("src/deep/a.txt", BOB, extended=False) as plain,
    ):
        await client.append("two\n")
        await client.written()
        (collab.root / source).rename(collab.root / target)
        await client.append("typed meanwhile\n")
        await client.until(lambda: client.moved == there)
        await client.append("three\n")
        await client.until(lambda: client.disk["state"] == "clean")
        await client.written()
        assert client.close_code is None
        # Who cannot be told has to ask again.
        await plain.until(lambda: plain.close_code is not None)
        assert plain.close_code == 4404
    assert (collab.root / there).read_bytes() == b"one\ntwo\ntyped meanwhile\nthree\n"
    assert not (collab.root / "src/deep/a.txt").exists()


async def test_another_file_with_the_same_inode_is_not_followed(collab: Collab) -> None:
    """A file system gives the number of a deleted file to the next one that is made."""
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        inode = file.stat().st_ino
        other = collab.root / "other.txt"
        file.unlink()
        for _ in range(100):
            other.write_bytes(b"other\n")
            if other.stat().st_ino == inode:
                break
            other.unlink()
        await client.until(lambda: client.disk["state"] == "deleted")
        assert client.moved == ""
        assert str(client) == "one\n"


async def test_binary_in_the_place_of_text_ends_the_room(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
        epoch = client.hello["epoch"]
        file.write_bytes(b"\0\1\2")
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 4415
        assert isinstance(await collab.refused("a.txt"), NotEditable)
        assert file.read_bytes() == b"\0\1\2"
    file.write_bytes(b"text again\n")
    async with collab.join("a.txt") as client:
        assert client.hello["epoch"] != epoch
        assert str(client) == "text again\n"


async def test_binary_beneath_a_write_is_put_back(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile) and b"\0" not in file.read_bytes():
                rename_over(file, b"\0binary")
            return await real(agent, request)

        collab.hub._call = call
        await client.append("two\n")
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 4415
        assert file.read_bytes() == b"\0binary"


async def test_a_hard_linked_file_keeps_its_links(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    os.link(file, collab.root / "b.txt")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
    assert (collab.root / "b.txt").read_bytes() == b"one\ntwo\n"


async def test_line_ends_converted_on_disk_stay_converted(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        file.write_bytes(b"one\r\ntwo\r\n")
        await client.append("three\n")
        await client.written()
        await client.append("four\n")
        await client.written()
        assert str(client) == "one\ntwo\nthree\nfour\n"
        assert file.read_bytes() == b"one\r\ntwo\r\nthree\r\nfour\r\n"


# ── the disk is full ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    root = tmp_path / "small" / "root"
    root.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(root)]
    subprocess.run(mount, check=True)
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.fixture
async def cramped(small_disk: Path) -> AsyncIterator[Collab]:
    async with collaborating(small_disk.parent) as collab:
        yield collab


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as output, contextlib.suppress(OSError):
        while True:
            output.write(b"x" * 4096)


async def test_a_full_disk_loses_nothing_and_is_written_when_there_is_room(
    cramped: Collab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "RETRY_SECONDS", 0.05)
    file = cramped.write("a.txt", b"one\n")
    async with cramped.join("a.txt") as client:
        filler = cramped.write("filler", b"")
        fill(filler)
        await client.append("typed " * 2000)
        await client.saved()
        await client.until(lambda: client.disk["state"] == "failed")
        assert client.disk["detail"]
        assert file.read_bytes() == b"one\n"
        with pytest.raises(StorageFull):
            await cramped.rooms.flush(WORKSPACE)
        await client.append("and more\n")
        await client.saved()
        filler.unlink()
        await client.until(lambda: client.disk["state"] == "clean")
        assert file.read_text() == str(client) == "one\n" + "typed " * 2000 + "and more\n"
        assert sorted(os.listdir(cramped.root)) == ["a.txt"]


async def test_a_full_disk_when_everybody_leaves(
    cramped: Collab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "RETRY_SECONDS", 0.05)
    file = cramped.write("a.txt", b"one\n")
    filler = cramped.write("filler", b"")
    async with cramped.join("a.txt") as client:
        fill(filler)
        await client.append("typed " * 2000)
        await client.saved()
        await client.until(lambda: client.disk["state"] == "failed")
    filler.unlink()
    await cramped.unloaded("a.txt")
    assert file.read_text() == "one\n" + "typed " * 2000


# ── the server dies ─────────────────────────────────────────────────────────────────────────────


async def test_killed_before_the_write(collab: Collab) -> None:
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        collab.hub.cut = True
        await client.append("NEW\n")
        await client.saved()
        await client.until(lambda: client.disk["state"] == "offline")
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 1012
        await client.connect()
        await client.written()
        assert str(client) == file.read_text() == "base\nNEW\n"


async def test_killed_between_the_write_and_its_answer(collab: Collab) -> None:
    """The disk has what the intent said: that is agreement, or the text would double."""
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        collab.hub.lose_answers_to = (WriteFile,)
        await client.append("NEW\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        assert file.read_bytes() == b"base\nNEW\n"
        await client.append("typed after\n")
        await client.saved()
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.written()
        assert str(client) == file.read_text() == "base\nNEW\ntyped after\n"


async def test_killed_with_a_displaced_change_in_hand(collab: Collab) -> None:
    """Somebody's content was displaced and lies in the swap file; nobody has merged it yet."""
    file = collab.write("a.txt", b"base\nlast\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile):
                rename_over(file, b"base\nfrom disk\nlast\n")
            return await real(agent, request)

        collab.hub._call = call
        collab.hub.lose_answers_to = (WriteFile,)
        await client.insert(0, "NEW\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        collab.hub._call = real
        assert file.read_bytes() == b"NEW\nbase\nlast\n"
        assert len(os.listdir(collab.root)) == 2
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "from disk" in str(client))
        await client.written()
        assert str(client) == file.read_text() == "NEW\nbase\nfrom disk\nlast\n"
        assert os.listdir(collab.root) == ["a.txt"]


async def test_killed_with_a_displaced_change_in_hand_and_the_file_changes_again(
    collab: Collab,
) -> None:
    """What lies in the file is made of a write that no one has heard of yet."""
    file = collab.write("a.txt", b"base\nlast\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile):
                rename_over(file, b"base\nfrom disk\nlast\n")
            return await real(agent, request)

        collab.hub._call = call
        collab.hub.lose_answers_to = (WriteFile,)
        await client.insert(0, "NEW\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        collab.hub._call = real
        file.write_bytes(b"before\n" + file.read_bytes() + b"after\n")
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "after" in str(client) and "from disk" in str(client))
        await client.written()
        wanted = "before\nNEW\nbase\nfrom disk\nlast\nafter\n"
        assert str(client) == file.read_text() == wanted
        assert os.listdir(collab.root) == ["a.txt"]


async def test_killed_after_the_merge_of_a_displaced_change(collab: Collab) -> None:
    """The swap file is still there, though what it held is merged already: once is enough."""
    file = collab.write("a.txt", b"base\nlast\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call
        raced = False

        async def call(agent, request):
            nonlocal raced
            if isinstance(request, WriteFile) and not raced:
                raced = True
                rename_over(file, b"base\nfrom disk\nlast\n")
            if isinstance(request, ReleaseSwap):
                collab.hub.cut = True
                collab.hub.lost.set()
                collab.hub.agent(WORKSPACE)
            return await real(agent, request)

        collab.hub._call = call
        await client.insert(0, "NEW\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        collab.hub._call = real
        assert len(os.listdir(collab.root)) == 2
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "from disk" in str(client))
        await client.written()
        assert str(client) == file.read_text() == "NEW\nbase\nfrom disk\nlast\n"
        assert os.listdir(collab.root) == ["a.txt"]


async def test_a_change_from_the_disk_is_shown_when_it_is_durable(collab: Collab) -> None:
    """A client that had seen it would give it back to a server that lost it, which finds the file
    changed once more."""
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
        await collab.journal.barrier()
        image = collab.journal_file.with_name("image.sqlite")
        room = collab.rooms._open[WORKSPACE, "a.txt"].room
        before = room.seq
        with collab.database() as db:
            db.execute("BEGIN IMMEDIATE")  # nothing is committed meanwhile
            file.write_bytes(file.read_bytes() + b"from disk\n")
            async with asyncio.timeout(WAIT_SECONDS):
                while room.seq == before:  # noqa: ASYNC110 - queued, which nobody is told
                    await asyncio.sleep(0.01)
            shutil.copy(collab.journal_file, image)
            shutil.copy(f"{collab.journal_file}-wal", f"{image}-wal")
            assert "from disk" not in str(room.text) + str(client)
            db.execute("ROLLBACK")
        collab.hub.cut = True
        await collab.stop()
        collab.journal_file = image
        await collab.start()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.append("end\n")
        await client.written()
        assert sorted(lines(str(client))) == ["end", "from disk", "one", "two"]
        assert file.read_text() == str(client)


async def test_the_file_changes_while_the_server_is_down(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        await client.append("three\n")
        await client.written()
        await collab.stop()
        file.write_bytes(file.read_bytes().replace(b"one", b"ONE"))
        await client.insert(0, "offline\n")
        await collab.start()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "ONE" in str(client))
        await client.written()
        assert str(client) == file.read_text() == "offline\nONE\ntwo\nthree\n"


async def test_edits_of_a_stopped_workspace_are_written_when_it_starts(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await collab.link.stop()
        await client.append("typed while stopped\n")
        await client.saved()
        await client.until(lambda: client.disk["state"] == "offline")
    await collab.unloaded("a.txt")
    assert file.read_bytes() == b"one\n"
    await collab.link.start()
    # Nobody opens it: the room is loaded for the write alone.
    client = Local(collab, "a.txt", ADA, Role.EDITOR)
    await client.connect()
    await client.written()
    assert file.read_bytes() == b"one\ntyped while stopped\n"
    await client.close()


# ── compaction, failure of the journal ──────────────────────────────────────────────────────────


async def test_a_folded_log_loads_as_the_whole_one_did(
    collab: Collab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloudide.collab import room

    monkeypatch.setattr(room, "COMPACT_ROWS", 5)
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        for number in range(70):
            await client.append(f"line {number}\n")
            if number % 7 == 0:
                await client.written()
                file.write_bytes(file.read_bytes() + b"disk %d\n" % number)
                await client.until(lambda number=number: f"disk {number}\n" in str(client))
        await client.written()
        text = str(client)
        with collab.database() as db:
            (seq,) = db.execute("SELECT snapshot_seq FROM rooms").fetchone()
            assert seq > 5
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        # A program that read the file before may still write it back.
        rename_over(file, file.read_bytes().replace(b"base", b"BASE"))
        await client.until(lambda: "BASE" in str(client))
        await client.append("end\n")
        await client.written()
        assert str(client) == file.read_text() == text.replace("base", "BASE") + "end\n"


async def test_a_journal_that_fails_takes_nothing_for_saved(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    collab.write("b.txt", b"other\n")
    async with collab.join("a.txt") as client, collab.join("b.txt") as other:
        with collab.database() as db:
            db.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON updates WHEN NEW.author = 'ada'"
                " BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        before = client.acknowledged
        await client.append("typed\n")
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 1013
        assert client.acknowledged == before
        assert (collab.root / "a.txt").read_bytes() == b"one\n"
        with collab.database() as db:
            db.execute("DROP TRIGGER broken")
        await client.connect()
        await client.written()
        assert (collab.root / "a.txt").read_bytes() == b"one\ntyped\n"
        if other.close_code is not None:
            await other.connect()
        await other.append("more\n")
        await other.written()


async def test_a_failing_journal_does_not_end_the_server(collab: Collab) -> None:
    """Tasks that nobody waits for fail by themselves."""
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        with collab.database() as db:
            db.execute(
                "CREATE TRIGGER broken BEFORE UPDATE OF retired ON rooms"
                " BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        file.write_bytes(b"\0binary")
        await client.until(lambda: client.close_code is not None)
        with contextlib.suppress(Unavailable):  # it may share its commit with what fails
            await collab.journal.barrier()
        with collab.database() as db:
            db.execute("DROP TRIGGER broken")
    collab.write("b.txt", b"other\n")
    async with collab.join("b.txt") as other:
        await other.append("alive\n")
        await other.written()


async def test_a_first_look_that_cannot_be_journalled_loads_nothing(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
    await collab.unloaded("a.txt")
    file.write_bytes(b"one\ntwo\nthree\n")
    with collab.database() as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON updates WHEN NEW.author = 'disk'"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    assert (await collab.refused("a.txt")).close_code == 1013
    with collab.database() as db:
        db.execute("DROP TRIGGER broken")
    async with collab.join("a.txt") as client:
        assert str(client) == "one\ntwo\nthree\n"


async def test_who_waits_for_a_write_hears_when_the_room_goes(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        arrived, release = asyncio.Event(), asyncio.Event()
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile):
                arrived.set()
                await release.wait()
            return await real(agent, request)

        collab.hub._call = call
        await client.append("two\n")
        flush = asyncio.create_task(collab.rooms.flush(WORKSPACE))
        await asyncio.wait_for(arrived.wait(), WAIT_SECONDS)
        entry = collab.rooms._open[WORKSPACE, "a.txt"]
        collab.rooms._broken(entry, RuntimeError("a named fault"))
        with pytest.raises(Exception, match="reloaded"):
            await asyncio.wait_for(flush, WAIT_SECONDS)
        collab.hub._call = real
        release.set()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.written()
        assert (collab.root / "a.txt").read_bytes() == b"one\ntwo\n"


async def test_many_files_of_a_checkout_change_at_once(collab: Collab, tmp_path: Path) -> None:
    files = [collab.write(f"src/{number}.txt", b"one\n") for number in range(20)]
    clients = [Local(collab, f"src/{number}.txt", ADA, "editor") for number in range(20)]  # type: ignore[arg-type]
    for client in clients:
        await client.connect()
    for file in files:
        rename_over(file, b"checked out\n")
    for client in clients:
        await client.until(lambda client=client: str(client) == "checked out\n")
        await client.close()
