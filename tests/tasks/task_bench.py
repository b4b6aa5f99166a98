"""Tasks of one workspace with a real agent and database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from linked import TIMEOUT, Linked

from cloudide.identity.permissions import Grant, Person, Role
from cloudide.secrets.delivery import Given
from cloudide.settings import Settings
from cloudide.storage.database import Database
from cloudide.tasks.records import Records
from cloudide.tasks.tasks import Tasks

GRANT = Grant(Person("u1", "Ada", "#123456"), "one", Role.EDITOR)


class Bench:
    """The tasks, and what was heard of them."""

    def __init__(self, link: Linked, database: Database, **settings: Any) -> None:
        self.link = link
        self.database = database
        self.settings = Settings(**settings)
        self.heard: list[dict[str, Any]] = []
        self.previews: list[tuple[str, int]] = []
        self.flushes = 0
        self.secrets: dict[str, str] = {}
        self.on_flush: Callable[[], None] = lambda: None
        self.tasks = self.anew()
        self._changed = asyncio.Event()

    def anew(self) -> Tasks:
        """What a server that starts again has."""

        async def flush(workspace: str) -> None:
            self.flushes += 1
            self.on_flush()

        def changed(workspace: str, run: dict[str, Any]) -> None:
            self.heard.append(run)
            self._changed.set()

        tasks = Tasks(self.link.agents, Records(self.database), self.settings, flush, self.give)
        tasks.on_change = changed
        tasks.open_preview = lambda workspace, task, port: self.previews.append((task, port))
        return tasks

    async def give(self, grant: Grant, wishes: Sequence[str], kind: str, task: str) -> Given:
        """The secrets that there are in `self.secrets`."""
        return Given({name: self.secrets[name] for name in wishes})

    def define(self, content: str) -> None:
        (self.link.root / "cloudide.toml").write_text(content)

    async def start(self, name: str, *, force: bool = False) -> dict[str, Any]:
        return await self.tasks.start(GRANT, name, force=force)

    async def run(self, name: str, *, force: bool = False) -> dict[str, Any]:
        """Start a task and wait for its end."""
        id = (await self.start(name, force=force))["id"]
        return await self.until(lambda run: run["id"] == id and ended(run))

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a change that fits; what was heard before counts."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for run in self.heard:
                    if condition(run):
                        return run
                self._changed.clear()
                await self._changed.wait()

    async def printed(self, id: str) -> bytes:
        return (await self.tasks.output("one", id))[0]


def ended(run: dict[str, Any]) -> bool:
    return run["state"] not in ("waiting", "running")
