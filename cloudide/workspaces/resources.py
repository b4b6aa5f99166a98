"""What workspaces use: a sample of each that runs, again and again, kept for an hour.

Figures of the whole container are the engine's, as its cgroup counts; those of single processes,
and of the disk, are told by the agent, which is not to be trusted: they are shown and nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType

import msgspec
import structlog

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError
from cloudide.protocol.agent import Process, Processes
from cloudide.workspaces.runtime import Consumption, Limits

SAMPLE_SECONDS = 15.0
KEPT = 240  # samples: an hour
FRESH_SECONDS = 1.5  # an answer not older than this is given again
SHOWN = 100  # processes
AT_ONCE = 4  # questions to the engine at a time

_log = structlog.get_logger(__name__)


class Sample(msgspec.Struct, frozen=True):
    """`at`: seconds of the Unix epoch. `cpu`: how many CPUs were busy on average since the sample
    before. `memory`: bytes."""

    at: float
    cpu: float
    memory: int
    processes: int


class Running(msgspec.Struct, frozen=True):
    """A process. `cpu`: the share of a CPU since it was last looked at, or else since it began."""

    pid: int
    parent: int
    command: str
    cpu: float
    memory: int
    age: float
    threads: int


class Resources(msgspec.Struct, frozen=True):
    """`now` is null where the engine has no figures. `processes` and the disk are what the
    workspace itself says, null where it does not answer."""

    now: Sample | None
    history: list[Sample]
    cpus: float
    memory_limit: int
    processes_limit: int
    processes: list[Running] | None
    disk_free: int | None
    disk_total: int | None


class _Use:
    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        # What was counted last, for the samples and for people who look in between.
        self.last: dict[str, tuple[float, Consumption]] = {}
        self.shown: tuple[float, Resources] | None = None
        self.ticks: dict[int, tuple[float, float]] = {}  # pid → when, CPU seconds
        self.asking = asyncio.Lock()


class Meter:
    """Use as an async context manager; it owns the task that takes samples.

    `running()` names the workspaces that run; `consumption(workspace)` is the engine's answer.
    """

    def __init__(
        self,
        agents: Agents,
        running: Callable[[], Iterable[str]],
        consumption: Callable[[str], Awaitable[Consumption]],
        limits: Limits,
    ) -> None:
        self._agents = agents
        self._running = running
        self._consumption = consumption
        self._limits = limits
        self._uses: dict[str, _Use] = {}
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Meter:
        self._sampling = asyncio.create_task(self._sample_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.gather(self._sampling, return_exceptions=True)

    async def sample(self) -> None:
        """Look at every workspace that runs, once."""
        running = set(self._running())
        for gone in self._uses.keys() - running:
            del self._uses[gone]
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(workspace: str) -> None:
            use = self._uses.setdefault(workspace, _Use())
            async with turns:
                taken = await self._take(workspace, use, "sample")
            if taken is not None:
                use.samples.append(taken)

        await asyncio.gather(*(one(workspace) for workspace in running))

    async def view(self, workspace: str) -> Resources:
        """What it uses now and used in the last hour; asked often, the same answer for a moment."""
        use = self._uses.get(workspace)
        if use is None:
            use = _Use()
            if workspace in set(self._running()):
                self._uses[workspace] = use
        async with use.asking:
            if use.shown is not None and time.monotonic() - use.shown[0] < FRESH_SECONDS:
                return use.shown[1]
            now, told = await asyncio.gather(
                self._take(workspace, use, "look"), self._told(workspace)
            )
            view = Resources(
                now=now or (use.samples[-1] if use.samples else None),
                history=[*use.samples],
                cpus=self._limits.cpus,
                memory_limit=self._limits.memory,
                processes_limit=self._limits.processes,
                processes=None if told is None else _shares(use, told.processes),
                disk_free=None if told is None else max(0, told.disk_free),
                disk_total=None if told is None else max(0, told.disk_total),
            )
            use.shown = time.monotonic(), view
            return view

    async def _take(self, workspace: str, use: _Use, purpose: str) -> Sample | None:
        """What has been used since this was last asked for this purpose; None: no figures."""
        try:
            found = await self._consumption(workspace)
        except CloudIDEError:
            return None  # it has just stopped, or the engine is away, which is said elsewhere
        at = time.monotonic()
        before = use.last.get(purpose) or use.last.get("sample")
        use.last[purpose] = at, found
        # Nothing to compare with yet, or a new container.
        if before is None or found.cpu < before[1].cpu or at <= before[0]:
            return Sample(time.time(), 0.0, found.memory, found.processes)
        busy = (found.cpu - before[1].cpu) / (at - before[0])
        return Sample(time.time(), busy, found.memory, found.processes)

    async def _told(self, workspace: str) -> Processes | None:
        try:
            return await self._agents.agent(workspace).processes(SHOWN)
        except CloudIDEError:
            return None  # it does not run, or its agent is of an older release

    async def _sample_for_ever(self) -> None:
        while True:
            try:
                await self.sample()
            except Exception:
                _log.exception("resources.failed")
            await asyncio.sleep(SAMPLE_SECONDS)


def _shares(use: _Use, processes: list[Process]) -> list[Running]:
    """Processes with the share of a CPU that each has had, the busiest first."""
    now = time.monotonic()
    known, use.ticks = use.ticks, {each.pid: (now, each.cpu) for each in processes}
    found: list[Running] = []
    for each in processes:
        at, cpu = known.get(each.pid, (now, each.cpu))
        # A number that came around is another process, whose CPU time is less.
        if now - at > 0 and each.cpu >= cpu:
            share = (each.cpu - cpu) / (now - at)
        else:
            share = each.cpu / each.age if each.age > 1 else 0.0
        found.append(
            Running(
                each.pid,
                each.parent,
                each.command[:300],
                max(0.0, share),
                max(0, each.memory),
                max(0.0, each.age),
                each.threads,
            )
        )
    found.sort(key=lambda each: (-round(each.cpu, 2), -each.memory))
    return found
