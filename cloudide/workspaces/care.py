"""The care of one workspace: its task, which takes one step after another.

It looks at what is wanted and what is there, does the one next step (`lifecycle.next_step`), and
looks again; it sleeps when there is nothing to do and is woken by a request, an event of the
engine, or its agent. An engine that does not answer is waited for; it never reads as "gone".
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, EngineUnavailable
from cloudide.project.schema import FILE
from cloudide.settings import Settings
from cloudide.workspaces.containers import Containers, Images
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.initialize import asked_for, catch_up, clone
from cloudide.workspaces.lifecycle import (
    Container,
    Desired,
    Situation,
    State,
    Step,
    next_step,
    state_of,
)
from cloudide.workspaces.runtime import Observed, Runtime
from cloudide.workspaces.services import Services
from cloudide.workspaces.store import DEFAULT_IMAGE, Store, Workspace

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


async def _nothing(_: str) -> None:
    return None


async def _unseeded(_: Workspace) -> bool:
    return False


async def _none(_team: str, _url: str, _ref: str) -> str:
    return ""


async def _unprepared(_agent: Agent, _team: str) -> None:
    return None


async def _as_it_is(_: Workspace, image: str) -> str:
    return image


def _as_nobody(_: Workspace) -> AbstractAsyncContextManager[Mapping[str, str]]:
    return nullcontext(dict[str, str]())


@dataclass
class Means:
    """What the care of every workspace needs. What `app.py` wires later does nothing until then."""

    store: Store
    runtime: Runtime
    containers: Containers
    agents: Agents
    images: Images
    services: Services
    feed: Feed
    settings: Settings
    before_stop: Callable[[str], Awaitable[None]] = _nothing
    after_delete: Callable[[str], Awaitable[None]] = _nothing
    cloning: Cloning = _as_nobody
    seed: Callable[[Workspace], Awaitable[bool]] = _unseeded
    after_first_start: Callable[[Workspace], None] = lambda workspace: None
    image_of_prebuild: Callable[[str, str, str], Awaitable[str]] = _none
    on_running: Callable[[str, str], None] = lambda workspace, container: None
    prepare: Callable[[Agent, str], Awaitable[None]] = _unprepared
    choose_image: Callable[[Workspace, str], Awaitable[str]] = _as_it_is
    on_state: Callable[[], None] = lambda: None
    about_image: Callable[[Workspace], Mapping[str, Any]] = lambda workspace: {}


class Care:
    """A workspace in the supervisor's care; `run` is its task, until it is deleted."""

    def __init__(self, workspace: Workspace, means: Means) -> None:
        self.id = workspace.id
        self.workspace = workspace
        self.state = State.PENDING
        self.error = workspace.error
        self._means = means
        self._wake = asyncio.Event()
        self._starts: deque[float] = deque(maxlen=CRASH_STARTS)
        self._waiting_since = 0.0
        self._deleted = False
        self._container = ""
        self._first = False  # it was filled just now, and has not rested since

    def wake(self) -> None:
        """Look at it now: something has happened that it may be about."""
        self._waiting_since = 0.0
        self._wake.set()

    def claimed(self) -> None:
        """It was ready a moment ago, and nothing is left to be done: where its agent is connected
        its container runs, so that nobody waits for the engine to say so."""
        self._first = True
        if self._agent() is not None:
            self.state = State.RUNNING
            self._means.feed.publish("workspace", self.id, self.view())

    async def wanted(self) -> None:
        """Look at what is wanted of it, which has just changed, as if nothing had failed before."""
        await self.reload()
        self._starts.clear()
        self.error = ""
        if self.workspace.desired is Desired.RUNNING:
            self._means.feed.begin(self.id)
        self._wake.set()

    async def reload(self) -> None:
        """Read its row anew."""
        self.workspace = await self._means.store.get(self.id)

    def view(self) -> dict[str, Any]:
        """The workspace as the API shows it."""
        workspace = self.workspace
        view: dict[str, Any] = {
            "id": self.id,
            "name": workspace.name,
            "image": workspace.made_from,
            "state": self.state,
            "desired_state": workspace.desired,
            "owner": workspace.owner,
            "owner_name": workspace.owner_name,
            "team": workspace.team,
            "team_name": workspace.team_name,
            "team_role": workspace.team_role,
            "created_at": datetime.fromtimestamp(workspace.created_at, UTC).isoformat(),
            **self._means.about_image(workspace),
        }
        if self.error:
            view["error"] = self.error
        if workspace.stopped_by:
            view["stopped_by"] = workspace.stopped_by
        return view

    async def run(self) -> None:
        while not self._deleted:
            self._wake.clear()
            try:
                pause = await self._advance()
            except EngineUnavailable as error:
                # Unknown is not gone: nothing is concluded, and it goes on where it was.
                self._show(self.state, error.message)
                pause = RETRY_SECONDS
            except CloudIDEError as error:
                self._show(self.state, error.message)
                pause = 2 * RETRY_SECONDS
            except Exception:
                _log.exception("supervisor.step_failed", workspace=self.id)
                self._show(self.state, "A step failed on the server; it is tried again.")
                pause = RECHECK_SECONDS
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _advance(self) -> float:
        """Do the next step; returns how long to sleep unless woken."""
        situation = await self._situation()
        step = next_step(situation)
        state = state_of(situation)
        if step is Step.NOTHING:
            error = self.error
            if situation.crashed:
                error = (
                    f"The container ended {CRASH_STARTS} times within a minute. "
                    "Look at its image, then start it again."
                )
            elif state is State.RUNNING:
                error = ""
                if self._first:
                    self._first = False
                    self._means.after_first_start(self.workspace)
                self._means.services.started(self.id, self._container)
                self._means.on_running(self.id, self._container)
            elif state is State.STOPPED:
                self._means.services.stopping(self.id)
            self._show(state, error)
            await self._announce()
            return RECHECK_SECONDS
        if step is Step.WAIT_FOR_AGENT:
            return self._await_agent(state)
        self._show(state, "" if state is not State.STOPPING else self.error)
        began = time.monotonic()
        message = _MESSAGES[step]
        # A workspace that begins empty has nothing to fetch, and nothing to be told of.
        telling = step is not Step.INITIALIZE or bool(self.workspace.git_url)
        if telling:
            self._progress(step, message, None)
        await self._do(step)
        if telling:
            self._progress(step, message, time.monotonic() - began)
        return 0.0

    async def _situation(self) -> Situation:
        workspace = self.workspace
        observed = await self._means.runtime.inspect(self.id)
        self._container = observed.container_id if observed else ""
        container = container_of(observed)
        return Situation(
            desired=workspace.desired,
            generation=workspace.generation,
            container=container,
            container_generation=observed.generation if observed else 0,
            image_ready=container is not Container.ABSENT
            or workspace.desired is not Desired.RUNNING
            or await self._means.images.is_ready(workspace.made_from, self.id),
            agent_connected=self._agent() is not None,
            initialized=workspace.initialized,
            crashed=len(self._starts) == CRASH_STARTS
            and self._starts[-1] - self._starts[0] < CRASH_SECONDS,
        )

    async def _do(self, step: Step) -> None:
        workspace = self.workspace
        match step:
            case Step.BUILD:
                await self._means.images.ensure(
                    workspace.made_from, lambda progress: self._say(progress.message), self.id
                )
            case Step.CREATE:
                await self._means.containers.create(
                    self.id,
                    workspace.generation,
                    workspace.made_from,
                    lambda progress: self._say(progress.message),
                    workspace.team,
                    workspace.git_url,
                )
            case Step.START:
                await self._means.containers.fence()
                self._starts.append(time.monotonic())
                await self._means.runtime.start(self.id)
                self._waiting_since = time.monotonic()
            case Step.INITIALIZE:
                await self._initialize()
            case Step.STOP:
                await self._means.before_stop(self.id)
                self._means.services.stopping(self.id)
                await self._means.runtime.stop(self.id, self._means.settings.stop_timeout)
            case Step.REMOVE:
                self._means.services.stopping(self.id)
                await self._means.runtime.remove(self.id)
            case Step.DESTROY:
                await self._destroy()
            case _:
                raise AssertionError(step)

    def _await_agent(self, state: State) -> float:
        """The agent dials in by itself and wakes this task; say so when it takes too long."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        left = self._waiting_since + self._means.settings.start_timeout - now
        if left > 0:
            self._show(state, "")
            return left
        self._show(
            state,
            "The container runs, but its agent does not connect. Restart the workspace; if that "
            "does not help, look at the container's log.",
        )
        return RECHECK_SECONDS

    async def _initialize(self) -> None:
        workspace = self.workspace
        if workspace.git_url:
            agent = self._means.agents.agent(self.id)
            try:
                seeded = bool(workspace.prebuilt) or await self._means.seed(workspace)
                async with self._means.cloning(workspace) as environment:
                    await (catch_up if seeded else clone)(
                        agent,
                        workspace.git_url,
                        workspace.git_ref,
                        lambda line: self._say(line),
                        self._means.settings.clone_timeout,
                        environment,
                    )
            except EngineUnavailable:
                raise
            except CloudIDEError as error:
                if self._agent() is not agent:
                    raise  # the container went away meanwhile; that is another matter
                # Trying again by itself would fail again: stop, and say what to do.
                self.error = (
                    f"{error.message} Start the workspace to try again, or delete it and create "
                    "it with another address."
                )
                await self._means.store.want(self.id, Desired.STOPPED, error=self.error)
                await self.reload()
                return
        # It is filled from here on, whatever becomes of the rest: a clone needs an empty folder, so
        # that nothing after it may have it tried again.
        await self._means.store.initialized(self.id, workspace.image)
        await self._prepare()
        if not workspace.image:
            image = await self._declared_image()
            await self._means.store.initialized(self.id, image)
            if image != workspace.made_from:
                await self._means.store.reimage(self.id, image)
        await self.reload()
        self._first = True

    async def _prepare(self) -> None:
        """What makes its programs faster; it is as good without."""
        try:
            await self._means.prepare(self._means.agents.agent(self.id), self.workspace.team)
        except (TimeoutError, CloudIDEError) as error:
            _log.warning("workspace.not_prepared", workspace=self.id, error=str(error) or "timeout")
            self._say("The dependency caches could not be copied; packages come from the network.")

    async def _declared_image(self) -> str:
        """The image that the project asks for, if the workspace's people may use it and a container
        can be made of it: it is built now if need be. Else the default, and people are told."""
        try:
            asked = await asked_for(self._means.agents.agent(self.id))
            if not asked:
                return DEFAULT_IMAGE
            image = await self._means.choose_image(self.workspace, asked)
            if not await self._means.images.is_ready(image, self.id):
                await self._means.images.ensure(
                    image, lambda progress: self._say(progress.message), self.id
                )
        except CloudIDEError as error:
            _log.warning("workspace.image_not_used", workspace=self.id, error=error.message)
            self._say(
                f"{FILE} asks for another image, which could not be used: {error.message} "
                f"The workspace has the image {DEFAULT_IMAGE}; choose another one in its settings."
            )
            return DEFAULT_IMAGE
        return image

    async def _destroy(self) -> None:
        await self._means.services.forget(self.id)
        await self._means.runtime.destroy(self.id)
        await self._means.agents.forget(self.id)
        await self._means.after_delete(self.id)
        await self._means.store.delete(self.id)
        self._deleted = True

    def _agent(self) -> Agent | None:
        try:
            return self._means.agents.agent(self.id)
        except CloudIDEError:
            return None

    # ── telling ─────────────────────────────────────────────────────────────────────────────────

    def _show(self, state: State, error: str) -> None:
        if state is self.state and error == self.error:
            return
        self.state, self.error = state, error
        _log.info("workspace.state", workspace=self.id, state=state, error=error or None)
        self._means.feed.publish("workspace", self.id, self.view())
        self._means.on_state()

    async def _announce(self) -> None:
        """Tell the world of a state in which it rests."""
        workspace = self.workspace
        if self.error and self.state is not State.RUNNING:
            await self._means.store.announce(self.id, "failed", error=self.error)
        elif self.state is State.RUNNING:
            await self._means.store.announce(self.id, "started")
        elif self.state is State.STOPPED:
            await self._means.store.announce(self.id, "stopped", stopped_by=workspace.stopped_by)

    def _progress(self, step: Step, message: str, seconds: float | None) -> None:
        body: dict[str, Any] = {"step": step, "message": message, "done": seconds is not None}
        if seconds is not None:
            body["seconds"] = round(seconds, 3)
        self._means.feed.publish("progress", self.id, body)

    def _say(self, line: str) -> None:
        self._means.feed.publish("log", self.id, {"line": line})


def container_of(observed: Observed | None) -> Container:
    if observed is None:
        return Container.ABSENT
    if observed.status == "created":
        return Container.CREATED
    # A paused or restarting container is there and comes back; it is not to be made anew.
    if observed.status in ("running", "paused", "restarting"):
        return Container.RUNNING
    return Container.EXITED
