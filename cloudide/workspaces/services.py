"""What `cloudide.toml` declares of a workspace, and the services beside it: a database, a cache.

A service is a container of its own on the workspace's network, reached by its name. Each workspace
that has any has a task here, which compares what is wanted with what the engine has, as `Care` does
for the workspace itself: it starts them in the order of their dependencies, starts those again that
ended, and removes all but their volumes when the workspace stops. With the workspace they go.
What the file says of the workspace itself and of its ports is applied with them.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.errors import CloudIDEError, Conflict, EngineUnavailable, NotFound, TooLarge
from cloudide.project import configuration
from cloudide.project.problems import Problem
from cloudide.project.schema import (
    FILE,
    FILE_LIMIT,
    PortTable,
    Resources,
    ServiceTable,
    WorkspaceTable,
)
from cloudide.protocol.agent import FilesChanged
from cloudide.settings import Settings
from cloudide.workspaces.containers import Containers
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.runtime import (
    Limits,
    ObservedService,
    ServiceRuntime,
    ServiceSpec,
)
from cloudide.workspaces.service_store import Applied, ServiceStore

_log = structlog.get_logger(__name__)

RECHECK_SECONDS = 60.0
RETRY_SECONDS = 5.0
CRASH_STARTS, CRASH_SECONDS = 3, 60.0  # so many starts in so short a time, and it is left alone


class ServiceImages(Protocol):
    """Which images services may run."""

    async def ensure_service(self, reference: str, workspace: str) -> str:
        """The engine's reference of it, built or pulled first if need be.

        Raises:
            Denied: it may not be used. NotFound, Unavailable: it cannot be had.
        """
        ...


class ServiceView(msgspec.Struct, frozen=True):
    """`state`: waiting (for others, or its image), starting, running, healthy, unhealthy, failed or
    stopped. `error`: what is wrong, and what to do."""

    name: str
    image: str
    state: str
    ports: list[int]
    depends_on: list[str]
    error: str


class ServicesView(msgspec.Struct, frozen=True):
    """`outdated`: `cloudide.toml` says something else now than what is applied. `image`: what it
    asks for to be made from. `secrets`: what terminals ask for."""

    services: list[ServiceView]
    problems: list[Problem]
    outdated: bool
    image: str = ""
    secrets: list[str] = []


class _Kept:
    """The services of one workspace."""

    def __init__(self, id: str, applied: Applied) -> None:
        self.id = id
        self.applied = applied
        self.declared = msgspec.structs.replace(applied, container="")
        self.limited: tuple[str, Resources] | None = None  # of which container, to what
        self.problems: list[Problem] = []  # of the file
        self.not_limited = ""
        self.running: bool | None = None  # not known until the workspace's own task has looked
        self.applying = asyncio.Lock()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.observed: dict[str, ObservedService] = {}
        self.anew: set[str] = set()  # services that somebody asked to be restarted
        self.starts: dict[str, deque[float]] = {}
        self.errors: dict[str, str] = {}
        self.told: ServicesView | None = None


class Services(Listener):
    """Use as an async context manager; it owns a task for each workspace with services."""

    def __init__(
        self,
        store: ServiceStore,
        runtime: ServiceRuntime,
        containers: Containers,
        images: ServiceImages,
        agents: Agents,
        feed: Feed,
        settings: Settings,
    ) -> None:
        # Called when a workspace runs for the first time, with the ports that its project declares.
        self.on_first: Callable[[str, Mapping[int, PortTable]], Awaitable[None]] = _nothing
        self._store = store
        self._runtime = runtime
        self._containers = containers
        self._images = images
        self._agents = agents
        self._feed = feed
        self._settings = settings
        self._kept: dict[str, _Kept] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Services:
        for id, applied in (await self._store.all()).items():
            self._keep(id, applied)
        self._agents.subscribe(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the tasks; containers stay as they are."""
        for task in [*self._working]:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    # ── what the workspace does ─────────────────────────────────────────────────────────────────

    def started(self, id: str, container: str) -> None:
        """The workspace runs, in this container; with a new one its services begin anew."""
        kept = self._keep(id, Applied())
        fresh = kept.applied.container != container
        if kept.running and not fresh:
            return
        kept.running = True
        kept.wake.set()
        if fresh:
            self._begin(self._apply_quietly(kept, container))

    def stopping(self, id: str) -> None:
        """The workspace is not to run any more, or its container is replaced."""
        kept = self._kept.get(id)
        if kept is not None and kept.running is not False:
            kept.running = False
            kept.errors.clear()
            kept.starts.clear()
            kept.wake.set()

    def wake(self, id: str) -> None:
        """Something happened to a container of it."""
        if kept := self._kept.get(id):
            kept.wake.set()

    def wake_all(self) -> None:
        for id in self._kept:
            self.wake(id)

    async def forget(self, id: str) -> None:
        """The workspace is deleted; the engine has nothing of it any more."""
        kept = self._kept.pop(id, None)
        if kept is not None and kept.task is not None:
            kept.task.cancel()

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None:
        kept = self._kept.get(workspace_id)
        told = event.overflow or any(change.path == FILE for change in event.changes)
        if kept is not None and kept.running and told:
            self._begin(self._look_quietly(kept))

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    def view(self, id: str) -> ServicesView:
        kept = self._kept.get(id)
        if kept is None:
            return ServicesView([], [], False)
        applied = kept.applied
        services = [_view(name, table, kept) for name, table in applied.services.items()]
        problems = kept.problems
        if kept.not_limited:
            problems = [*problems, Problem(FILE, kept.not_limited)]
        declared = msgspec.structs.replace(kept.declared, container=applied.container)
        return ServicesView(
            services,
            problems,
            declared != applied,
            kept.declared.workspace.image,
            applied.workspace.secrets,
        )

    def of_workspace(self, id: str) -> WorkspaceTable:
        """What is applied of `[workspace]`."""
        kept = self._kept.get(id)
        return kept.applied.workspace if kept else WorkspaceTable()

    def ports(self, id: str) -> Mapping[int, PortTable]:
        """What is applied of `[ports.N]`."""
        kept = self._kept.get(id)
        return kept.applied.ports if kept else {}

    async def apply(self, id: str) -> ServicesView:
        """Have what `cloudide.toml` says now; those that are as it says go on running.

        Raises:
            Conflict: the workspace does not run. CloudIDEError: the file cannot be read.
        """
        kept = self._kept.get(id)
        if kept is None or not kept.running:
            raise Conflict("Start the workspace first; its services run beside it.")
        kept.starts.clear()
        await self._apply(kept)
        return self.view(id)

    def restart(self, id: str, service: str) -> ServicesView:
        """Begin one anew, with its volume as it is. Raises: NotFound: there is no such service."""
        kept = self._expect(id, service)
        kept.starts.pop(service, None)
        kept.errors.pop(service, None)
        kept.anew.add(service)
        kept.wake.set()
        return self.view(id)

    async def log(self, id: str, service: str) -> str:
        """The end of what it printed. Raises: NotFound: there is no such service, or no log."""
        self._expect(id, service)
        return await self._runtime.log(id, service)

    def _expect(self, id: str, service: str) -> _Kept:
        kept = self._kept.get(id)
        if kept is None or service not in kept.applied.services:
            raise NotFound("There is no such service in this workspace.")
        return kept

    # ── reading the file ────────────────────────────────────────────────────────────────────────

    async def _apply_quietly(self, kept: _Kept, container: str) -> None:
        try:
            await self._apply(kept, container)
        except CloudIDEError as error:
            kept.problems = [Problem(FILE, error.message)]
            self._tell(kept)

    async def _apply(self, kept: _Kept, container: str = "") -> None:
        async with kept.applying:
            # Whoever was before may have been the first to say in which container.
            container = container or kept.applied.container
            await self._look(kept)
            first = not kept.applied.container
            applied = msgspec.structs.replace(kept.declared, container=container)
            await self._store.set(kept.id, applied)
            kept.applied = applied
        if first and applied.ports:
            await self.on_first(kept.id, applied.ports)
        kept.errors.clear()
        kept.wake.set()
        self._tell(kept)

    async def _look_quietly(self, kept: _Kept) -> None:
        try:
            await self._look(kept)
        except CloudIDEError as error:
            kept.problems = [Problem(FILE, error.message)]
        self._tell(kept)

    async def _look(self, kept: _Kept) -> None:
        """Read what the file declares, and what is wrong with it."""
        try:
            content = (await self._agents.agent(kept.id).read(FILE, FILE_LIMIT)).content or b""
            if len(content) > FILE_LIMIT:  # the agent is not to be believed
                raise TooLarge
        except NotFound:
            content = b""
        text, document, mistakes = configuration.load(content)
        tables, wrong = configuration.services(document)
        workspace, wrong_workspace = configuration.workspace(document)
        ports, wrong_ports = configuration.ports(document)
        mistakes += [*wrong_workspace, *wrong_ports, *wrong]
        kept.problems = configuration.problems(text, mistakes)
        kept.declared = Applied("", tables, workspace or WorkspaceTable(), ports)

    # ── the loop ────────────────────────────────────────────────────────────────────────────────

    def _keep(self, id: str, applied: Applied) -> _Kept:
        if id not in self._kept:
            kept = self._kept[id] = _Kept(id, applied)
            kept.task = self._begin(self._run(kept))
        return self._kept[id]

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    async def _run(self, kept: _Kept) -> None:
        while True:
            kept.wake.clear()
            pause = RECHECK_SECONDS
            try:
                if kept.running is not None:
                    pause = await self._advance(kept)
            except EngineUnavailable:
                pause = RETRY_SECONDS
            except Exception:
                _log.exception("services.step_failed", workspace=kept.id)
            self._tell(kept)
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await kept.wake.wait()
                except TimeoutError:
                    continue

    async def _advance(self, kept: _Kept) -> float:
        """Do one thing; returns how long to sleep unless woken."""
        kept.observed = {each.service: each for each in await self._runtime.list(kept.id)}
        self._tell(kept)
        wanted = kept.applied.services if kept.running else {}
        for name, observed in kept.observed.items():
            table = wanted.get(name)
            right = table is not None and observed.version == self._version(kept, name, table)
            right = right and name not in kept.anew
            if right and (observed.running or self._crashed(kept, name, observed)):
                continue
            _log.info(
                "service.removed",
                workspace=kept.id,
                service=name,
                wanted=table is not None,
                outdated=not right,
                exit_code=None if observed.running else observed.exit_code,
                oom_killed=observed.oom_killed,
            )
            kept.anew.discard(name)
            await self._runtime.remove(kept.id, name, self._settings.stop_timeout)
            return 0.0
        for name, table in wanted.items():
            if name in kept.observed or not all(self._ready(kept, d) for d in table.depends_on):
                continue
            if kept.errors.get(name):
                continue
            try:
                await self._start(kept, name, table)
            except EngineUnavailable:
                raise
            except CloudIDEError as error:
                kept.errors[name] = error.message
            return 0.0
        if kept.running:
            await self._limit(kept)
        return RECHECK_SECONDS

    async def _limit(self, kept: _Kept) -> None:
        """Hold the workspace's container to what is applied of `[workspace.resources]`."""
        asked = kept.applied.workspace.resources or Resources()
        wanted = kept.applied.container, asked
        fresh = kept.limited is None or kept.limited[0] != wanted[0]
        # A new container has what the server allows, which is what nothing asked for means.
        if wanted == kept.limited or (fresh and asked == Resources()):
            return
        try:
            await self._containers.limit(kept.id, self._limits(asked))
            kept.limited, kept.not_limited = wanted, ""
        except NotFound:
            return  # it is gone; its own task has seen it, or soon will
        except EngineUnavailable as error:
            _log.warning("workspace.not_limited", workspace=kept.id, error=error.message)
            kept.not_limited = (
                "[workspace]: the resources could not be set; it may be using more now. Restart "
                "the workspace."
            )

    def _crashed(self, kept: _Kept, name: str, observed: ObservedService) -> bool:
        starts = kept.starts.get(name, deque())
        if len(starts) < CRASH_STARTS or starts[-1] - starts[0] > CRASH_SECONDS:
            return False
        why = "ran out of memory" if observed.oom_killed else f"ended with {observed.exit_code}"
        kept.errors[name] = (
            f"It {why}, {CRASH_STARTS} times within a minute. Look at its log, mend it in {FILE}, "
            "then start it again."
        )
        return True

    def _ready(self, kept: _Kept, name: str) -> bool:
        observed = kept.observed.get(name)
        return observed is not None and observed.running and observed.health in ("", "healthy")

    async def _start(self, kept: _Kept, name: str, table: ServiceTable) -> None:
        image = await self._images.ensure_service(table.image, kept.id)
        command = shlex.split(table.command) if isinstance(table.command, str) else table.command
        await self._containers.fence()
        kept.starts.setdefault(name, deque(maxlen=CRASH_STARTS)).append(time.monotonic())
        await self._runtime.start(
            ServiceSpec(
                workspace_id=kept.id,
                service=name,
                version=self._version(kept, name, table),
                image=image,
                command=command or None,
                environment=table.env,
                volume=table.volume,
                health=table.health,
                limits=self._limits(table.resources or Resources()),
            )
        )

    def _limits(self, asked: Resources) -> Limits:
        """What it asked for, and no more than a workspace may use."""
        settings = self._settings
        memory = configuration.bytes_of(asked.memory or "") or settings.workspace_memory
        return Limits(
            cpus=min(asked.cpus or settings.workspace_cpus, settings.workspace_cpus),
            memory=min(memory, settings.workspace_memory),
            processes=min(
                asked.processes or settings.workspace_processes, settings.workspace_processes
            ),
        )

    @staticmethod
    def _version(kept: _Kept, name: str, table: ServiceTable) -> str:
        """What it is made as: a digest. With the workspace's container it is made anew."""
        content = msgspec.json.encode([kept.applied.container, name, table])
        return hashlib.sha256(content).hexdigest()

    def _tell(self, kept: _Kept) -> None:
        view = self.view(kept.id)
        if view != kept.told and kept.id in self._kept:
            kept.told = view
            self._feed.publish("services", kept.id, msgspec.to_builtins(view))


async def _nothing(_id: str, _ports: Mapping[int, PortTable]) -> None:
    return None


def _view(name: str, table: ServiceTable, kept: _Kept) -> ServiceView:
    observed, error = kept.observed.get(name), kept.errors.get(name, "")
    if error:
        state = "failed"
    elif not kept.running:
        state = "stopped"
    elif observed is None or not observed.running:
        state = "waiting"
    else:
        state = observed.health or "running"
        if state == "unhealthy" and table.health is not None:
            error = (
                f"Its health check failed {table.health.retries} times in a row. Look at its log."
            )
    return ServiceView(name, table.image, state, table.ports, table.depends_on, error)
