"""Changes below the root are told, whoever made them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from linked import Linked, linked

from cloudide.agent import watch
from cloudide.protocol.agent import CHANGES_LIMIT, Change, FilesChanged


async def ready(link: Linked) -> None:
    """Write until it is noticed: the watch begins a moment after the hello."""
    number = 0
    while not link.heard.files:
        (link.root / "probe").write_text(f"{number}")
        number += 1
        await link.agent.stat(["probe"])
    (link.root / "settled").touch()
    await link.heard.until(lambda heard: any(c.path == "settled" for c in heard.changes))
    link.heard.files.clear()


async def test_tells_of_changes_below(link: Linked) -> None:
    await ready(link)
    (link.root / "folder/inner").mkdir(parents=True)
    (link.root / "folder/inner/file").write_text("1")
    await link.heard.until(
        lambda heard: any(c == Change("folder/inner/file", "added") for c in heard.changes)
    )
    (link.root / "folder/inner/file").write_text("2")
    await link.heard.until(
        lambda heard: any(c == Change("folder/inner/file", "modified") for c in heard.changes)
    )
    (link.root / "folder/inner/file").unlink()
    await link.heard.until(
        lambda heard: any(c == Change("folder/inner/file", "deleted") for c in heard.changes)
    )


async def test_an_editor_that_replaces_a_file_modifies_it(link: Linked) -> None:
    (link.root / "file").write_text("one two")
    await ready(link)
    await link.agent.execute(["sed", "-i", "s/one/two/", "file"])
    await link.heard.until(lambda heard: any(c.path == "file" for c in heard.changes))
    last = [change for change in link.heard.changes if change.path == "file"][-1]
    assert last.kind in ("modified", "added")


async def test_a_file_that_the_server_wrote_is_told_with_its_hash(link: Linked) -> None:
    await ready(link)
    await link.agent.write("mine", b"one", "")
    (link.root / "theirs").write_bytes(b"one")
    await link.heard.until(lambda heard: {"mine", "theirs"} <= {c.path for c in heard.changes})
    told = {change.path: change.hash for change in link.heard.changes}
    assert told["mine"] == hashlib.sha256(b"one").hexdigest()
    assert told["theirs"] == ""
    link.heard.files.clear()
    (link.root / "mine").write_bytes(b"another one")
    now = hashlib.sha256(b"another one").hexdigest()
    await link.heard.until(lambda heard: any(c.hash == now for c in heard.changes))


async def test_own_files_and_the_inside_of_git_are_not_told(link: Linked) -> None:
    await ready(link)
    assert (await link.agent.execute(["git", "init", "-q"])).code == 0
    await link.agent.write("file", b"one", "")
    await link.agent.write("file", b"two", None)
    (link.root / "last").touch()
    await link.heard.until(lambda heard: any(c.path == "last" for c in heard.changes))
    assert {change.path for change in link.heard.changes} <= {".git", "file", "last"}


async def test_a_flood_becomes_an_overflow(link: Linked) -> None:
    await ready(link)
    many = link.root.parent / "many"
    many.mkdir()
    for number in range(CHANGES_LIMIT + 1):
        (many / f"{number}").touch()
    many.rename(link.root / "many")
    await link.heard.until(lambda heard: any(event.overflow for event in heard.files))


async def test_polls_where_the_kernel_cannot_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[FilesChanged] = []
    polled: list[bool] = []

    def run(self: watch.Watcher, polling: bool) -> None:
        polled.append(polling)
        if not polling:
            raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watch.Watcher, "_watch", run)
    told = asyncio.Event()

    def tell(event: FilesChanged) -> None:
        heard.append(event)
        told.set()

    watcher = watch.Watcher(tmp_path, tell, lambda path: "")
    watcher.start()
    await told.wait()
    watcher.join()
    assert polled == [False, True]
    assert heard == [FilesChanged([], overflow=True)]
    assert "fs.inotify" in caplog.text


async def test_what_happened_unheard_is_an_overflow(tmp_path: Path) -> None:
    async with linked(tmp_path) as link:
        await ready(link)
        await link.agents.close()
        (link.root / "unheard").touch()
        await link.agents.listen("one")
        await link.agents.wait("one", 20)
        number = 0
        while not link.heard.files:
            (link.root / "later").write_text(f"{number}")
            number += 1
            await link.agent.stat(["later"])
