"""Folding the log: at any time, whatever the disk holds; killed between every two steps."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from linked import linked
from local import ADA, QUICK, WORKSPACE, Collab, Local, collaborating
from peer import WAIT_SECONDS

from cloudide.collab import room as room_module
from cloudide.collab.journal import Journal
from cloudide.identity.permissions import Role
from cloudide.protocol.agent import WriteFile

TOKEN = re.compile(r"<t\d+>|\[p\d+\]")  # typed; written by a program


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "COMPACT_ROWS", 3)


class Tokens:
    """Types unique tokens, one frame each."""

    def __init__(self, client: Local) -> None:
        self.client = client
        self.count = 0
        self.acknowledged = 0

    async def type(self, count: int = 1) -> None:
        for _ in range(count):
            self.count += 1
            await self.client.append(f"<t{self.count}>\n")
            await self.client.saved()
            self.acknowledged = self.count
            self.moment("after an acknowledgement")

    def moment(self, step: str) -> None:
        """Something may be looked at here."""


def folded(collab: Collab) -> tuple[int, int, int]:
    """The present snapshot's number, the former one's, and how many updates are in the log."""
    with collab.database() as db:
        ((snapshot, previous),) = db.execute("SELECT snapshot_seq, previous_seq FROM rooms")
        ((rows,),) = db.execute("SELECT count(*) FROM updates")
    return snapshot, previous, rows


async def offline(client: Local) -> None:
    await client.until(lambda: client.disk["state"] == "offline")


async def back(collab: Collab, client: Local) -> None:
    """The server is killed and another one starts; the client comes back to it."""
    await collab.restart()
    await client.until(lambda: client.close_code is not None)
    await client.connect()


async def folds(collab: Collab, tokens: Tokens, beyond: int) -> None:
    """Type until the generation before the present one is past a number."""
    async with asyncio.timeout(WAIT_SECONDS):
        while folded(collab)[1] <= beyond:
            await tokens.type()


async def test_the_log_of_a_stopped_workspace_is_folded(collab: Collab) -> None:
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        collab.hub.cut = True
        tokens = Tokens(client)
        await folds(collab, tokens, 20)
        _, previous, rows = folded(collab)
        assert rows <= client.sent + 1 - previous
        assert file.read_bytes() == b"base\n"
        file.write_bytes(b"[p1]\nbase\n")
        await back(collab, client)
        await client.written()
        wanted = "[p1]\nbase\n" + "".join(f"<t{each + 1}>\n" for each in range(tokens.count))
        assert str(client) == file.read_text() == wanted


async def test_an_intent_survives_the_folding_of_what_it_was_made_from(collab: Collab) -> None:
    """The write was done and its answer lost; the log is folded twice before anybody looks."""
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        tokens = Tokens(client)
        collab.hub.lose_answers_to = (WriteFile,)
        await tokens.type()
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        written = file.read_text()
        assert "<t1>" in written
        await folds(collab, tokens, 5)
        await back(collab, client)
        await client.written()
        assert Counter(TOKEN.findall(str(client))) == {
            f"<t{each + 1}>": 1 for each in range(tokens.count)
        }
        assert file.read_text() == str(client)


async def test_a_program_changes_what_a_lost_answer_left(collab: Collab) -> None:
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        tokens = Tokens(client)
        collab.hub.lose_answers_to = (WriteFile,)
        await tokens.type()
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        await folds(collab, tokens, 5)
        file.write_text("[p1]\n" + file.read_text())
        collab.hub.lose_answers_to = ()
        collab.hub.cut = False
        for entry in collab.rooms._below(WORKSPACE, ""):
            entry.peer.reconnected()
        await client.until(lambda: client.disk["state"] == "clean")
        assert Counter(TOKEN.findall(file.read_text())).most_common(1)[0][1] == 1
        assert file.read_text() == str(client)


async def test_a_stale_writer_is_recognised_after_a_folding(collab: Collab) -> None:
    """It read the file before the log was folded, and writes it back afterwards."""
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        tokens = Tokens(client)
        read = file.read_bytes()
        async with asyncio.timeout(WAIT_SECONDS):
            while folded(collab)[1] <= 1:
                await tokens.type(2)
                await client.written()
        file.with_name("new").write_bytes(b"[p1]\n" + read)
        file.with_name("new").replace(file)
        await client.until(lambda: "[p1]" in str(client))
        await client.written()
        wanted = "[p1]\nbase\n" + "".join(f"<t{each + 1}>\n" for each in range(tokens.count))
        assert str(client) == file.read_text() == wanted


# ── killed between every two steps ──────────────────────────────────────────────────────────────


class Image:
    """What a server that is killed at a moment leaves: the journal's files and the workspace."""

    def __init__(self, step: str, collab: Collab, acknowledged: int) -> None:
        self.step = step
        self.acknowledged = acknowledged
        files = collab.journal_file.parent.glob("journal.sqlite*")
        self.journal = {
            file.name: file.read_bytes() for file in files if not file.name.endswith("-shm")
        }
        self.workspace: dict[str, bytes] = {}
        for file in collab.root.iterdir():
            with suppress(FileNotFoundError):  # what a write displaced goes at any moment
                self.workspace[file.name] = file.read_bytes()

    def restore(self, journal: Path, workspace: Path) -> None:
        for name, content in self.journal.items():
            (journal / name).write_bytes(content)
        for name, content in self.workspace.items():
            (workspace / name).write_bytes(content)


class Watched(Journal):
    """A journal that has a moment before and after each of its steps."""

    moment: Any = staticmethod(lambda step: None)

    async def _call(self, run: Any, **options: Any) -> Any:
        self.moment("before a step of the journal")
        try:
            return await super()._call(run, **options)
        finally:
            self.moment("after a step of the journal")


async def test_killed_between_every_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People type, programs write, answers are lost, the workspace goes and comes, the log is
    folded all the while; at each of these steps a server that starts on what was left has every
    token that was acknowledged, and every one a program wrote, exactly once."""
    import local

    monkeypatch.setattr(local, "Journal", Watched)
    images: list[Image] = []
    async with collaborating(tmp_path) as collab:
        file = collab.write("a.txt", b"base\n")
        async with collab.join("a.txt") as client:

            def moment(step: str) -> None:
                images.append(Image(step, collab, tokens.acknowledged))

            real = collab.hub._call

            async def call(agent: Any, request: Any) -> Any:
                moment(f"before {type(request).__name__}")
                try:
                    return await real(agent, request)
                finally:
                    moment(f"after {type(request).__name__}")

            tokens = Tokens(client)
            collab.hub._call = call
            monkeypatch.setattr(Watched, "moment", staticmethod(moment))
            monkeypatch.setattr(tokens, "moment", moment)
            await tokens.type(5)
            await client.written()
            file.write_bytes(file.read_bytes() + b"[p1]\n")
            await tokens.type(5)
            await client.until(lambda: "[p1]" in str(client))
            collab.hub.lost.clear()
            collab.hub.lose_answers_to = (WriteFile,)
            await tokens.type()
            await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
            await tokens.type(8)
            file.write_bytes(b"[p2]\n" + file.read_bytes())
            await tokens.type(8)
            collab.hub.lose_answers_to = ()
            collab.hub.cut = False
            for entry in collab.rooms._below(WORKSPACE, ""):
                entry.peer.reconnected()
            await client.until(lambda: "[p2]" in str(client) and client.disk["state"] == "clean")
            await tokens.type(4)
            await client.written()
            collab.hub._call = real
            monkeypatch.setattr(Watched, "moment", staticmethod(lambda step: None))
            assert folded(collab)[1] > 5
    kinds = Counter(image.step for image in images)
    assert kinds["before WriteFile"] > 3
    assert kinds["after a step of the journal"] > 8

    (tmp_path / "again").mkdir()
    settings = msgspec.structs.replace(QUICK, stat_interval=10.0)
    async with linked(tmp_path / "again") as link:
        for number, image in enumerate(images):
            for left in link.root.iterdir():
                left.unlink()
            directory = tmp_path / str(number)
            directory.mkdir()
            image.restore(directory, link.root)
            collab = Collab(link, directory, settings)
            await collab.start()
            async with collab.join("a.txt", ADA, Role.EDITOR) as client:
                await client.append("<t0>\n")
                await client.written()
                found = Counter(TOKEN.findall(str(client)))
                assert (link.root / "a.txt").read_text() == str(client), image.step
                assert set(found.values()) == {1}, (number, image.step, found)
                typed = {f"<t{each + 1}>" for each in range(image.acknowledged)}
                content = b"".join(image.workspace.values()).decode()
                assert typed | set(TOKEN.findall(content)) <= set(found), (number, image.step)
            await collab.stop()
            shutil.rmtree(directory)
