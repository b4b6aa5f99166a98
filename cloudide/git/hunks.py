"""Single hunks of a file: staged, taken back out of the index, or reverted.

Who asks names a hunk by its text, as the diff that they saw has it. The diff is made anew, and only
a hunk that it still has is applied: nothing is ever done to text that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudide.agents.link import Agent
from cloudide.errors import Conflict, InvalidInput, NotFound
from cloudide.git.program import read
from cloudide.git.status import PATHS_LIMIT, diff, top_of


def split(text: bytes) -> tuple[bytes, list[bytes]]:
    """The head of one file's diff, and its hunks, each with its header (git-diff(1))."""
    head: list[bytes] = []
    hunks: list[list[bytes]] = []
    # Lines end with "\n" alone: a "\r" is a part of the line.
    for line in text.removesuffix(b"\n").split(b"\n") if text else ():
        if line.startswith(b"@@ "):
            hunks.append([line + b"\n"])
        else:
            (hunks[-1] if hunks else head).append(line + b"\n")
    return b"".join(head), [b"".join(hunk) for hunk in hunks]


async def stage_hunk(agent: Agent, directory: str, path: str, hunk: str, *, staged: bool) -> None:
    """Stage one hunk of what has changed, or take a staged one back out of the index.

    Raises:
        Conflict: the file has changed since somebody looked at it.
    """
    patch = await _patch(agent, directory, path, hunk, staged=not staged)
    options = ["--cached"] if staged else ["--cached", "--reverse"]
    await _apply(agent, directory, patch, options)


async def revert_hunk(agent: Agent, directory: str, path: str, hunk: str) -> None:
    """Make one hunk of the file what is staged, or else committed.

    Raises:
        Conflict: the file has changed since somebody looked at it.
    """
    patch = await _patch(agent, directory, path, hunk, staged=False)
    await _apply(agent, directory, patch, ["--reverse"])


async def revert(agent: Agent, directory: str, paths: Sequence[str]) -> None:
    """Make whole files what is staged, or else committed; `paths` are names, not patterns."""
    if not paths or len(paths) > PATHS_LIMIT or any(not path or "\0" in path for path in paths):
        raise InvalidInput(f"Name 1 to {PATHS_LIMIT} files.")
    await read(
        agent,
        ["--literal-pathspecs", "restore", "--pathspec-from-file=-", "--pathspec-file-nul"],
        await top_of(agent, directory),
        stdin="\0".join(paths).encode(),
    )


async def _patch(agent: Agent, directory: str, path: str, hunk: str, *, staged: bool) -> bytes:
    if not path:
        raise InvalidInput("Name a file.")
    head, hunks = split(await diff(agent, directory, path, staged=staged))
    if not head:
        raise NotFound(f"Nothing has changed in {path}.")
    for each in hunks:
        if each.decode(errors="replace").removesuffix("\n") == hunk.removesuffix("\n"):
            return head + each
    raise Conflict(f"{path} has changed since you looked; look again.")


async def _apply(agent: Agent, directory: str, patch: bytes, options: Sequence[str]) -> None:
    await read(
        agent,
        ["apply", "--whitespace=nowarn", *options, "-"],
        await top_of(agent, directory),
        stdin=patch,
    )
