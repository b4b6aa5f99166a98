"""Who else wrote what is committed: those whose edits are in the staged hunks, and nobody else.

Git in the container says which blobs the commit replaces by which (`WhoWrote`); their contents are
read there, and what is new in them is looked up in the history of the files' rooms. Whatever nobody
typed here (a formatter's work, a file copied in) is nobody's.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.git.profiles import Profiles, Signature
from cloudide.git.program import read
from cloudide.protocol.questions import CHANGES_LIMIT, StagedChange, WhoWrote

CONTENT_LIMIT = 32 * 1024 * 1024  # bytes of all blobs of one commit
_ID_LENGTHS = (40, 64)

_log = structlog.get_logger(__name__)


class Wrote(Protocol):
    """What is known of who typed what: `collab.attribution`."""

    async def rooms(self, workspace: str, paths: list[str]) -> dict[str, int]:
        """The rooms of those files that somebody has opened."""
        ...

    async def authors(self, room: int, before: bytes, after: bytes) -> set[str]:
        """The people who typed what of `after` is not in `before`."""
        ...


class CoAuthorship:
    def __init__(self, wrote: Wrote, profiles: Profiles) -> None:
        self._wrote = wrote
        self._profiles = profiles

    async def of(self, agent: Agent, question: WhoWrote) -> list[Signature]:
        """Everybody whose edits are staged, by name.

        Raises:
            CloudIDEError: Git could not say what is staged.
        """
        changes = [each for each in question.changes[:CHANGES_LIMIT] if _is_sound(each)]
        if not question.git_dir.startswith("/") or "\0" in question.git_dir:
            raise InvalidInput("The repository has no folder.")
        rooms = await self._wrote.rooms(agent.workspace_id, [each.path for each in changes])
        changes = [each for each in changes if each.path in rooms]
        wanted = [id for each in changes for id in (each.old, each.new) if id.strip("0")]
        blobs = await _blobs(agent, question.git_dir, [*dict.fromkeys(wanted)])
        people: set[str] = set()
        for change in changes:
            new = blobs.get(change.new)
            if new is not None:
                old = blobs.get(change.old, b"")
                people |= await self._authors(rooms[change.path], old, new)
        return await self._profiles.signatures(people)

    async def _authors(self, room: int, old: bytes, new: bytes) -> set[str]:
        try:
            return await self._wrote.authors(room, old, new)
        except CloudIDEError as error:
            # Part of the history has gone; the commit goes on with what the rest says.
            _log.warning("git.authors_unknown", room=room, error=error.message)
            return set()


def _is_sound(change: StagedChange) -> bool:
    return all(
        not id or (len(id) in _ID_LENGTHS and all(char in "0123456789abcdef" for char in id))
        for id in (change.old, change.new)
    )


async def _blobs(agent: Agent, git_dir: str, ids: list[str]) -> dict[str, bytes]:
    """Contents by id, as `git cat-file --batch` gives them; what is no blob is left out."""
    if not ids:
        return {}
    output = await read(
        agent,
        ["--git-dir", git_dir, "cat-file", "--batch"],
        stdin="".join(f"{id}\n" for id in ids).encode(),
        limit=CONTENT_LIMIT,
    )
    found: dict[str, bytes] = {}
    position = 0
    for id in ids:
        end = output.find(b"\n", position)
        head = output[position:end].decode(errors="replace").split(" ")
        if end < 0 or head[0] != id:
            break
        position = end + 1
        if len(head) == 3 and head[2].isdigit():
            size = int(head[2])
            if head[1] == "blob":
                found[id] = output[position : position + size]
            position += size + 1
    return found
