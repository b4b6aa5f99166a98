"""Prebuilds: a project cloned and set up ahead, for new workspaces to begin with.

A prebuild is made in a container of nobody's, without anybody's secrets: clone, then the command
that the project's `cloudide.toml` names. Its two volumes are kept as the *seed*; a new workspace of
the same repository, branch and image gets a copy of them, with a token of its own like every
workspace, and fetches what is new since. One is made at a time, behind people's own starts.

The ids of what is in the engine are in a table of their own before anything is made and until it
has gone; what no prebuild refers to is removed, whenever a server ended.
"""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
import shlex
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.errors import (
    CloudIDEError,
    EngineUnavailable,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
)
from cloudide.project import configuration
from cloudide.project.schema import FILE, FILE_LIMIT
from cloudide.settings import Settings
from cloudide.workspaces import hooks
from cloudide.workspaces.containers import Containers, Images
from cloudide.workspaces.dependencies import LIMIT, Seed, Seeds, fetch, folder_of, gathered
from cloudide.workspaces.initialize import check_git_ref, check_git_url, clone, command
from cloudide.workspaces.packages import Packages
from cloudide.workspaces.pools import MOST
from cloudide.workspaces.prebuild_store import Prebuild, PrebuildStore
from cloudide.workspaces.runtime import ContainerSpec, Runtime
from cloudide.workspaces.store import Workspace

_log = structlog.get_logger(__name__)

T = TypeVar("T")

GENERATION = 1
RECHECK_SECONDS = 60.0
RETRY_SECONDS = 10.0
COMMIT_LENGTH = 64
FETCH_SECONDS = 240.0  # for the packages of one prebuild
SHARE_SECONDS = 420.0  # for all of making a dependency cache
PUSH_SECONDS = 60.0  # from one that a push asked for to the next
LOG_LIMIT = 256 * 1024  # characters
LINE_LIMIT = 2000  # characters
COPIER = "base"  # the image whose `cp` copies volumes; it sees nothing else


class Prebuilds:
    """Use as an async context manager, which owns the one task."""

    def __init__(
        self,
        store: PrebuildStore,
        runtime: Runtime,
        containers: Containers,
        images: Images,
        agents: Agents,
        seeds: Seeds,
        settings: Settings,
    ) -> None:
        self._seeds = seeds
        self._depends = Packages()  # what the one that is being made does
        self._store = store
        self._runtime = runtime
        self._containers = containers
        self._images = images
        self._agents = agents
        self._settings = settings
        self._seeding = asyncio.Lock()  # a seed is not removed while it is copied
        self._at_work: tuple[str, asyncio.Task[Any]] | None = None
        self._log = _Log()  # of the one that is being made
        self._default_branches: dict[str, str] = {}  # as cloned last, where none was asked for
        self._heard_at: dict[str, float] = {}  # when a push had one queued
        # What a prebuild depended on, and what of that was not to be had.
        self._missed: dict[str, tuple[Packages, Packages]] = {}
        self._pushed: dict[str, float] = {}  # pushes to these wait; when the last had one queued
        self.on_change: Callable[[], None] = lambda: None  # there may be another seed
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Prebuilds:
        await self._store.interrupted()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def create(
        self, team: str, image: str, url: str, ref: str, every_hours: float, ready: int = 0
    ) -> Prebuild:
        """Declare one, and make it soon; of the same team, image, address and branch there is one.

        `ready`: so many workspaces are kept that are filled with it.

        Raises:
            InvalidInput: the address, branch or schedule is none, or so many are not allowed.
            NotFound: there is no such image. TooMany: the team has as many as there may be.
        """
        url, ref = check_git_url(url), check_git_ref(ref)
        if not (every_hours == 0 or 0.1 <= every_hours <= 8760):
            raise InvalidInput("every_hours is 0.1 to 8760, or 0.", pointer="/every_hours")
        if not 0 <= ready <= MOST:
            raise InvalidInput(f"ready is a number from 0 to {MOST}.", pointer="/ready")
        await self._containers.expect(image)
        prebuild = await self._store.create(team, image, url, ref, every_hours, ready)
        self._wake.set()
        self.on_change()
        return prebuild

    @property
    def per_team(self) -> int:
        return self._store.per_team

    async def log(self, id: str) -> str:
        """What the one that is being made has printed, or else the last one. Raises: NotFound."""
        if self._at_work is not None and self._at_work[0] == id:
            return self._log.text()
        return await self._store.log(id)

    async def new_hook(self, id: str) -> str:
        """A secret for the webhook of a Git host; a former one ends. Raises: NotFound."""
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        await self._store.set_hook(id, secret)
        return secret

    async def heard(
        self, id: str, headers: Mapping[str, str], content: Callable[[], Awaitable[bytes]]
    ) -> bool:
        """A Git host tells of something; whether a new one is made for it.

        Args:
            content: reads the body; of a message to nobody, nothing is read.

        Raises:
            NotFound: there is no such prebuild, or this is not signed with its secret.
        """
        secret = await self._store.hook(id)
        body = await content() if secret is not None else b""
        if secret is None or not hooks.is_signed(headers, body, secret):
            raise NotFound("There is no such webhook, or the signature of this does not fit.")
        what = hooks.pushed(body)
        prebuild = await self._store.get(id)
        if what is None or not hooks.concerns(what, prebuild.git_ref):
            return False
        await self.run(id)
        return True

    async def pushed(self, team: str, url: str, branch: str) -> None:
        """Somebody pushed from a workspace of a team's, or ("") of a person's: those of that
        repository and branch are made anew, the team's and the site's.

        Pushes soon after one another have one made for all of them.
        """
        plain = url.removesuffix("/").removesuffix(".git")
        for each in await self._store.of_repository([plain, f"{plain}.git", f"{plain}/"]):
            wanted = each.git_ref or self._default_branches.get(each.id, branch)
            if each.team in ("", team) and wanted == branch:
                self._pushed.setdefault(each.id, self._heard_at.get(each.id, -math.inf))
        self._wake.set()

    async def _queue_pushed(self) -> float:
        """Queue those that somebody pushed to; the seconds until the next one may be, or 0."""
        now = time.monotonic()
        for id, before in [*self._pushed.items()]:
            if before + PUSH_SECONDS > now:
                continue
            del self._pushed[id]
            self._heard_at[id] = now
            with suppress(NotFound):  # it was deleted meanwhile
                await self._store.queue(id)
        return min((at + PUSH_SECONDS - now for at in self._pushed.values()), default=0.0)

    async def run(self, id: str) -> Prebuild:
        """Make it anew soon; the present seed is used until then. Raises: NotFound."""
        await self._store.queue(id)
        self._wake.set()
        return await self._store.get(id)

    async def delete(self, id: str) -> None:
        """Raises: NotFound."""
        await self._store.discard(id)
        for memory in (self._default_branches, self._heard_at, self._pushed, self._missed):
            memory.pop(id, None)
        if self._at_work is not None and self._at_work[0] == id:
            self._at_work[1].cancel()
        self._wake.set()
        self.on_change()

    async def list(self, team: str) -> list[Prebuild]:
        """Those of a team, or ("") those for everybody."""
        return await self._store.list(team)

    async def get(self, id: str) -> Prebuild:
        """Raises: NotFound."""
        return await self._store.get(id)

    async def seed(self, workspace: Workspace) -> bool:
        """Copy the newest fitting prebuild into a new workspace; False: there is none.

        Raises:
            Unavailable: it could not be copied.
        """
        async with self._seeding:
            found = await self._store.fitting(
                workspace.team, workspace.made_from, workspace.git_url, workspace.git_ref
            )
            if found is None:
                return False
            await self._copy(found.seed, workspace.id)
            return True

    async def image_of(self, team: str, url: str, ref: str) -> str:
        """The image of the newest one of a repository; "": there is none."""
        found = await self._store.fitting(team, "", url, ref)
        return found.image if found else ""

    async def fill(self, seed: str, id: str) -> None:
        """Copy a seed into a workspace that is kept ready. Raises: Unavailable: it could not be."""
        async with self._seeding:
            await self._copy(seed, id)

    async def _copy(self, seed: str, id: str) -> None:
        copier = await self._images.ensure(COPIER)
        await self._runtime.copy(seed, id, copier, self._settings.clone_timeout)

    # ── the task ────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = await self._step()
            except EngineUnavailable:
                pause = RETRY_SECONDS
            except Exception:
                _log.exception("prebuilds.step_failed")
                pause = RECHECK_SECONDS
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _step(self) -> float:
        for stale in await self._store.stale():
            async with self._seeding:
                if not await self._runtime.release(stale):
                    continue  # a dependency cache that a workspace sees still
            await self._agents.forget(stale)
            await self._store.removed(stale)
        wait = await self._queue_pushed()
        due = await self._store.due(time.time())
        if due is None:
            return min(wait or RECHECK_SECONDS, RECHECK_SECONDS)
        began = time.monotonic()
        builder = "p" + secrets.token_hex(6)
        self._log, self._depends = _Log(), Packages()
        await self._store.begin(due.id, builder)
        try:
            commit = await self._result(due.id, self._build(due, builder))
            seconds = time.monotonic() - began
            await self._store.finished(due.id, builder, commit, seconds, self._log.text())
            _log.info("prebuild.ready", prebuild=due.id, commit=commit)
            self.on_change()
            await self._result(due.id, self._share(due))
        except (TimeoutError, CloudIDEError) as error:
            message = error.message if isinstance(error, CloudIDEError) else "It took too long."
            self._log.add(message)
            await self._store.failed(due.id, message, self._log.text())
            _log.info("prebuild.failed", prebuild=due.id, error=message)
        self.on_change()
        return 0.0

    async def _result(self, id: str, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the work for a prebuild. Raises: Unavailable: it was deleted meanwhile."""
        task = asyncio.create_task(work)
        self._at_work = id, task
        try:
            await asyncio.wait({task})
        finally:
            self._at_work = None
            task.cancel()
        if task.cancelled():
            raise Unavailable("It was deleted while it was made.")
        return task.result()

    async def _build(self, prebuild: Prebuild, builder: str) -> str:
        """Fill the builder's volumes; answers the commit. Its container is gone afterwards."""
        spec = await self._containers.draw(
            *(builder, GENERATION, prebuild.image, _silent), prebuild.team, prebuild.git_url
        )
        agent = await self._started(spec)
        limit, log = self._settings.prebuild_timeout, self._log
        log.add(f"Cloning {prebuild.git_url}")
        await clone(agent, prebuild.git_url, prebuild.git_ref, log.add, limit, {})
        if not prebuild.git_ref:
            branch = await command(agent, ["git", "branch", "--show-current"], limit, "git branch")
            if branch := branch.strip():
                self._default_branches[prebuild.id] = branch
        if setup := await _setup(agent):
            log.add(f"$ {shlex.join(setup)}")
            await command(agent, setup, limit, "The prebuild's command", log.add)
        commit = await command(agent, ["git", "rev-parse", "HEAD"], limit, "git rev-parse")
        try:
            self._depends = await gathered(agent)
        except (TimeoutError, CloudIDEError) as error:
            # What is set up is as good without.
            _log.warning("dependencies.not_gathered", prebuild=prebuild.id, error=str(error))
            log.add("What it depends on could not be found out; the caches stay as they are.")
        # The network and the link go with the container; what the files are stays.
        await self._runtime.retire(builder, self._settings.stop_timeout)
        await self._agents.forget(builder)
        return commit.strip()[:COMMIT_LENGTH]

    async def _started(self, spec: ContainerSpec) -> Agent:
        id = spec.workspace_id
        await self._containers.fence()
        await self._runtime.create(spec)
        await self._runtime.start(id)
        return await self._agents.wait(id, self._settings.start_timeout)

    async def _share(self, prebuild: Prebuild) -> None:
        """Have the dependency caches of its team hold what it depends on.

        What was not to be had is not asked for again while it depends on the same.
        """
        before = self._seeds.of(prebuild.team)
        had = before.packages if before is not None else Packages()
        folder = folder_of(prebuild.git_url) if prebuild.team else ""
        depends = self._depends.of_repository(folder, LIMIT)
        same, missed = self._missed.get(prebuild.id, (depends, Packages()))
        if same != depends:
            missed = Packages()
        wanted = depends.without(missed)
        if not wanted.without(had):
            return
        if had.without(had.with_(wanted, LIMIT)):
            # What is not listed any more would stay among the files: they begin anew.
            before, had = None, Packages()
        missing = wanted.without(had)
        said: list[str] = []  # shown when it is so: workspaces see it from then on
        id = "p" + secrets.token_hex(6)
        await self._store.add(id)
        try:
            async with asyncio.timeout(SHARE_SECONDS):
                spec = await self._containers.draw(id, GENERATION, prebuild.image, _silent)
                agent = await self._started(spec)
                if before is not None:
                    await self.fill(before.id, id)
                got, failed = await fetch(
                    agent, missing, folder, self._settings, FETCH_SECONDS, said.append
                )
                await self._runtime.retire(id, self._settings.stop_timeout)
                await self._agents.forget(id)
            self._missed[prebuild.id] = depends, missed.with_(failed, LIMIT)
            if got:
                # All that it depends on is the newest now, what was there already included.
                there = wanted.without(missing.without(got))
                await self._seeds.set(prebuild.team, Seed(id, had.with_(there, LIMIT)))
            for line in said:
                self._log.add(line)
            await self._store.set_log(prebuild.id, self._log.text())
        except (TimeoutError, CloudIDEError) as error:
            # The prebuild is as good as it was; the next one tries again.
            _log.warning(
                "dependencies.not_shared", prebuild=prebuild.id, error=str(error) or "timeout"
            )


def _silent(_: Any) -> None:
    """Nobody watches it being made."""


class _Log:
    """The end of what was printed, as whole lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0

    def add(self, line: str) -> None:
        self._lines.append(line[:LINE_LIMIT])
        self._size += len(self._lines[-1])
        while self._size > LOG_LIMIT:
            self._size -= len(self._lines.popleft())

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


async def _setup(agent: Agent) -> list[str] | None:
    """What the project's `cloudide.toml` says is to be run.

    Raises:
        Unavailable: that part of it is wrong.
    """
    try:
        content = (await agent.read(FILE, FILE_LIMIT)).content or b""
        if len(content) > FILE_LIMIT:  # the agent is not to be believed
            raise TooLarge
    except NotFound:
        return None
    text, document, mistakes = configuration.load(content)
    table, wrong = configuration.prebuild(document)
    if found := configuration.problems(text, [*mistakes, *wrong]):
        first = found[0]
        raise Unavailable(f"{first.file}:{first.line}:{first.column}: {first.message}")
    if table is None:
        return None
    return ["sh", "-c", table.command] if isinstance(table.command, str) else table.command
