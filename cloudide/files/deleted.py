"""What people have deleted, kept in memory for a while so that they can take it back.

It comes back under its name only while nothing else has that. Git and the history of documents keep
for longer; this is for the moment after a mistake.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import Conflict, NotFound, Unavailable
from cloudide.files.archive import packed

KEPT_SECONDS = 600.0
KEPT_BYTES = 64 * 1024 * 1024  # of archives, of all workspaces
EACH_BYTES = 16 * 1024 * 1024  # of one; larger ones are not kept
ENTRIES = 100_000
UNPACKED_BYTES = 2 * 1024 * 1024 * 1024


class _Kept(msgspec.Struct):
    workspace: str
    path: str
    archive: bytes
    until: float  # time.monotonic()


class Deleted:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def pack(self, agent: Agent, path: str) -> bytes | None:
        """What is about to be deleted; None when it is too large or cannot be packed."""
        archive = bytearray()
        try:
            async with aclosing(packed(agent, path)) as parts:
                async for part in parts:
                    archive += part
                    if len(archive) > EACH_BYTES:
                        return None
        except Unavailable:
            return None
        return bytes(archive)

    def add(self, workspace: str, path: str, archive: bytes) -> str:
        """It is deleted; returns the name by which it comes back."""
        self._drop()
        id = "d" + secrets.token_hex(8)
        self._kept[id] = _Kept(workspace, path, archive, time.monotonic() + KEPT_SECONDS)
        while sum(len(each.archive) for each in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return id

    async def restore(self, workspace: str, agent: Agent, id: str) -> str:
        """Put it back; returns its path.

        Raises:
            NotFound: it is no longer kept. Conflict: something else has its name now.
        """
        self._drop()
        kept = self._kept.get(id)
        if kept is None or kept.workspace != workspace:
            raise NotFound("This is no longer kept; look into Git, or into the file's history.")
        (there,) = await agent.stat([kept.path])
        if there is not None:
            raise Conflict(f"There is another {kept.path} now; nothing was restored.")
        folder = kept.path.rpartition("/")[0]
        if folder and (await agent.stat([folder]))[0] is None:
            await agent.make_directory(folder)
        limits = {"max_entries": ENTRIES, "max_bytes": UNPACKED_BYTES}
        await agent.unpack(_once(kept.archive), folder, EACH_BYTES, **limits, strip=False)
        self._kept.pop(id, None)
        return kept.path

    def forget(self, workspace: str) -> None:
        for id in [id for id, each in self._kept.items() if each.workspace == workspace]:
            del self._kept[id]

    def _drop(self) -> None:
        now = time.monotonic()
        for id in [id for id, each in self._kept.items() if each.until < now]:
            del self._kept[id]


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
