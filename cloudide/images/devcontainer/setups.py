"""Lifecycle commands of development containers: what sets a workspace up, once or at each start.

https://containers.dev/implementors/spec/#lifecycle: `onCreateCommand`, `updateContentCommand` and
`postCreateCommand` run once for each version of the image that a workspace is made of, one after
the other; `postStartCommand` at each start of the container; `postAttachCommand` whenever somebody
who may run programs opens the workspace. What fails stops all that follows. They run in the
container as its user; what they print is a stranger's, bounded and shown as text.

How far a workspace has come is in the database: with a server that was started anew they go on
where they were cut off, and nothing that succeeded runs again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import structlog
from sqlalchemy import delete, insert, select

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.errors import AgentUnavailable, CloudIDEError, Conflict
from cloudide.images.devcontainer.plan import HOOKS, Plan
from cloudide.storage.database import Database
from cloudide.storage.tables import workspace_setups

log = structlog.get_logger()

ONCE = HOOKS[:3]
START, ATTACH = HOOKS[3:]
OUTPUT_LIMIT = 64 * 1024  # bytes of each part, its end
# "$0" is where the project is seen; the image may not have it.
_IN_FOLDER = 'cd "$0" 2>/dev/null; exec "$@"'


class RunState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Run(msgspec.Struct):
    """One part of a command, the `number`th of its hook. `exit`: its status, None where it did
    not end by itself."""

    hook: str
    number: int
    command: str | list[str]
    name: str = ""
    state: RunState = RunState.WAITING
    exit: int | None = None
    seconds: float | None = None
    output: str = ""


class Setup(msgspec.Struct):
    """Of a workspace. `version`: of which image; `container`: at whose start they ran last;
    `done`: hooks that ran whole with this version."""

    version: str = ""
    container: str = ""
    done: list[str] = []
    runs: list[Run] = []


class Plans(Protocol):
    async def planned(self, workspace: str) -> tuple[str, Plan] | None:
        """Which version of which image a workspace is made of, and its plan; None: it has none."""
        ...


class _Kept:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.task: asyncio.Task[None] | None = None
        self.wait_for = ""
        self.attaching = False  # somebody came; what that runs is yet to be run
        self.printed: dict[int, bytearray] = {}  # what runs has printed, by the `id` of its Run


class Setups:
    """Use as an async context manager; it owns a task for each workspace that is being set up.

    `on_change(workspace)`: what `about` says is another.
    """

    def __init__(self, database: Database, agents: Agents, plans: Plans, timeout: float) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self._database = database
        self._agents = agents
        self._plans = plans
        self._timeout = timeout
        self._kept: dict[str, _Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Setups:
        async with self._database.begin() as db:
            for row in await db.execute(select(workspace_setups)):
                self._kept[row.workspace] = _Kept(msgspec.json.decode(row.setup, type=Setup))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ── what happens, and what people ask ───────────────────────────────────────────────────────

    def started(self, workspace: str, container: str) -> None:
        """It runs in this container; told again and again."""
        kept = self._kept.setdefault(workspace, _Kept(Setup()))
        if kept.task is None and (kept.setup.container != container or _cut_off(kept.setup)):
            self._begin(workspace, kept, container)

    def attached(self, workspace: str) -> None:
        """Somebody who may run programs opened it."""
        kept = self._kept.setdefault(workspace, _Kept(Setup()))
        kept.attaching = True
        if kept.task is None and kept.setup.container and not _failed(kept.setup):
            self._begin(workspace, kept, kept.setup.container)

    def again(self, workspace: str) -> None:
        """Run what failed once more, and what follows.

        Raises:
            Conflict: nothing failed, or it runs. AgentUnavailable: the workspace does not run.
        """
        kept = self._kept.get(workspace)
        failed = _failed(kept.setup) if kept is not None else None
        if kept is None or kept.task is not None or failed is None:
            raise Conflict("There is nothing of the setup that failed.")
        self._agents.agent(workspace)
        if failed.hook == ATTACH:  # which else waits for somebody to come
            kept.attaching = True
        for run in kept.setup.runs:
            if run.state is not RunState.DONE:
                run.state = RunState.INTERRUPTED
        self._begin(workspace, kept, kept.setup.container)

    async def runs(self, workspace: str) -> list[Run]:
        """All of them, those that run with what they have printed so far."""
        kept = self._kept.get(workspace)
        if kept is None:
            return []
        printed = [
            (run, kept.printed[id(run)]) for run in kept.setup.runs if id(run) in kept.printed
        ]
        texts = await _texts([output for _, output in printed])
        for (run, output), text in zip(printed, texts, strict=True):
            if kept.printed.get(id(run)) is output:
                run.output = text
        return kept.setup.runs

    def running(self, workspace: str) -> list[str]:
        """The hooks whose commands run now."""
        kept = self._kept.get(workspace)
        runs = kept.setup.runs if kept else []
        return list({run.hook for run in runs if run.state is RunState.RUNNING})

    def about(self, workspace: str) -> dict[str, Any]:
        """What a workspace's view says: `state` running, done or failed; `ready`: what is to be
        waited for is done; `hook`: what runs, or failed."""
        kept = self._kept.get(workspace)
        if kept is None or not kept.setup.runs:
            return {}
        setup = kept.setup
        failed = _failed(setup)
        now = next((run for run in setup.runs if run.state is RunState.RUNNING), None)
        waited = HOOKS.index(kept.wait_for) + 1 if kept.wait_for in HOOKS else 0
        open_ = {run.hook for run in setup.runs if run.state is not RunState.DONE}
        view: dict[str, Any] = {
            "state": "failed" if failed else "running" if kept.task is not None else "done",
            "ready": kept.task is None or not open_ & set(HOOKS[:waited]),
            "hook": failed.hook if failed else now.hook if now else "",
        }
        return {"setup": view}

    def forget(self, workspace: str) -> None:
        """It is deleted."""
        if (kept := self._kept.pop(workspace, None)) and kept.task is not None:
            kept.task.cancel()

    # ── running ─────────────────────────────────────────────────────────────────────────────────

    def _begin(self, workspace: str, kept: _Kept, container: str) -> None:
        task = asyncio.create_task(self._work(workspace, kept, container))
        kept.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, workspace: str, kept: _Kept, container: str) -> None:
        try:
            await self._set_up(workspace, kept, container)
        except CloudIDEError as error:  # it was stopped, or deleted
            log.info("setup.cut_off", workspace=workspace, error=error.message)
        except Exception:
            log.exception("setup.broken", workspace=workspace)
        finally:
            kept.task = None
        if self._kept.get(workspace) is kept and kept.setup.runs:
            self.on_change(workspace)

    async def _set_up(self, workspace: str, kept: _Kept, container: str) -> None:
        found = await self._plans.planned(workspace)
        old = kept.setup
        if found is None or not found[1].commands:
            kept.setup = Setup(container=container)
            if old.runs:
                self.on_change(workspace)
                await self._write(workspace, Setup())
            return
        version, plan = found
        kept.wait_for = plan.wait_for
        new_container = old.container != container
        done = list(old.done) if old.version == version else []
        if new_container:
            done = [hook for hook in done if hook in ONCE]
        done = [hook for hook in done if hook != ATTACH]
        agent = self._agents.agent(workspace)  # where there is none, it is tried again
        kept.setup = Setup(version, container, done, _prepared(plan, done, old))
        for hook in HOOKS:
            if hook in kept.setup.done or (hook == ATTACH and not kept.attaching):
                continue
            if hook == ATTACH:
                kept.attaching = False
            # What is written between hooks is enough to go on from: one that is cut off runs anew.
            if any(run.hook == hook for run in kept.setup.runs):
                await self._write(workspace, kept.setup)
            if not await self._hook(workspace, kept, agent, hook, plan.folder):
                break
            kept.setup.done.append(hook)
        for run in kept.setup.runs:
            if run.state is RunState.WAITING and _failed(kept.setup):
                run.state = RunState.SKIPPED
        await self._write(workspace, kept.setup)

    async def _hook(
        self, workspace: str, kept: _Kept, agent: Agent, hook: str, folder: str
    ) -> bool:
        """Run the commands of a hook, one after the other, the parts of each side by side."""
        for runs in _commands(kept.setup.runs, hook):
            for run in runs:
                run.state = RunState.RUNNING
            self.on_change(workspace)
            try:
                await asyncio.gather(*(self._part(kept, agent, run, folder) for run in runs))
            finally:
                kept.printed.clear()
                for run in runs:
                    if run.state is RunState.RUNNING:
                        run.state = RunState.INTERRUPTED
            if any(run.state is not RunState.DONE for run in runs):
                return False
        return True

    async def _part(self, kept: _Kept, agent: Agent, run: Run, folder: str) -> None:
        """Run it to its end; it is done, failed, or (the workspace stopped) interrupted."""
        output = kept.printed[id(run)] = bytearray()

        def take(_stream: int, data: bytes) -> None:
            output.extend(data)
            if len(output) > 2 * OUTPUT_LIMIT:
                del output[:-OUTPUT_LIMIT]

        words = ["/bin/sh", "-c", run.command] if isinstance(run.command, str) else run.command
        began = time.monotonic()
        state, code, note = RunState.FAILED, None, ""
        try:
            ended = await agent.execute(
                ["/bin/sh", "-c", _IN_FOLDER, folder or ".", *words],
                on_output=take,
                timeout=self._timeout,
            )
            code = ended.code
            if code == 0:
                state = RunState.DONE
            elif code is None:
                note = f"\n[It was ended by signal {ended.signal}.]"
        except TimeoutError:
            note = f"\n[It took longer than {self._timeout:g} s, which is the limit.]"
        except AgentUnavailable:
            state = RunState.INTERRUPTED
        except CloudIDEError as error:
            note = f"\n[{error.message}]"
        seconds = round(time.monotonic() - began, 3)
        [text] = await _texts([output])
        kept.printed.pop(id(run), None)
        run.state, run.exit, run.seconds, run.output = state, code, seconds, text + note

    async def _write(self, workspace: str, setup: Setup) -> None:
        of_it = workspace_setups.c.workspace == workspace
        content = msgspec.json.encode(setup).decode()
        if self._kept.get(workspace) is None:
            return  # it is deleted
        async with self._database.begin() as db:
            await db.execute(delete(workspace_setups).where(of_it))
            await db.execute(insert(workspace_setups).values(workspace=workspace, setup=content))


def _prepared(plan: Plan, done: Iterable[str], old: Setup) -> list[Run]:
    """All that is to be run, in its order; of what ran already what it printed stays."""
    kept = {(run.hook, run.number, run.name): run for run in old.runs if run.hook in done}
    found: list[Run] = []
    for hook in HOOKS:
        for number, command in enumerate(plan.commands.get(hook, [])):
            for name, part in command.parts.items():
                found.append(kept.get((hook, number, name)) or Run(hook, number, part, name))
    return found


def _commands(runs: Iterable[Run], hook: str) -> list[list[Run]]:
    """The runs of a hook by command."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        if run.hook == hook:
            found.setdefault(run.number, []).append(run)
    return [*found.values()]


def _failed(setup: Setup) -> Run | None:
    return next((run for run in setup.runs if run.state is RunState.FAILED), None)


def _cut_off(setup: Setup) -> bool:
    """Whether something was to run, and nobody runs it; what has to wait for somebody to come, or
    follows what failed, is not."""
    cut_off = {RunState.RUNNING, RunState.INTERRUPTED}
    if any(run.state in cut_off for run in setup.runs):
        return True
    waiting = any(run.state is RunState.WAITING and run.hook != ATTACH for run in setup.runs)
    return waiting and _failed(setup) is None


async def _texts(outputs: Iterable[bytearray]) -> list[str]:
    """The ends of them as text; what is a stranger's may take its time, beside the loop."""
    ends = [bytes(each[-OUTPUT_LIMIT:]) for each in outputs]
    return await asyncio.to_thread(lambda: [_shown(each) for each in ends]) if ends else []


def _shown(output: bytes) -> str:
    """As text: control characters, which terminals obey, are left out."""
    text = output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
