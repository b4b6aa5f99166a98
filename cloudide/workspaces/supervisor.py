"""The supervisor: the only one who starts or stops containers.

Each workspace is in a `Care` of its own, a task that brings it from what is there to what is
wanted. Here is what people ask of workspaces, and who hears of what happens to them. After a
restart of the server everything is found as it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.errors import Conflict, EngineUnavailable, NotFound
from cloudide.identity.users import clean_name
from cloudide.protocol.agent import FilesChanged
from cloudide.settings import Settings
from cloudide.workspaces.care import Care, Means
from cloudide.workspaces.containers import Containers, Images
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.initialize import check_git_ref, check_git_url
from cloudide.workspaces.lifecycle import Desired, State
from cloudide.workspaces.pool_store import PoolStore
from cloudide.workspaces.pools import Pools
from cloudide.workspaces.runtime import Runtime
from cloudide.workspaces.services import Services
from cloudide.workspaces.store import DEFAULT_IMAGE, Store, Workspace

_log = structlog.get_logger(__name__)

STARTING = (State.PENDING, State.BUILDING, State.CREATING, State.INITIALIZING)


class Supervisor(Listener):
    """Use as an async context manager; it owns a task for each workspace."""

    def __init__(
        self,
        store: Store,
        pools: PoolStore,
        runtime: Runtime,
        agents: Agents,
        images: Images,
        services: Services,
        containers: Containers,
        feed: Feed,
        settings: Settings,
    ) -> None:
        self.means = Means(store, runtime, containers, agents, images, services, feed, settings)
        self._store = store
        self._agents = agents
        self._images = images
        self._feed = feed
        self._kept: dict[str, Care] = {}
        self._tasks = asyncio.TaskGroup()
        self.pools = Pools(pools, runtime, containers, agents, self, settings)
        self.means.on_state = self.pools.look
        self._working: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Supervisor:
        await self._tasks.__aenter__()
        self._agents.subscribe(self)
        for workspace in await self._store.all():
            # Listen before looking: agents of running workspaces have been dialling all along.
            await self._agents.listen(workspace.id)
            self._keep(workspace)
        await self.pools.__aenter__()
        self._begin(self._follow_engine())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the tasks; containers stay as they are."""
        await self.pools.__aexit__(kind, error, trace)
        for task in [*self._working]:
            task.cancel()
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

        `image` "": what the project asks for.

        Raises:
            InvalidInput: the name or the Git address is not one.
            NotFound: there is no such image.
            TooMany: the person, or the team, has as many as there may be.
        """
        name = clean_name(name, "The name of a workspace")
        git = (check_git_url(git_url), check_git_ref(git_ref)) if git_url else ("", "")
        if not git_url:
            image = image or DEFAULT_IMAGE
        slot = self.pools.take_filled(image, team, *git) if git_url else None
        if slot is not None:
            image = slot.image
        else:
            if git_url and not image:
                image = await self.means.image_of_prebuild(team, *git)
            # The image is decided first: one of another image would be what is never made anew.
            slot = self.pools.take(image or DEFAULT_IMAGE, team)
        if slot is None:
            await self._images.is_ready(image or DEFAULT_IMAGE)

        async def make() -> Workspace:
            id = slot.id if slot else "w" + secrets.token_hex(6)
            pooled = slot is not None
            try:
                await self._store.create(
                    *(id, name, image, owner, git, team),
                    from_pool=pooled,
                    prebuilt=slot.seed if slot else "",
                    initialized=pooled and not git_url,
                )
            except BaseException:
                if slot is not None:
                    self.pools.give_back(slot)
                raise
            await self._agents.listen(id)
            self._keep(await self._store.get(id))
            if pooled and not git_url:
                self._kept[id].claimed()
            return self._kept[id].workspace

        # To its end, whether or not who asked is still there: half of it would be in nobody's care.
        return await asyncio.shield(asyncio.create_task(make()))

    async def want(
        self, id: str, desired: Desired, *, anew: bool = False, stopped_by: str = ""
    ) -> None:
        """Ask for another state. A restart is RUNNING with `anew`."""
        kept = self._find(id)
        if kept.workspace.desired is Desired.DELETED:
            raise Conflict("The workspace is being deleted.")
        await self._store.want(id, desired, anew=anew, stopped_by=stopped_by)
        await kept.wanted()

    async def reimage(self, id: str, image: str) -> None:
        """Make its containers from another image; one that runs is replaced.

        Raises:
            NotFound: there is no such image, or no version of it is in use. Conflict: it goes.
        """
        kept = self._find(id)
        if kept.workspace.desired is Desired.DELETED:
            raise Conflict("The workspace is being deleted.")
        await self._images.is_ready(image)
        await self._store.reimage(id, image)
        await kept.wanted()

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
        await kept.reload()
        self._feed.publish("workspace", id, kept.view())

    def view(self, id: str) -> dict[str, Any]:
        """A workspace as the API shows it."""
        return self._find(id).view()

    def starting(self) -> bool:
        """Whether a workspace of somebody's is being built, created or filled just now."""
        return any(
            kept.workspace.desired is Desired.RUNNING and not kept.error and kept.state in STARTING
            for kept in self._kept.values()
        )

    def states(self) -> list[State]:
        return [kept.state for kept in self._kept.values()]

    def running(self) -> list[str]:
        """The workspaces that run and are to run."""
        return [
            id
            for id, kept in self._kept.items()
            if kept.state is State.RUNNING and kept.workspace.desired is Desired.RUNNING
        ]

    def running_workspaces(self) -> list[Workspace]:
        return [self._kept[id].workspace for id in self.running()]

    def exists(self, id: str) -> bool:
        return id in self._kept

    def _keep(self, workspace: Workspace) -> None:
        self._kept[workspace.id] = Care(workspace, self.means)
        self._begin(self._care_for(self._kept[workspace.id]))

    async def _care_for(self, care: Care) -> None:
        await care.run()
        del self._kept[care.id]
        self._feed.publish("gone", care.id, {"id": care.id})
        self._feed.begin(care.id)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

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
        async for event in self.means.runtime.events():
            if event.action == "oom":
                line = {"line": "The workspace ran out of memory."}
                self._feed.publish("log", event.workspace_id, line)
            if event.service:
                self.means.services.wake(event.workspace_id)
                continue
            if event.workspace_id:
                self._wake(event.workspace_id)
                continue
            self.means.containers.reconnected()
            try:
                await self.means.containers.fence()
            except EngineUnavailable as error:
                _log.warning("engine.not_checked", error=error.message)
            for id in self._kept:
                self._wake(id)
            self.pools.recheck()
            self.means.services.wake_all()

    def _wake(self, id: str) -> None:
        if kept := self._kept.get(id):
            kept.wake()

    def _find(self, id: str) -> Care:
        kept = self._kept.get(id)
        if kept is None:
            raise NotFound("There is no such workspace.")
        return kept
