from __future__ import annotations

from pathlib import Path

import pytest
from git_host import IDENTITY, UNASKED
from linked import linked

from cloudide.errors import InvalidInput, NotFound, Unavailable
from cloudide.git.program import read
from cloudide.git.status import diff, parse, stage, status


async def test_a_repository_in_a_folder(tmp_path: Path) -> None:
    """Names are names, however they look; and nothing is there that Git does not say."""
    async with linked(tmp_path) as link:
        agent, top = link.agent, link.root / "project"
        (top / "sub").mkdir(parents=True)

        async def git(*arguments: str) -> None:
            await read(agent, arguments, "project")

        async def seen() -> dict[str, str]:
            found = await status(agent, "project/sub")
            return {each.path: each.index + each.worktree for each in found.files}

        with pytest.raises(NotFound):
            await status(agent, "project")
        await git("init", "--quiet", "--initial-branch=main")
        for name in ("a", "b c", "*", "sub/é\nx"):
            (top / name).write_text("one\n")
        assert await seen() == {"*": ".?", "a": ".?", "b c": ".?", "sub/é\nx": ".?"}
        await stage(agent, "project", ["*", "sub/é\nx"], staged=True)
        assert await seen() == {"*": "A.", "a": ".?", "b c": ".?", "sub/é\nx": "A."}
        await stage(agent, "project", ["*"], staged=False)  # before the first commit
        assert (await seen())["*"] == ".?"
        await stage(agent, "project", ["*", "a", "b c"], staged=True)
        found = await status(agent, "project")
        assert (found.top, found.branch, found.commit) == ("project", "main", "")
        await git(*IDENTITY, *UNASKED, "commit", "--quiet", "--message", "first")

        (top / "a").write_text("two\n")
        (top / "b c").unlink()
        await git("mv", "*", "moved")
        assert await seen() == {"a": ".M", "b c": ".D", "moved": "R."}
        assert (await status(agent, "project")).files[-1].former == "*"
        assert b"\n-one\n+two\n" in await diff(agent, "project/sub", "a", staged=False)
        assert await diff(agent, "project", "a", staged=True) == b""
        await stage(agent, "project", ["a", "b c"], staged=True)
        await stage(agent, "project", ["b c"], staged=False)
        assert await seen() == {"a": "M.", "b c": ".D", "moved": "R."}

        await git("remote", "add", "origin", "https://example.org/x.git")
        await git("config", "remote.origin.pushurl", "https://example.org/y.git")
        [remote] = (await status(agent, "project")).remotes
        assert (remote.url, remote.push_url) == (
            "https://example.org/x.git",
            "https://example.org/y.git",
        )
        for wrong in ([], [""], ["a\0b"], ["a"] * 3000):
            with pytest.raises(InvalidInput):
                await stage(agent, "project", wrong, staged=True)


@pytest.mark.parametrize(
    "output",
    [b"1 M\0", b"2 R. N... 1 2 3 4 5 R100 new", b"# branch.ab x\0", b"u UU\0", b"# branch\0"],
    ids=["short", "no-former", "ab", "conflict", "header"],
)
def test_what_git_never_says(output: bytes) -> None:
    with pytest.raises(Unavailable):
        parse(output)
