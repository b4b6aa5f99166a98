"""Branches of a repository: which there are, making one, going to one."""

from __future__ import annotations

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import InvalidInput, Unavailable
from cloudide.git.actions import BRANCH, ID
from cloudide.git.program import read

LIMIT = 500  # branches that are shown, those with the latest commits first
SWITCH_TIMEOUT = 120.0  # seconds
_FIELDS = (
    "%(refname)",
    "%(objectname)",
    "%(upstream:short)",
    "%(upstream:track,nobracket)",
    "%(committerdate:unix)",
    "%(authorname)",
    "%(contents:subject)",
    "%(HEAD)",
    "%(symref)",
)


class Branch(msgspec.Struct, frozen=True):
    """`name` is as people type it; of a remote one, with the remote in front. `time`: seconds of
    the Unix epoch. `ahead` and `behind` count commits against `upstream`, if there is one."""

    name: str
    remote: bool
    current: bool
    commit: str
    upstream: str
    ahead: int
    behind: int
    time: int
    author: str
    subject: str


class Branches(msgspec.Struct, frozen=True):
    branches: list[Branch]
    truncated: bool


def parse(output: bytes) -> list[Branch]:
    """Raises: Unavailable: this is not what Git says."""
    found: list[Branch] = []
    for line in filter(None, output.decode(errors="replace").split("\n")):
        try:
            ref, commit, upstream, track, when, author, subject, head, symref = line.split("\0")
            _, kind, name = ref.split("/", 2)
            if symref:
                continue  # origin/HEAD is another name of a branch that is listed
            counts = {word: int(count) for word, count in _track(track)}
            found.append(
                Branch(
                    name=name,
                    remote=kind == "remotes",
                    current=head == "*",
                    commit=commit,
                    upstream=upstream,
                    ahead=counts.get("ahead", 0),
                    behind=counts.get("behind", 0),
                    time=int(when or 0),
                    author=author,
                    subject=subject,
                )
            )
        except ValueError as error:
            raise Unavailable("Git's branches were not understood.") from error
    return found


async def branches(agent: Agent, directory: str) -> Branches:
    """Raises: GitFailed: there is no repository."""
    output = await read(
        agent,
        [
            "for-each-ref",
            f"--count={LIMIT + 1}",
            "--sort=-committerdate",
            f"--format={'%00'.join(_FIELDS)}",
            "refs/heads",
            "refs/remotes",
        ],
        directory,
    )
    found = parse(output)
    return Branches(found[:LIMIT], len(found) > LIMIT)


async def switch(agent: Agent, directory: str, branch: str, *, start: str = "") -> None:
    """Go to a branch; with `start` (a branch or commit) it is made there first.

    Git refuses what would lose changes that are not committed.

    Raises:
        InvalidInput: no name of a branch.
        GitFailed: its own words say why.
    """
    if not BRANCH.fullmatch(branch):
        raise InvalidInput("This cannot be the name of a branch.")
    if start and not (BRANCH.fullmatch(start) or ID.fullmatch(start)):
        raise InvalidInput("There is no such branch or commit to begin at.")
    arguments = ["switch", "--create", branch, start] if start else ["switch", branch]
    await read(agent, arguments, directory, timeout=SWITCH_TIMEOUT)


def _track(words: str) -> list[tuple[str, str]]:
    """ "ahead 1, behind 2" in pairs; a branch whose upstream is "gone" counts nothing."""
    pairs = (word.split(" ") for word in words.split(", ") if " " in word)
    return [(name, count) for name, count in pairs]
