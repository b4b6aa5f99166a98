"""What keeps workspaces alive, and their end when nothing does.

Typing, edits, changes of files, commands that are started, preview traffic and port forwards are
*activity*: a moment is kept for each kind. A *hold* is something at work: while there is one, the
workspace is in use. Open sockets and the chatter of language servers are neither.

A workspace without activity or hold for `idle_minutes` is stopped; `idle_warning_minutes` before,
everybody who watches it is told when. Only what was seen since the server started is known, so a
restart of the server begins the time anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any

import msgspec
import structlog

from cloudide.errors import CloudIDEError
from cloudide.settings import Settings
from cloudide.workspaces.feed import Feed

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0  # at most between looks; oftener where the times are short
LOOKS = 4  # in the time of the warning
HOLD_LIMIT = 200  # characters of a command that are shown


class Kind(StrEnum):
    """What somebody did, or what happened for them."""

    EDIT = "edit"  # typed in a document
    FILES = "files"  # saved, moved or deleted files over the API
    TYPING = "typing"  # in a terminal
    COMMAND = "command"  # opened a terminal, started a task
    PREVIEW = "preview"
    FORWARD = "forward"
    KEPT = "kept"  # said to keep it running


class Hold(msgspec.Struct, frozen=True):
    """Something at work; `kind` is `terminal`, `task` or `program`, `what` its command or name."""

    kind: str
    what: str


SHELLS = ("ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh")


def at_work(terminals: Iterable[Mapping[str, Any]]) -> list[Hold]:
    """What is at work in terminals, as the API shows them: what is in the foreground of a shell,
    and a command that a terminal was opened for. A shell that waits is not."""
    holds: list[Hold] = []
    for terminal in terminals:
        words = list(terminal["command"])
        if words and words[0].rpartition("/")[2] == "busybox":
            del words[0]
        waits = len(words) == 1 and words[0].rpartition("/")[2] in SHELLS
        what = terminal.get("foreground") or ("" if waits else " ".join(words))
        if what and "exit" not in terminal:
            holds.append(Hold("terminal", what[:HOLD_LIMIT]))
    return holds


class _Use:
    """What is known of one running workspace. Times are of the clock that is given."""

    def __init__(self, now: float) -> None:
        self.since = now
        self.at: dict[Kind, float] = {}
        self.held_at = now
        self.warned = False

    @property
    def last(self) -> float:
        return max(self.since, self.held_at, *self.at.values())


class Activity:
    """Use as an async context manager; it owns the task that looks.

    `running()` names the workspaces that run, `holds(workspace)` what is at work in one, and
    `stop(workspace)` asks for its end, and `on_stop` hears of it. `clock` is in seconds and never
    goes back.
    """

    def __init__(
        self,
        settings: Settings,
        feed: Feed,
        running: Callable[[], Iterable[str]],
        holds: Callable[[str], Sequence[Hold]],
        stop: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_stop: Callable[[str], Awaitable[None]] = _nothing
        self._idle = settings.idle_minutes * 60
        self._warning = min(settings.idle_warning_minutes * 60, self._idle)
        self._feed = feed
        self._running = running
        self._holds = holds
        self._stop = stop
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._held: dict[str, list[Hold]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Activity:
        if self._idle:
            self._looking = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def touch(self, workspace: str, kind: Kind) -> None:
        """Something was done. Cheap: it may be called for every key."""
        now = self._clock()
        use = self._uses.get(workspace)
        if use is None:
            # Not looked at yet; if it does not run, the next look forgets it.
            use = self._uses[workspace] = _Use(now)
        use.at[kind] = now
        if use.warned:
            self._warn(workspace, use, None)

    @contextmanager
    def holding(self, workspace: str, hold: Hold) -> Generator[None]:
        """While the block lasts, the workspace is in use."""
        held = self._held.setdefault(workspace, [])
        held.append(hold)
        try:
            yield
        finally:
            held.remove(hold)
            if not held:
                self._held.pop(workspace, None)
            if use := self._uses.get(workspace):
                use.held_at = self._clock()

    def _at_work(self, workspace: str) -> list[Hold]:
        return [*self._holds(workspace), *self._held.get(workspace, ())]

    def view(self, workspace: str) -> dict[str, Any]:
        """What was done last, what keeps a workspace alive, and when it stops.

        `stops_at` is null while it does not run, something is at work, or nothing ever stops it.
        """
        now = self._clock()
        if workspace in self._running():
            self._uses.setdefault(workspace, _Use(now))
        use = self._uses.get(workspace)
        holds = self._at_work(workspace) if use else []
        ends = use.last + self._idle if use and self._idle and not holds else None
        return {
            "idle_minutes": self._idle / 60,
            "last": {kind: _iso(at - now) for kind, at in use.at.items()} if use else {},
            "holds": holds,
            "stops_at": None if ends is None else _iso(ends - now),
            "warning": bool(use and use.warned),
        }

    def warning(self, workspace: str) -> str | None:
        """When it stops, if people have been warned of that."""
        use = self._uses.get(workspace)
        if use is None or not use.warned:
            return None
        return _iso(use.last + self._idle - self._clock())

    async def look(self) -> None:
        """Warn of and stop what nobody uses, now."""
        now = self._clock()
        running = set(self._running())
        for gone in self._uses.keys() - running:
            del self._uses[gone]
        for workspace in running:
            use = self._uses.setdefault(workspace, _Use(now))
            if self._at_work(workspace):
                use.held_at = now
            idle = now - use.last
            if idle >= self._idle:
                await self._end(workspace)
            elif (idle >= self._idle - self._warning) != use.warned:
                ends = None if use.warned else _iso(use.last + self._idle - now)
                self._warn(workspace, use, ends)

    async def _end(self, workspace: str) -> None:
        _log.info("workspace.idle", workspace=workspace)
        try:
            await self._stop(workspace)
        except CloudIDEError as error:
            _log.warning("workspace.not_stopped", workspace=workspace, error=error.message)
        else:
            self._uses.pop(workspace, None)
            await self.on_stop(workspace)

    def _warn(self, workspace: str, use: _Use, stops_at: str | None) -> None:
        use.warned = stops_at is not None
        self._feed.publish("activity", workspace, {"stops_at": stops_at})

    async def _look_for_ever(self) -> None:
        pause = min(LOOK_SECONDS, (self._warning or self._idle) / LOOKS)
        while True:
            try:
                await self.look()
            except Exception:
                _log.exception("activity.failed")
            await asyncio.sleep(pause)


async def _nothing(workspace: str) -> None:
    pass


def _iso(seconds: float) -> str:
    """A moment so many seconds from now, as people's clocks have it."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="milliseconds")
