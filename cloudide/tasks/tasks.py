"""Tasks: the named commands of a workspace, run for everybody who is in it.

A run that was asked for and the runs of what it depends on are one *batch*, named by the former.
Each waits for what it needs by itself, so that independent ones run side by side; one that runs
already, for whomever, is shared. They end with the workspace, and when the server goes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any

import msgspec

from cloudide.agents.hub import Agents
from cloudide.channel import Channel
from cloudide.errors import Conflict, NotFound, TooMany
from cloudide.identity.permissions import Grant
from cloudide.settings import Settings
from cloudide.tasks import output
from cloudide.tasks.catalogue import catalogue
from cloudide.tasks.definitions import Task
from cloudide.tasks.graph import steps
from cloudide.tasks.output import Onlooker
from cloudide.tasks.records import Record, Records, State
from cloudide.tasks.run import Given, Run, record_view

Flush = Callable[[str], Awaitable[None]]
# Of a grant, what is asked for, "task" and the task's name.
Give = Callable[[Grant, Sequence[str], str, str], Awaitable[Given]]
OpenPreview = Callable[[str, str, int], None]
SIZE = (120, 30)  # columns and rows of a task's terminal


class Tasks:
    """All runs. Use as an async context manager; it owns a task of the loop for each.

    `flush(workspace)` writes what people typed to the files; `give` gives a task the secrets that
    it may have; `open_preview(workspace, task, port)` is told of a background task that is ready.
    `on_change(workspace, run)` hears of every change.
    """

    def __init__(
        self, agents: Agents, records: Records, settings: Settings, flush: Flush, give: Give
    ) -> None:
        self.on_change: Callable[[str, dict[str, Any]], None] = lambda workspace, run: None
        self.open_preview: OpenPreview = lambda workspace, task, port: None
        self._agents = agents
        self._records = records
        self._flush = flush
        self._give = give
        self._output_limit = settings.task_output
        self._limit = settings.tasks_per_workspace
        self._active: dict[str, dict[str, Run]] = {}  # by workspace and the task's name
        self._living: dict[str, asyncio.Task[None]] = {}  # by the run's id
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Tasks:
        await self._records.recover()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of all runs; the next start finds them interrupted."""
        for task in self._living.values():
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def list(self, workspace: str) -> dict[str, Any]:
        """The tasks there are, each with its last run, and what is wrong with their files.

        Raises:
            AgentUnavailable: the workspace does not run.
        """
        found = await catalogue(self._agents.agent(workspace))
        kept = await self._records.all(workspace)
        active = self._active.get(workspace, {})
        tasks = [
            _task_view(task, active.get(task.name), [r for r in kept if r.task == task.name])
            for task in found.tasks.values()
        ]
        return {"tasks": tasks, "problems": found.problems}

    async def start(
        self, grant: Grant, name: str, *, force: bool, size: tuple[int, int] = SIZE
    ) -> dict[str, Any]:
        """Run a task and what it depends on; `force` runs it whatever its inputs say.

        Raises:
            NotFound: there is no such task. Conflict: it runs already.
            InvalidInput: what it depends on is missing, or a circle.
            TooMany: more than may run in one workspace. AgentUnavailable: it does not run.
        """
        workspace = grant.workspace
        agent = self._agents.agent(workspace)
        await self._flush(workspace)  # the definitions may be what was typed last
        found = await catalogue(agent)
        if name not in found.tasks and found.problems:
            problem = found.problems[0]
            raise NotFound(
                f"There is no task {name!r} here. {problem.file} has a problem: {problem.message}"
            )
        order = steps(found.tasks, name)
        # From here to where they are entered there is no await: two people cannot both start it.
        active = self._active.setdefault(workspace, {})
        if name in active:
            raise Conflict(f"The task {name!r} is running already. Stop it first.")
        fresh = [task for task in order if task.name not in active]
        if len(active) + len(fresh) > self._limit:
            raise TooMany(
                f"At most {self._limit} tasks run in one workspace at a time. Stop one first."
            )
        runs = self._enter(grant, name, fresh)
        together = dict(active)
        try:
            await self._records.begin([run.record for run in runs])
        except BaseException:
            for run in runs:
                self._leave(run)
                run.finished()
            raise
        for run in runs:
            needed = [together[each] for each in run.task.depends_on]
            forced = force and run.task.name == name
            self._living[run.record.id] = self._tasks.create_task(
                self._live(run, needed, size, forced, grant)
            )
        return runs[-1].view

    async def stop(self, workspace: str, id: str) -> dict[str, Any]:
        """End a run and what was started for it; returns how it ended.

        Raises:
            NotFound: no such run is running here.
        """
        active = self._active.get(workspace, {})
        run = next((run for run in active.values() if run.record.id == id), None)
        if run is None:
            await self._records.output(workspace, id)  # raises NotFound
            raise Conflict("This run has ended already.")
        whole = [each for each in active.values() if each.record.batch == id]
        await asyncio.gather(*(each.stop() for each in {run, *whole}))
        return run.view

    async def runs(self, workspace: str, task: str) -> Sequence[dict[str, Any]]:
        """The kept runs of a task ("": of all), newest first."""
        active = {run.record.id: run for run in self._active.get(workspace, {}).values()}
        return [
            active[record.id].view if record.id in active else record_view(record)
            for record in await self._records.all(workspace, task)
        ]

    async def output(self, workspace: str, id: str) -> tuple[bytes, int]:
        """What a run printed, as far as it is kept, and how many bytes before that are not.

        Raises:
            NotFound: there is no such run, or its output is no longer kept.
        """
        if run := self._running(workspace, id):
            return run.output.kept()
        record, content = await self._kept(workspace, id)
        return content, record.lost

    async def look(self, workspace: str, id: str, channel: Channel) -> Callable[[], None]:
        """Show a run to somebody, from its beginning to its end; returns how to leave.

        Raises:
            NotFound: there is no such run, or its output is no longer kept.
        """
        run = self._running(workspace, id)
        if run is None:
            record, content = await self._kept(workspace, id)
            output.show(channel, content, record.lost)
            output.end(channel, record_view(record))
            return lambda: None
        onlooker = Onlooker(channel, run.output)
        run.onlookers.add(onlooker)
        onlooker.replay()
        return lambda: run.onlookers.discard(onlooker)

    def running(self, workspace: str) -> Sequence[str]:
        """The names of the tasks that are at work; those in the background only serve."""
        active = self._active.get(workspace, {}).values()
        return [run.task.name for run in active if not run.task.background]

    # ── their lives ─────────────────────────────────────────────────────────────────────────────

    def _enter(self, grant: Grant, name: str, tasks: Sequence[Task]) -> Sequence[Run]:
        """New runs for these tasks, of which the last is the one that was asked for."""
        workspace = grant.workspace
        batch = _id()
        runs: list[Run] = []
        for task in tasks:
            record = Record(
                id=batch if task.name == name else _id(),
                workspace=workspace,
                task=task.name,
                batch=batch,
                person=grant.person.name,
                background=task.background,
            )
            run = Run(record, task, self._output_limit)
            run.on_change = lambda run=run: self.on_change(workspace, run.view)
            run.on_ready = lambda run=run: self._ready(run)
            self._active[workspace][task.name] = run
            runs.append(run)
        return runs

    async def _live(
        self,
        run: Run,
        needed: Sequence[Run],
        size: tuple[int, int],
        force: bool,
        grant: Grant,
    ) -> None:
        workspace = run.record.workspace

        async def give(task: str, wishes: Sequence[str]) -> Given:
            return await self._give(grant, wishes, "task", task)

        try:
            run.on_change()
            await run.live(
                self._records,
                needed,
                self._agents,
                lambda: self._flush(workspace),
                size,
                force,
                give,
            )
        finally:
            self._leave(run)
        run.finished()

    def _leave(self, run: Run) -> None:
        active = self._active.get(run.record.workspace, {})
        if active.get(run.task.name) is run:
            del active[run.task.name]
        if not active:
            self._active.pop(run.record.workspace, None)
        self._living.pop(run.record.id, None)

    def _ready(self, run: Run) -> None:
        if run.task.background and run.port:
            self.open_preview(run.record.workspace, run.task.name, run.port)

    async def _kept(self, workspace: str, id: str) -> tuple[Record, bytes]:
        record, content = await self._records.output(workspace, id)
        if content is None:
            raise NotFound("The output of this run is no longer kept; only that of the last is.")
        return record, content

    def _running(self, workspace: str, id: str) -> Run | None:
        active = self._active.get(workspace, {}).values()
        return next((run for run in active if run.record.id == id), None)


def _task_view(task: Task, run: Run | None, kept: Sequence[Record]) -> dict[str, Any]:
    """A task as the API shows it. `last` is compared with the one that ended before it."""
    view: dict[str, Any] = {
        "name": task.name,
        "source": task.source,
        "command": task.command,
        "cwd": task.cwd,
        "depends_on": task.depends_on,
        "inputs": task.inputs,
        "secrets": task.secrets,
        "background": task.background,
    }
    if run is not None:
        view["last"] = run.view
    elif kept:
        ended = (State.PASSED, State.FAILED)
        before = next((each for each in kept[1:] if each.state in ended), None)
        view["last"] = record_view(kept[0], before)
    return msgspec.to_builtins(view)


def _id() -> str:
    return "r" + secrets.token_hex(6)
