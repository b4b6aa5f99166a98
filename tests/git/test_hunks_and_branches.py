"""Hunks, branches and the log, with a real Git in an agent's workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from git_host import IDENTITY
from linked import linked

from cloudide.agents import Agent
from cloudide.errors import Conflict, InvalidInput, NotFound, Unavailable
from cloudide.git import branches, log
from cloudide.git.hunks import revert, revert_hunk, split, stage_hunk
from cloudide.git.program import GitFailed, read
from cloudide.git.status import diff

LINES = [f"line {number}" for number in range(1, 41)]


class Repository:
    def __init__(self, agent: Agent, top: Path) -> None:
        self.agent = agent
        self.top = top

    async def git(self, *arguments: str) -> str:
        return (await read(self.agent, [*IDENTITY, *arguments], "project")).decode()

    async def hunks(self, *, staged: bool = False) -> list[str]:
        found = await diff(self.agent, "project", "a b", staged=staged)
        return [hunk.decode() for hunk in split(found)[1]]

    def write(self, lines: list[str]) -> None:
        (self.top / "a b").write_bytes("".join(f"{line}\r\n" for line in lines).encode())

    def read(self) -> list[str]:
        return (self.top / "a b").read_bytes().decode().split("\r\n")[:-1]


@pytest.fixture(scope="module")
async def repository(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Repository]:
    async with linked(tmp_path_factory.mktemp("linked")) as link:
        top = link.root / "project"
        top.mkdir()
        made = Repository(link.agent, top)
        await made.git("init", "--quiet", "--initial-branch=main")
        assert await log.log(link.agent, "project", limit=10, skip=0) == log.Log([], False)
        made.write(LINES)
        await made.git("add", ".")
        await made.git("commit", "--quiet", "--message", "first")
        yield made


async def test_single_hunks(repository: Repository) -> None:
    """Each is staged, unstaged and reverted by itself; what has changed meanwhile is refused."""
    agent = repository.agent
    changed = [*LINES]
    changed[2], changed[30] = "changed\r early", "changed late"
    repository.write(changed)
    early, late = await repository.hunks()
    await stage_hunk(agent, "project", "a b", late, staged=True)
    assert await repository.hunks() == [early]
    [staged] = await repository.hunks(staged=True)
    assert "+changed late" in staged
    await stage_hunk(agent, "project", "a b", staged, staged=False)
    assert await repository.hunks(staged=True) == []
    await revert_hunk(agent, "project", "a b", early)
    assert repository.read() == [*LINES[:30], "changed late", *LINES[31:]]
    repository.write([*LINES[:30], "changed again", *LINES[31:]])
    for action in (
        stage_hunk(agent, "project", "a b", late, staged=True),
        revert_hunk(agent, "project", "a b", late),
    ):
        with pytest.raises(Conflict):
            await action
    assert "changed again" in repository.read()
    await revert(agent, "project", ["a b"])
    assert repository.read() == LINES
    with pytest.raises(NotFound):
        await revert_hunk(agent, "project", "a b", late)
    with pytest.raises(InvalidInput):
        await revert(agent, "project", [])


async def test_branches_and_their_log(repository: Repository) -> None:
    agent = repository.agent
    await branches.switch(agent, "project", "feature/ä", start="main")
    repository.write([*LINES, "more"])
    await repository.git("commit", "--quiet", "-a", "--message", "second\n\nWith a body.")
    found = await branches.branches(agent, "project")
    assert [(each.name, each.current) for each in found.branches] == [
        ("feature/ä", True),
        ("main", False),
    ]
    assert found.branches[0].subject == "second"
    # What is not committed and would be lost keeps one where one is.
    repository.write([*LINES, "uncommitted"])
    with pytest.raises(GitFailed, match="overwritten"):
        await branches.switch(agent, "project", "main")
    await revert(agent, "project", ["a b"])
    await branches.switch(agent, "project", "main")
    assert repository.read() == LINES
    for wrong in ("-c", "a..b", "", "x y"):
        with pytest.raises(InvalidInput):
            await branches.switch(agent, "project", wrong)
    await repository.git("merge", "--quiet", "--no-ff", "--message", "merged", "feature/ä")

    shown = await log.log(agent, "project", limit=2, skip=0)
    merged, second = shown.commits
    assert shown.more
    assert (merged.subject, merged.refs, len(merged.parents)) == ("merged", ["main"], 2)
    assert merged.parents[1] == second.id
    older = await log.log(agent, "project", limit=2, skip=2)
    assert ([each.subject for each in older.commits], older.more) == (["first"], False)
    of_file = await log.log(agent, "project", limit=9, skip=0, path="a b")
    assert [each.subject for each in of_file.commits] == ["second", "first"]

    details = await log.details(agent, "project", second.id)
    assert details.message == "second\n\nWith a body."
    assert details.files == [log.ChangedFile("a b", 1, 0)]
    assert (await log.details(agent, "project", older.commits[0].id)).files[0].added == 40
    assert b"\n+more\r\n" in await log.diff_of(agent, "project", second.id, "a b")
    assert (await log.blob(agent, "project", "a b")).endswith(b"more\r\n")
    assert (await log.blob(agent, "project", "a b", older.commits[0].id)).endswith(b"40\r\n")
    for missing in (
        log.details(agent, "project", "0" * 40),
        log.diff_of(agent, "project", "0" * 40, "a b"),
        log.blob(agent, "project", "missing"),
    ):
        with pytest.raises(NotFound):
            await missing
    with pytest.raises(InvalidInput):
        await log.details(agent, "project", "--help")


@pytest.mark.parametrize(
    ("read_it", "output"),
    [(branches.parse, b"refs/heads/x\0\n"), (log.parse, b"a\0b\0c\0"), (log.parse, b"a\0" * 7)],
    ids=["branch", "short", "time"],
)
def test_what_git_never_says_of_them(read_it: object, output: bytes) -> None:
    with pytest.raises(Unavailable):
        read_it(output)  # type: ignore[operator]
