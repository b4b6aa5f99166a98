"""The supervisor: the only one who starts or stops containers.

Each workspace has one task that looks at what is wanted and what is there, does the one next step
(`lifecycle.next_step`), and looks again; it sleeps when there is nothing to do and is woken by a
request, an event of the engine, or its agent. After a restart of the server the same loop finds the
containers as they are. An engine that does not answer is waited for; it never reads as "gone".
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, Conflict, EngineUnavailable, NotFound
from cloudide.identity.users import clean_name
from cloudide.protocol.agent import FilesChanged
from cloudide.settings import Settings
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.initialize import check_git_ref, check_git_url, clone
from cloudide.workspaces.lifecycle import (
    Container,
    Desired,
    Situation,
    State,
    Step,
    next_step,
    state_of,
)
from cloudide.workspaces.runtime import ContainerSpec, Limits, Observed, Runtime
from cloudide.workspaces.store import Store, Workspace

_log = structlog.get_logger(__name__)

RECHECK_SECONDS = 60.0
RETRY_SECONDS = 2.0
CRASH_STARTS, CRASH_SECONDS = 3, 60.0  # so many starts in so short a time are a crash loop

_MESSAGES = {
    Step.BUILD: "Building the image",
    Step.CREATE: "Creating the container",
    Step.START: "Starting the container",
    Step.WAIT_FOR_AGENT: "Connecting to the workspace",
    Step.INITIALIZE: "Fetching the project",
    Step.STOP: "Stopping the container",
    Step.REMOVE: "Removing the container",
    Step.DESTROY: "Deleting the workspace's files",
}


# How Git reaches the repository of a workspace while it is cloned: an environment for it.
Cloning = Callable[[Workspace], AbstractAsyncContextManager[Mapping[str, str]]]


class Images(Protocol):
    """What the supervisor needs of the image catalogue."""

    async def is_ready(self, id: str, workspace: str = "") -> bool:
        """Whether a container can be made of it at once. Raises: NotFound: unknown image.

        `workspace`: for which one; which version of an image it gets may depend on it.
        """
        ...

    async def ensure(
        self, id: str, report: Callable[[Any], None] = ..., workspace: str = ""
    ) -> str:
        """The engine's reference of it, built first if need be. Raises: NotFound, Unavailable.

        With a `workspace`, it is the one that its next container is made of.
        """
        ...

    async def ensure_agent_volume(self, report: Callable[[Any], None] = ...) -> str:
        """The volume of the agent's bundle, made where it is missing."""
        ...


class _Kept:
    """A workspace in the supervisor's care."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.state = State.PENDING
        self.error = workspace.error
        self.wake = asyncio.Event()
        self.starts: deque[float] = deque(maxlen=CRASH_STARTS)
        self.waiting_since = 0.0
        self.task: asyncio.Task[None] | None = None


class Supervisor(Listener):
    """Use as an async context manager; it owns a task for each workspace."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        agents: Agents,
        images: Images,
        feed: Feed,
        settings: Settings,
    ) -> None:
        self.before_stop: Callable[[str], Awaitable[None]] = _nothing
        self.after_delete: Callable[[str], Awaitable[None]] = _nothing
        self.cloning: Cloning = _as_nobody
        self.after_first_start: Callable[[Workspace], None] = lambda workspace: None
        self.about_image: Callable[[Workspace], Mapping[str, Any]] = lambda workspace: {}
        self._store = store
        self._runtime = runtime
        self._agents = agents
        self._images = images
        self._feed = feed
        self._settings = settings
        self._kept: dict[str, _Kept] = {}
        self._tasks = asyncio.TaskGroup()
        self._following: asyncio.Task[None] | None = None
        self._fenced = asyncio.Event()
        self._limits = Limits(
            cpus=settings.workspace_cpus,
            memory=settings.workspace_memory,
            processes=settings.workspace_processes,
        )

    async def __aenter__(self) -> Supervisor:
        await self._tasks.__aenter__()
        self._agents.subscribe(self)
        for workspace in await self._store.all():
            # Listen before looking: agents of running workspaces have been dialling all along.
            await self._agents.listen(workspace.id)
            self._keep(workspace)
        self._following = self._tasks.create_task(self._follow_engine())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the tasks; containers stay as they are."""
        if self._following is not None:
            self._following.cancel()
        for kept in self._kept.values():
            if kept.task is not None:
                kept.task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def create(
        self,
        owner: str,
        name: str,
        image: str,
        git_url: str = "",
        git_ref: str = "",
        team: str = "",
    ) -> Workspace:
        """Begin a workspace of a person's, or of a team's.

        Raises:
            InvalidInput: the name or the Git address is not one.
            NotFound: there is no such image.
            TooMany: the person, or the team, has as many as there may be.
        """
        name = clean_name(name, "The name of a workspace")
        git = (check_git_url(git_url), check_git_ref(git_ref)) if git_url else ("", "")
        await self._images.is_ready(image)
        id = "w" + secrets.token_hex(6)
        await self._store.create(id, name, image, owner, git, team)
        await self._agents.listen(id)
        workspace = await self._store.get(id)
        self._keep(workspace)
        return workspace

    async def want(
        self, id: str, desired: Desired, *, anew: bool = False, stopped_by: str = ""
    ) -> None:
        """Ask for another state. A restart is RUNNING with `anew`."""
        kept = self._find(id)
        if kept.workspace.desired is Desired.DELETED:
            raise Conflict("The workspace is being deleted.")
        await self._store.want(id, desired, anew=anew, stopped_by=stopped_by)
        kept.workspace = await self._store.get(id)
        kept.starts.clear()
        kept.error = ""
        if desired is Desired.RUNNING:
            self._feed.begin(id)
        kept.wake.set()

    async def describe(self, id: str, *, name: str | None, team_role: str | None) -> None:
        """Change its name, or what plain members of its team are in it.

        Raises:
            InvalidInput: it is no name.
        """
        if name is not None:
            name = clean_name(name, "The name of a workspace")
        await self._store.describe(id, name=name, team_role=team_role)
        await self.retell(id)

    async def give(self, id: str, owner: str, team: str = "") -> None:
        """Give it to a person, or to a team. Raises: TooMany: they have as many as there may be."""
        await self._store.give(id, owner, team)
        await self.retell(id)

    async def retell(self, id: str) -> None:
        """Read what is said of it anew, and tell all who watch; also those who watch their list."""
        kept = self._find(id)
        kept.workspace = await self._store.get(id)
        self._feed.publish("workspace", id, self.view(id))

    def view(self, id: str) -> dict[str, Any]:
        """A workspace as the API shows it."""
        kept = self._find(id)
        workspace = kept.workspace
        view: dict[str, Any] = {
            "id": workspace.id,
            "name": workspace.name,
            "image": workspace.image,
            "state": kept.state,
            "desired_state": workspace.desired,
            "owner": workspace.owner,
            "owner_name": workspace.owner_name,
            "team": workspace.team,
            "team_name": workspace.team_name,
            "team_role": workspace.team_role,
            "created_at": datetime.fromtimestamp(workspace.created_at, UTC).isoformat(),
            **self.about_image(workspace),
        }
        if kept.error:
            view["error"] = kept.error
        if workspace.stopped_by:
            view["stopped_by"] = workspace.stopped_by
        return view

    def states(self) -> list[State]:
        return [kept.state for kept in self._kept.values()]

    def running(self) -> list[str]:
        """The workspaces that run and are to run."""
        return [
            id
            for id, kept in self._kept.items()
            if kept.state is State.RUNNING and kept.workspace.desired is Desired.RUNNING
        ]

    def exists(self, id: str) -> bool:
        return id in self._kept

    # ── the loop ────────────────────────────────────────────────────────────────────────────────

    def _keep(self, workspace: Workspace) -> None:
        kept = self._kept[workspace.id] = _Kept(workspace)
        kept.task = self._tasks.create_task(self._care(kept))

    async def _care(self, kept: _Kept) -> None:
        id = kept.workspace.id
        while id in self._kept:
            kept.wake.clear()
            try:
                pause = await self._advance(kept)
            except EngineUnavailable as error:
                # Unknown is not gone: nothing is concluded, and it goes on where it was.
                self._show(kept, kept.state, error.message)
                pause = RETRY_SECONDS
            except CloudIDEError as error:
                self._show(kept, kept.state, error.message)
                pause = 2 * RETRY_SECONDS
            except Exception:
                _log.exception("supervisor.step_failed", workspace=id)
                self._show(kept, kept.state, "A step failed on the server; it is tried again.")
                pause = RECHECK_SECONDS
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await kept.wake.wait()
                except TimeoutError:
                    continue

    async def _advance(self, kept: _Kept) -> float:
        """Do the next step; returns how long to sleep unless woken."""
        situation = await self._situation(kept)
        step = next_step(situation)
        state = state_of(situation)
        id = kept.workspace.id
        if step is Step.NOTHING:
            error = kept.error
            if situation.crashed:
                error = (
                    f"The container ended {CRASH_STARTS} times within a minute. "
                    "Look at its image, then start it again."
                )
            elif state is State.RUNNING:
                error = ""
            self._show(kept, state, error)
            await self._announce(kept)
            return RECHECK_SECONDS
        if step is Step.WAIT_FOR_AGENT:
            return self._await_agent(kept, state)
        self._show(kept, state, "" if state is not State.STOPPING else kept.error)
        began = time.monotonic()
        message = _MESSAGES[step]
        # A workspace that begins empty has nothing to fetch, and nothing to be told of.
        telling = step is not Step.INITIALIZE or bool(kept.workspace.git_url)
        if telling:
            self._progress(id, step, message, None)
        await self._do(kept, step)
        if telling:
            self._progress(id, step, message, time.monotonic() - began)
        return 0.0

    async def _situation(self, kept: _Kept) -> Situation:
        workspace = kept.workspace
        observed = await self._runtime.inspect(workspace.id)
        container = _container(observed)
        return Situation(
            desired=workspace.desired,
            generation=workspace.generation,
            container=container,
            container_generation=observed.generation if observed else 0,
            image_ready=container is not Container.ABSENT
            or workspace.desired is not Desired.RUNNING
            or await self._images.is_ready(workspace.image, workspace.id),
            agent_connected=self._agent(workspace.id) is not None,
            initialized=workspace.initialized,
            crashed=len(kept.starts) == CRASH_STARTS
            and kept.starts[-1] - kept.starts[0] < CRASH_SECONDS,
        )

    async def _do(self, kept: _Kept, step: Step) -> None:
        workspace = kept.workspace
        id = workspace.id
        match step:
            case Step.BUILD:
                await self._images.ensure(
                    workspace.image, lambda progress: self._say(id, progress.message), id
                )
            case Step.CREATE:
                await self._create(workspace)
            case Step.START:
                await self._fence()
                kept.starts.append(time.monotonic())
                await self._runtime.start(id)
                kept.waiting_since = time.monotonic()
            case Step.INITIALIZE:
                await self._initialize(kept)
            case Step.STOP:
                await self.before_stop(id)
                await self._runtime.stop(id, self._settings.stop_timeout)
            case Step.REMOVE:
                await self._runtime.remove(id)
            case Step.DESTROY:
                await self._destroy(kept)
            case _:
                raise AssertionError(step)

    async def _fence(self) -> None:
        """Make sure, once for each connection to the engine, that no container runs unfenced."""
        if not self._fenced.is_set():
            await self._runtime.check()
            self._fenced.set()

    async def _create(self, workspace: Workspace) -> None:
        settings = self._settings
        bundle = settings.ca_bundle if settings.workspace_ca_bundle else ""

        def report(progress: Any) -> None:
            self._say(workspace.id, progress.message)

        await self._runtime.create(
            ContainerSpec(
                workspace_id=workspace.id,
                generation=workspace.generation,
                image=await self._images.ensure(workspace.image, report, workspace.id),
                agent_volume=await self._images.ensure_agent_volume(report),
                link_directory=await self._agents.listen(workspace.id),
                limits=self._limits,
                ca_bundle=Path(bundle) if bundle else None,
                environment={"CLOUDIDE_WORKSPACE": workspace.id, **settings.preview_variables},
            )
        )

    def _await_agent(self, kept: _Kept, state: State) -> float:
        """The agent dials in by itself and wakes this task; say so when it takes too long."""
        now = time.monotonic()
        kept.waiting_since = kept.waiting_since or now
        left = kept.waiting_since + self._settings.start_timeout - now
        if left > 0:
            self._show(kept, state, "")
            return left
        self._show(
            kept,
            state,
            "The container runs, but its agent does not connect. Restart the workspace; if that "
            "does not help, look at the container's log.",
        )
        return RECHECK_SECONDS

    async def _initialize(self, kept: _Kept) -> None:
        workspace = kept.workspace
        id = workspace.id
        if workspace.git_url:
            agent = self._agents.agent(id)
            try:
                async with self.cloning(workspace) as environment:
                    await clone(
                        agent,
                        workspace.git_url,
                        workspace.git_ref,
                        lambda line: self._say(id, line),
                        self._settings.clone_timeout,
                        environment,
                    )
            except EngineUnavailable:
                raise
            except CloudIDEError as error:
                if self._agent(id) is not agent:
                    raise  # the container went away meanwhile; that is another matter
                # Trying again by itself would fail again: stop, and say what to do.
                kept.error = (
                    f"{error.message} Start the workspace to try again, or delete it and create "
                    "it with another address."
                )
                await self._store.want(id, Desired.STOPPED, error=kept.error)
                kept.workspace = await self._store.get(id)
                return
        await self._store.initialized(id)
        kept.workspace = await self._store.get(id)
        self.after_first_start(kept.workspace)

    async def _destroy(self, kept: _Kept) -> None:
        id = kept.workspace.id
        await self._runtime.destroy(id)
        await self._agents.forget(id)
        await self.after_delete(id)
        await self._store.delete(id)
        del self._kept[id]
        self._feed.publish("gone", id, {"id": id})
        self._feed.begin(id)

    # ── telling ─────────────────────────────────────────────────────────────────────────────────

    def _show(self, kept: _Kept, state: State, error: str) -> None:
        if state is kept.state and error == kept.error:
            return
        kept.state, kept.error = state, error
        id = kept.workspace.id
        _log.info("workspace.state", workspace=id, state=state, error=error or None)
        self._feed.publish("workspace", id, self.view(id))

    async def _announce(self, kept: _Kept) -> None:
        """Tell the world of a state in which it rests."""
        workspace = kept.workspace
        if kept.error and kept.state is not State.RUNNING:
            await self._store.announce(workspace.id, "failed", error=kept.error)
        elif kept.state is State.RUNNING:
            await self._store.announce(workspace.id, "started")
        elif kept.state is State.STOPPED:
            await self._store.announce(workspace.id, "stopped", stopped_by=workspace.stopped_by)

    def _progress(self, id: str, step: Step, message: str, seconds: float | None) -> None:
        body: dict[str, Any] = {"step": step, "message": message, "done": seconds is not None}
        if seconds is not None:
            body["seconds"] = round(seconds, 3)
        self._feed.publish("progress", id, body)

    def _say(self, id: str, line: str) -> None:
        self._feed.publish("log", id, {"line": line})

    # ── what is heard ───────────────────────────────────────────────────────────────────────────

    def connected(self, agent: Agent) -> None:
        self._wake(agent.workspace_id)

    def disconnected(self, workspace_id: str) -> None:
        self._wake(workspace_id)

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None:
        changes = [{"path": each.path, "kind": each.kind} for each in event.changes]
        body = {"changes": changes, "overflow": event.overflow}
        self._feed.publish("files", workspace_id, body)

    async def _follow_engine(self) -> None:
        async for event in self._runtime.events():
            if event.action == "oom":
                self._say(event.workspace_id, "The workspace ran out of memory.")
            if event.workspace_id:
                self._wake(event.workspace_id)
                continue
            # A connection to the engine: it may be a new one, with none of our fences.
            self._fenced.clear()
            try:
                await self._fence()
            except EngineUnavailable as error:
                _log.warning("engine.not_checked", error=error.message)
            for id in self._kept:
                self._wake(id)

    def _wake(self, id: str) -> None:
        if kept := self._kept.get(id):
            kept.waiting_since = 0.0
            kept.wake.set()

    def _agent(self, id: str) -> Agent | None:
        try:
            return self._agents.agent(id)
        except CloudIDEError:
            return None

    def _find(self, id: str) -> _Kept:
        kept = self._kept.get(id)
        if kept is None:
            raise NotFound("There is no such workspace.")
        return kept


def _container(observed: Observed | None) -> Container:
    if observed is None:
        return Container.ABSENT
    if observed.status == "created":
        return Container.CREATED
    # A paused or restarting container is there and comes back; it is not to be made anew.
    if observed.status in ("running", "paused", "restarting"):
        return Container.RUNNING
    return Container.EXITED


async def _nothing(_: str) -> None:
    return None


def _as_nobody(_: Workspace) -> AbstractAsyncContextManager[Mapping[str, str]]:
    return nullcontext(dict[str, str]())
