"""One run of one task, from the moment it was asked for until how it ended is kept."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, CloudIDEError, TooLarge
from cloudide.protocol.agent import (
    Exit,
    Exited,
    HashInputs,
    InputsHash,
    RunTask,
    Stop,
    TaskReady,
    Usage,
)
from cloudide.tasks.definitions import Task
from cloudide.tasks.output import Onlooker, Output
from cloudide.tasks.records import Record, Records, State

_log = structlog.get_logger(__name__)

HASH_TIMEOUT = 60.0  # seconds
INT_LIMIT = 2**53  # what an agent tells is kept and shown no larger than this


class Redactor(Protocol):
    """Takes secrets out of what is printed, chunk by chunk."""

    def feed(self, chunk: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class Given(Protocol):
    """The secrets that a process gets."""

    @property
    def environment(self) -> dict[str, str]: ...
    @property
    def files(self) -> dict[str, str]: ...
    def redactor(self) -> Redactor: ...


# Of a task's name and what it asks for; raises a CloudIDEError if it may not have it.
Give = Callable[[str, Sequence[str]], Awaitable[Given]]


class Run:
    """A run that has not ended. `on_change` is called whenever its view changes."""

    def __init__(self, record: Record, task: Task, output_limit: int) -> None:
        self.record = record
        self.task = task
        self.output = Output(output_limit)
        self.onlookers: set[Onlooker] = set()
        self.previous: Record | None = None
        self.ready = False
        self.port = 0
        self.on_change: Callable[[], None] = lambda: None
        self.on_ready: Callable[[], None] = lambda: None
        loop = asyncio.get_running_loop()
        # Whether what depends on it may go on: it passed or is up, or it never will be.
        self.settled: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._stopping: asyncio.Future[None] = loop.create_future()
        self._stream: Stream | None = None
        self._redactor: Redactor
        self._began = 0.0
        self._started_at = 0.0

    async def live(
        self,
        records: Records,
        needed: Sequence[Run],
        agents: Agents,
        flush: Callable[[], Awaitable[None]],
        size: tuple[int, int],
        force: bool,
        give: Give,
    ) -> None:
        """Wait for what it needs, run, and keep how it ended."""
        try:
            await self._live(records, needed, agents, flush, size, force, give)
        except AgentUnavailable as error:
            if self._began:
                detail = (
                    "The workspace went away while this ran; how it would have ended is not known."
                )
            else:
                detail = f"It did not start: {error.message}"
            self._end(State.INTERRUPTED, detail)
        except CloudIDEError as error:
            self._end(State.FAILED, f"It did not start: {error.message}")
        except Exception:
            _log.exception("task.failed", workspace=self.record.workspace, task=self.task.name)
            self._end(State.FAILED, "The server failed at this; its log says how.")
        finally:
            if self._stream is not None:
                await self._stream.close()
        content, self.record.lost = self.output.kept()
        try:
            await records.finish(self.record, content)
        except Exception:
            _log.exception("task.not_kept", workspace=self.record.workspace, task=self.task.name)

    async def stop(self) -> None:
        """Ask it to end; returns when it has."""
        if not self._stopping.done():
            self._stopping.set_result(None)
            if self._stream is not None:
                # A stream that is cut is found out where it is read.
                with suppress(AgentUnavailable):
                    await self._stream.send(Stop())
        await asyncio.shield(self.ended)

    def finished(self) -> None:
        """Its end is kept; whoever looks on or waits is told."""
        view = self.view
        for onlooker in self.onlookers:
            onlooker.end(view)
        self.onlookers.clear()
        if not self.ended.done():
            self.ended.set_result(None)
        self.on_change()

    @property
    def view(self) -> dict[str, Any]:
        view = record_view(self.record, self.previous)
        if self.ready and not self.record.state.final:
            view["ready"] = True
            if self.port:
                view["port"] = self.port
        if self.record.state is State.RUNNING:
            view["started_at"] = datetime.fromtimestamp(self._started_at, UTC).isoformat()
        return view

    # ── its life ────────────────────────────────────────────────────────────────────────────────

    async def _live(
        self,
        records: Records,
        needed: Sequence[Run],
        agents: Agents,
        flush: Callable[[], Awaitable[None]],
        size: tuple[int, int],
        force: bool,
        give: Give,
    ) -> None:
        if not await self._needed(needed):
            return
        await flush()  # what was typed last is what runs
        record, task = self.record, self.task
        agent = agents.agent(record.workspace)
        self.previous = await records.last_ended(record.workspace, task.name)
        if task.inputs:
            record.signature = await _signature(agent, task)
            if not force and self._unchanged():
                return
        if self._stopping.done():
            self._end(State.STOPPED, "It was stopped before it started.")
            return
        pattern = task.ready_when if isinstance(task.ready_when, str) else ""
        port = task.ready_when if isinstance(task.ready_when, int) else 0
        cols, rows = size
        given = await give(task.name, task.secrets)
        self._redactor = given.redactor()
        environment = {**task.env, **given.environment}
        self._stream = stream = await agent.open(
            lambda id: RunTask(
                id, task.command, task.cwd, environment, cols, rows, pattern, port, given.files
            )
        )
        self._began, self._started_at = time.monotonic(), time.time()
        record.state = State.RUNNING
        if self._stopping.done():
            await stream.send(Stop())
        if task.background and not task.ready_when:
            self._become_ready(0)
        self.on_change()
        await self._follow(stream)

    async def _needed(self, needed: Sequence[Run]) -> bool:
        """Wait for the runs it depends on; False when it ended by that."""
        pending = {run.settled: run for run in needed}
        while pending:
            await asyncio.wait({*pending, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
            for future in [future for future in pending if future.done()]:
                run = pending.pop(future)
                if not future.result():
                    self._end(
                        State.CANCELLED,
                        f"It was not started: {run.task.name!r}, which it depends on, "
                        f"{_HOW[run.record.state]}.",
                    )
                    return False
            if self._stopping.done():
                self._end(State.STOPPED, "It was stopped before it started.")
                return False
        return True

    def _unchanged(self) -> bool:
        """Skip it when it passed with these inputs, and has not failed since."""
        last, record = self.previous, self.record
        if last is None or last.state is not State.PASSED or last.signature != record.signature:
            return False
        if not record.signature:
            return False
        when = datetime.fromtimestamp(last.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._end(State.SKIPPED, f"Skipped: its inputs have not changed since it passed on {when}.")
        return True

    async def _follow(self, stream: Stream) -> None:
        while True:
            match await stream.recv():
                case bytes() as data:
                    self._print(self._redactor.feed(data))
                case TaskReady(port):
                    self._become_ready(port if 0 < port < 65536 else 0)
                case Exited(exit, usage):
                    self._print(self._redactor.flush())
                    self._exited(exit, usage)
                    return
                case unexpected:
                    _log.warning("stream.unexpected", message=type(unexpected).__name__)
                    raise AgentUnavailable("The workspace's agent sent a malformed message.")

    def _print(self, data: bytes) -> None:
        if data:
            self.output.append(data)
            for onlooker in self.onlookers:
                onlooker.show(data)

    def _become_ready(self, port: int) -> None:
        if self.ready:
            return
        self.ready, self.port = True, port
        if self.task.background:
            self._settle(True)
        self.on_change()
        self.on_ready()

    def _exited(self, exit: Exit, usage: Usage | None) -> None:
        record = self.record
        record.exit_code = _bounded(exit.code)
        record.exit_signal = None if exit.code is not None else _bounded(exit.signal or 0)
        if usage is not None and math.isfinite(usage.cpu_seconds):
            record.cpu_seconds = round(min(max(usage.cpu_seconds, 0.0), INT_LIMIT), 3)
            # Who ended before anybody looked has no memory that is known of.
            record.peak_memory = _bounded(usage.peak_memory) or None
        if self._stopping.done():
            self._end(State.STOPPED)
        elif exit.code == 0:
            self._end(State.PASSED)
        else:
            self._end(State.FAILED)

    def _end(self, state: State, detail: str = "") -> None:
        record = self.record
        record.state, record.detail = state, detail
        if self._began:
            record.seconds = round(time.monotonic() - self._began, 3)
        self._settle(state in (State.PASSED, State.SKIPPED))

    def _settle(self, well: bool) -> None:
        if not self.settled.done():
            self.settled.set_result(well)


_HOW = {
    State.FAILED: "failed",
    State.STOPPED: "was stopped",
    State.CANCELLED: "was not started",
    State.INTERRUPTED: "was interrupted",
}


async def _signature(agent: Agent, task: Task) -> str:
    """What the task is made from: its inputs and itself. "" when that is too much to look at."""
    try:
        inputs: InputsHash = await agent.call(HashInputs(task.inputs), HASH_TIMEOUT)
    except TooLarge:
        return ""
    itself = msgspec.json.encode([inputs.hash, task.command, task.cwd, sorted(task.env.items())])
    return hashlib.sha256(itself).hexdigest()


def _bounded(number: int | None) -> int | None:
    return None if number is None else min(max(number, -INT_LIMIT), INT_LIMIT)


def record_view(record: Record, previous: Record | None = None) -> dict[str, Any]:
    """A run as the API shows it."""
    view: dict[str, Any] = {
        "id": record.id,
        "task": record.task,
        "batch": record.batch,
        "state": record.state,
        "person": record.person,
        "background": record.background,
        "created_at": datetime.fromtimestamp(record.created_at, UTC).isoformat(),
        "lost": record.lost,
        **_measures(record),
    }
    if record.detail:
        view["detail"] = record.detail
    if record.exit_code is not None:
        view["exit"] = {"code": record.exit_code}
    elif record.exit_signal is not None:
        view["exit"] = {"signal": record.exit_signal}
    if previous is not None:
        view["previous"] = {"id": previous.id, "state": previous.state, **_measures(previous)}
    return view


def _measures(record: Record) -> dict[str, Any]:
    found = {
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
        "peak_memory": record.peak_memory,
    }
    return {name: value for name, value in found.items() if value is not None}
