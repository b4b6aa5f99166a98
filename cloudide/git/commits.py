"""Commits that are made from the IDE: in the name of who makes them, with who else typed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.errors import InvalidInput
from cloudide.git.coauthors import CoAuthorship
from cloudide.git.profiles import Profiles, Signature
from cloudide.git.program import read
from cloudide.identity.permissions import Person
from cloudide.protocol.questions import CHANGES_LIMIT, StagedChange, WhoWrote

MESSAGE_LIMIT = 64 * 1024  # characters
COMMIT_TIMEOUT = 300.0  # seconds; the repository's own hooks may run its tests
_BLOBS = ("100644", "100755")


class Commit(msgspec.Struct, frozen=True):
    id: str
    message: str


class Commits:
    """`origin` gives a name by which a program started for somebody asks who wrote what."""

    def __init__(
        self,
        agents: Agents,
        coauthors: CoAuthorship,
        profiles: Profiles,
        origin: Callable[[str, Person], AbstractContextManager[str]],
    ) -> None:
        self._agents = agents
        self._coauthors = coauthors
        self._profiles = profiles
        self._origin = origin

    async def co_authors(
        self, workspace: str, person: Person, directory: str, *, amend: bool = False
    ) -> list[Signature]:
        """Who besides `person` typed what is staged."""
        agent = self._agents.agent(workspace)
        git_dir = await _line(agent, ["rev-parse", "--absolute-git-dir"], directory)
        top = await _line(agent, ["rev-parse", "--show-toplevel"], directory)
        root = agent.hello.root.rstrip("/")
        if top != root and not top.startswith(f"{root}/"):
            return []
        base = await _base(agent, directory, amend=amend)
        raw = await read(
            agent,
            ["diff-index", "--cached", "-z", "--no-renames", "--no-abbrev", base],
            directory,
        )
        question = WhoWrote(git_dir, _changes(raw, top[len(root) + 1 :]))
        author = await self._profiles.signature(person)
        return [each for each in await self._coauthors.of(agent, question) if each != author]

    async def commit(
        self, workspace: str, person: Person, directory: str, message: str, *, amend: bool
    ) -> Commit:
        """Commit what is staged; the hook in the container adds who else typed it.

        Raises:
            InvalidInput: no message. GitFailed: Git, or a hook of the repository, refused.
        """
        if len(message) > MESSAGE_LIMIT or "\0" in message:
            raise InvalidInput(f"A message has at most {MESSAGE_LIMIT:,} characters.")
        if not message.strip() and not amend:
            raise InvalidInput("Say in a message what the commit changes.")
        agent = self._agents.agent(workspace)
        signature = await self._profiles.signature(person)
        names = {
            f"GIT_{role}_{what}": value
            for role in (("COMMITTER",) if amend else ("AUTHOR", "COMMITTER"))
            for what, value in (("NAME", signature.name), ("EMAIL", signature.email))
        }
        words = ["--file=-"] if message.strip() else ["--no-edit"]
        with self._origin(workspace, person) as origin:
            await read(
                agent,
                ["commit", "--quiet", *words, *(["--amend"] if amend else [])],
                directory,
                stdin=message.encode(),
                environment={**names, "CLOUDIDE_TERMINAL": origin},
                timeout=COMMIT_TIMEOUT,
            )
        shown = await read(agent, ["log", "-1", "--format=%H%n%B"], directory)
        id, _, text = shown.decode(errors="replace").partition("\n")
        return Commit(id, text.strip())


async def _line(agent: Agent, arguments: list[str], directory: str) -> str:
    return (await read(agent, arguments, directory)).decode(errors="replace").strip()


async def _base(agent: Agent, directory: str, *, amend: bool) -> str:
    revision = "HEAD^" if amend else "HEAD"
    found = await read(
        agent, ["rev-parse", "--verify", "--quiet", revision], directory, also=(1, 128)
    )
    return found.decode(errors="replace").strip() or await _line(
        agent, ["hash-object", "-t", "tree", "/dev/null"], directory
    )


def _changes(raw: bytes, top: str) -> list[StagedChange]:
    """What `git diff-index --cached --raw -z` says of files that are there afterwards."""
    fields = raw.decode(errors="replace").split("\0")
    changes: list[StagedChange] = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        parts = head.lstrip(":").split(" ")
        if len(parts) == 5 and parts[4][:1] in ("A", "M") and parts[1] in _BLOBS:
            old = parts[2] if parts[0] in _BLOBS else ""
            changes.append(StagedChange(f"{top}/{path}" if top else path, old, parts[3]))
    return changes[:CHANGES_LIMIT]
