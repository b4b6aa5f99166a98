"""Shared terminals on a real agent, without a web server: viewers that keep what they are shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from linked import Linked, linked

from cloudide.channel import Channel, Frame
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.settings import Settings
from cloudide.terminals.terminals import Terminals
from cloudide.terminals.viewer import Viewer

TIMEOUT = 20  # seconds
KEY = b"k" * 32


class Screen:
    """A viewer's socket, and what came through it. `stuck`: it takes nothing any more."""

    direct = None
    unsent = 0

    def __init__(self, budget: int) -> None:
        self.channel = Channel(self, budget, stall_limit=3600)
        self.viewer: Viewer
        self.frames: list[Frame] = []
        self.shown = 0  # bytes of `output`
        self.closed: tuple[int, str] | None = None
        self._changed = asyncio.Event()

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, bytes):
            self.shown += len(frame)
        elif json.loads(frame)["type"] == "replay":
            self.shown = 0
        self._changed.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason
        self._changed.set()

    @property
    def controls(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.frames if isinstance(frame, str)]

    def told(self, type: str) -> list[dict[str, Any]]:
        return [control for control in self.controls if control["type"] == type]

    @property
    def output(self) -> bytes:
        """All that was shown since the last replay began, that included."""
        shown = b""
        for frame in self.frames:
            if isinstance(frame, bytes):
                shown += frame
            elif json.loads(frame)["type"] == "replay":
                shown = b""
        return shown

    async def until(self, condition: Callable[[Screen], object]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def shows(self, wanted: bytes) -> None:
        await self.until(lambda screen: wanted in screen.output)

    async def ready(self) -> None:
        await self.until(lambda screen: screen.told("ready"))

    async def type(self, keys: bytes) -> None:
        await self.receive(keys)

    async def say(self, **message: object) -> None:
        await self.receive(json.dumps(message))

    async def receive(self, frame: bytes | str) -> None:
        handled = self.viewer.receive(frame)
        if handled is not None:
            await handled


class Shared:
    def __init__(self, link: Linked, terminals: Terminals) -> None:
        self.link = link
        self.terminals = terminals

    async def open(self, *command: str, who: str = "ann", cols: int = 80, rows: int = 24) -> str:
        grant = grant_of(who)
        view = await self.terminals.create(grant, cols, rows, list(command), "")
        return view["id"]

    def look(
        self, id: str, who: str = "ann", role: Role = Role.TERMINAL, budget: int = 512 * 1024
    ) -> Screen:
        screen = Screen(budget)
        screen.viewer = self.terminals.attach(grant_of(who, role), id, screen.channel)
        return screen

    def view(self, id: str) -> dict[str, Any]:
        return next(view for view in self.terminals.list("one") if view["id"] == id)


def grant_of(who: str, role: Role = Role.TERMINAL) -> Grant:
    return Grant(Person(who, who.title(), "#123456"), "one", role)


@asynccontextmanager
async def shared(directory: Path, **settings: Any) -> AsyncIterator[Shared]:
    async with (
        linked(directory) as link,
        Terminals(link.agents, Settings(**settings), KEY) as terminals,
    ):
        terminals.connected(link.agent)
        yield Shared(link, terminals)
