"""All images that workspaces are made of: the stock ones, and those that teams and the site define.

It is what the supervisor asks (`supervisor.Images`): which image of the engine the next container
of a workspace is made of. What is said of a workspace's image beside it comes from memory, so that
a list of workspaces asks no database for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from cloudide.errors import CloudIDEError, InvalidInput, NotFound, Unavailable
from cloudide.identity.sealing import Sealing
from cloudide.images.builder import Builder, Limits, Redactor
from cloudide.images.builds import Builds
from cloudide.images.containers import untag
from cloudide.images.contexts import ContextLimits, Contexts
from cloudide.images.definitions import Definition, Definitions, Updates
from cloudide.images.devcontainer import policy
from cloudide.images.devcontainer.development import remembered
from cloudide.images.devcontainer.plan import Plan, Port
from cloudide.images.logs import BuildLogs
from cloudide.images.looks import Looks
from cloudide.images.make import Making, is_there
from cloudide.images.releases import Binding, Releases, Version, choose, update_of
from cloudide.images.stock import ImageStatus, Report, StockImages
from cloudide.images.versions import USABLE
from cloudide.settings import Settings
from cloudide.storage.database import Database
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import Grants
from cloudide.workspaces.store import Workspace

if TYPE_CHECKING:
    from docker.api.client import APIClient

log = structlog.get_logger()

COLLECT_SECONDS = 3600.0
PLANS_KEPT = 200
CONTEXT_SECONDS = 3600.0  # an uploaded context that no definition names is kept for so long


def _unheard(progress: Any) -> None:
    log.debug("images.progress", message=progress.message)


class Images:
    """Use as an async context manager; it owns the builds, and what collects."""

    def __init__(
        self,
        engine: Engine,
        stock: StockImages,
        definitions: Definitions,
        releases: Releases,
        builds: Builds,
        contexts: Contexts,
        looks: Looks,
        settings: Settings,
        instance: str,
    ) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self.stock = stock
        self.definitions = definitions
        self.releases = releases
        self.builds = builds
        self.contexts = contexts
        self.looks = looks
        self._engine = engine
        self._settings = settings
        self._instance = instance
        self._known: dict[str, Definition] = {}
        self._bindings: dict[str, Binding] = {}
        self._plans: dict[tuple[str, int], Plan | None] = {}  # versions never change
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def assemble(
        cls,
        engine: Engine,
        stock: StockImages,
        database: Database,
        sealing: Sealing,
        settings: Settings,
        instance: str,
        redactor: Callable[[Mapping[str, bytes]], Redactor],
    ) -> Images:
        """All its parts, for one engine and database.

        Raises:
            InvalidInput: a setting cannot be read.
        """
        policy.rules(settings.devcontainer_allow)
        folder = settings.data_dir
        contexts = Contexts(
            folder / "contexts", ContextLimits(settings.context_limit, settings.context_entries)
        )
        builder = Builder(
            engine,
            instance=instance,
            network_pool=settings.network_pool,
            limits=Limits(
                settings.build_memory,
                settings.build_disk,
                settings.build_disk_reserve,
                settings.workspace_cpus,
            ),
            ca_bundle=Path(settings.ca_bundle) if settings.ca_bundle else None,
        )
        definitions, releases = Definitions(database, sealing), Releases(database)
        making = Making(engine, stock, releases, contexts, builder, settings)
        builds = Builds(
            database,
            definitions,
            BuildLogs(folder / "builds", settings.build_log),
            settings,
            making,
            redactor,
            builder.clean,
        )
        making.builds = builds
        looks = Looks(builder, releases, folder / "sboms", settings.image_look_hours, redactor)
        builds.on_change = lambda build: looks.poke()
        return cls(
            engine, stock, definitions, releases, builds, contexts, looks, settings, instance
        )

    async def __aenter__(self) -> Images:
        for definition in await self.definitions.all():
            self._known[definition.id] = definition
        await self.releases.forget_gone()
        for binding in await self.releases.bindings():
            self._bindings[binding.workspace] = binding
        await self.builds.__aenter__()
        self._tasks = [
            asyncio.create_task(self._keep_clean()),
            asyncio.create_task(self.looks.keep_looking(lambda: list(self._known.values()))),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.builds.__aexit__(kind, error, trace)

    # ── what the supervisor asks ────────────────────────────────────────────────────────────────

    async def is_ready(self, id: str, workspace: str = "") -> bool:
        """Whether a container can be made of it at once.

        Raises:
            NotFound: there is no such image. Conflict: no version of it can be used.
        """
        name, pinned = _parts(id)
        if name not in self._known:
            return await self.stock.is_ready(id)
        definition = self._known[name]
        number = choose(definition, workspace, self._bindings.get(workspace), pinned)
        if number is None:
            raise NotFound(
                f"No version of {definition.reference} is in use yet. Build it, and promote what "
                "was built."
            )
        version = await self.releases.get(name, number)
        return await is_there(self._engine, version.engine_id) if version.engine_id else False

    async def ensure(self, id: str, report: Report = _unheard, workspace: str = "") -> str:
        """The engine's image that the next container of a workspace is made of.

        Raises:
            NotFound, Conflict: as `is_ready`. Unavailable: its image vanished from the engine.
        """
        name, pinned = _parts(id)
        if name not in self._known:
            found = await self.stock.ensure(id, report)
            if workspace in self._bindings:  # made of a definition before, whose plan is not its
                await self.releases.forget(workspace)
                self._bindings.pop(workspace, None)
                self.on_change(workspace)
            return found
        binding, version = await self.releases.bind(workspace, name, pinned)
        changed = self._bindings.get(workspace) != binding
        self._bindings[workspace] = binding
        if not version.engine_id or not await is_there(self._engine, version.engine_id):
            raise Unavailable(
                f"The image of version {version.number} of {self._known[name].reference} is no "
                "longer on the container engine. Build that image again, or promote another "
                "version."
            )
        if changed:
            self.on_change(workspace)
        return version.engine_id

    async def for_service(self, text: str, teams: Collection[str]) -> str | None:
        """The engine's image of a definition that a service runs, in the version that is in use or
        the one it names; None: these teams have no such definition.

        Raises:
            NotFound: no version of it can be used. InvalidInput: several are called so.
        """
        try:
            name, pinned = _parts(self.resolve(text, teams))
        except NotFound:
            return None
        definition = self._known[name]
        number = pinned if pinned is not None else definition.active
        version = await self.releases.get(name, number) if number is not None else None
        usable = version is not None and version.state in USABLE and version.engine_id
        if version is None or not usable or not await is_there(self._engine, version.engine_id):
            raise NotFound(
                f"No version of {text} can be used now. Build it, and promote what was built."
            )
        return version.engine_id

    async def grants(self, id: str, workspace: str) -> Grants:
        """What the container of a workspace gets beyond others; of the version that `ensure` gave.

        Raises:
            Denied: it was built with more than is allowed now.
        """
        found = await self.planned(workspace)
        name, _ = _parts(id)
        if found is None or name not in self._known:
            return Grants()
        _, drawn = found
        rules = policy.rules(self._settings.devcontainer_allow)
        policy.judge(policy.asks_of(drawn.grants), rules, self._known[name].team)
        return drawn.grants

    async def planned(self, workspace: str) -> tuple[str, Plan] | None:
        """The version that a workspace is made of, and what its development container says; None:
        it is of none."""
        binding = self._bindings.get(workspace)
        if binding is None:
            return None
        key = binding.image, binding.version
        if key not in self._plans:
            version = await self.releases.get(*key)
            self._plans[key] = remembered(version.made_from)
            while len(self._plans) > PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)))
        return self._planned(key)

    def ports(self, workspace: str) -> list[Port]:
        """The ports that the development container of a workspace announces."""
        binding = self._bindings.get(workspace)
        found = self._planned((binding.image, binding.version)) if binding else None
        return found[1].ports if found else []

    def _planned(self, key: tuple[str, int]) -> tuple[str, Plan] | None:
        drawn = self._plans.get(key)
        return (f"{key[0]}@{key[1]}", drawn) if drawn else None

    async def ensure_agent_volume(self, report: Report = _unheard) -> str:
        return await self.stock.ensure_agent_volume(report)

    def about(self, workspace: Workspace) -> dict[str, Any]:
        """What a workspace's view says of its image: what people call it, the version that it is
        made of, and `update`, the version that it gets at its next start if it is another."""
        name, pinned = _parts(workspace.image)
        definition = self._known.get(name)
        if definition is None:
            return {}
        suffix = f"@{pinned}" if pinned is not None else ""
        view: dict[str, Any] = {"image": f"{definition.reference}{suffix}"}
        binding = self._bindings.get(workspace.id)
        if binding is None or binding.image != definition.id:
            return view
        view["image_version"] = binding.version
        update = update_of(definition, binding)
        if update is not None:
            view["update"] = {
                "version": update,
                "at_start": definition.updates is Updates.RESTART or binding.wanted,
            }
        return view

    # ── names ───────────────────────────────────────────────────────────────────────────────────

    def resolve(self, text: str, teams: Collection[str] | None) -> str:
        """What is kept of an image that somebody names: a stock image, `team/name`, `site/name`,
        an id; all but the first with `@version` or `@latest`.

        `teams`: whose images they may use; None: everybody's.

        Raises:
            NotFound: there is none that they may use. InvalidInput: several are called so.
        """
        if text in self.stock.images:
            return text
        name, _, version = text.partition("@")
        if version and version != "latest" and not (version.isascii() and version.isdigit()):
            raise InvalidInput(f"{text!r}: after the @ is the number of a version, or latest.")
        found = [
            each
            for each in self._known.values()
            if (teams is None or not each.team or each.team in teams) and _is_called(each, name)
        ]
        if not found:
            known = [*self.stock.images, *(e.reference for e in self.usable(teams))]
            raise NotFound(f"There is no image {text!r}. Choose one of: {', '.join(known)}.")
        if len(found) > 1:
            raise InvalidInput(f"Several images are called {name!r}; use the id of one.")
        return found[0].id + (f"@{int(version)}" if version.isdigit() else "")

    def usable(self, teams: Collection[str] | None) -> list[Definition]:
        """The definitions of the site and of these teams; None: all."""
        found = [e for e in self._known.values() if teams is None or not e.team or e.team in teams]
        return sorted(found, key=lambda each: (each.team_name, each.name, each.id))

    async def list_stock(self) -> list[ImageStatus]:
        return await self.stock.list()

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def learn(self, definition: Definition) -> Definition:
        """A definition has changed, or is new; those whose workspaces see it are told."""
        self._known[definition.id] = definition
        for workspace, binding in self._bindings.items():
            if binding.image == definition.id:
                self.on_change(workspace)
        return definition

    async def relearn_teams(self) -> None:
        """A team has another name."""
        for definition in await self.definitions.all():
            self._known[definition.id] = definition

    async def delete(self, id: str) -> Definition:
        """Raises: NotFound. Conflict: something is made of it."""
        versions = await self.releases.of(id)
        definition = await self.definitions.delete(id)
        self._known.pop(id, None)
        await self.looks.forget(id)
        for version in versions:
            if version.engine_id:
                await self._remove_image(definition, version)
        return definition

    async def want_update(self, workspace: str) -> None:
        """Raises: Conflict: there is none."""
        self._bindings[workspace] = await self.releases.want(workspace)
        self.on_change(workspace)

    async def forget_workspace(self, workspace: str) -> None:
        self._bindings.pop(workspace, None)
        await self.releases.forget(workspace)

    async def keep_context(self, id: str, digest: str) -> Definition:
        """An upload becomes what an image is built from."""
        return self.learn(await self.definitions.change(id, context=digest))

    # ── what is not needed any more ─────────────────────────────────────────────────────────────

    async def _keep_clean(self) -> None:
        """Collect, for ever; the first time is not that of the server's start."""
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            try:
                await self.collect()
            except CloudIDEError as error:
                log.warning("images.not_collected", error=error.message)

    async def collect(self, cache_seconds: float | None = None) -> int:
        """Remove versions that nothing needs, and what only later builds may use once it is
        `cache_seconds` old; how many images went."""
        removed = 0
        for version in await self.releases.unneeded(self._settings.image_versions_kept):
            definition = self._known.get(version.image)
            if definition is not None and await self.releases.collect(version):
                await self._remove_image(definition, version)
                removed += 1
        if cache_seconds is None:
            cache_seconds = self._settings.build_cache_hours * 3600
        before = time.time() - cache_seconds
        if not self.builds.is_busy:
            label = f"cloudide.instance={self._instance}"
            removed += await self._engine.call(lambda client: _prune(client, label, before))
        contexts = [each.context for each in self._known.values()]
        age = time.time() - CONTEXT_SECONDS
        await asyncio.to_thread(self.contexts.collect, contexts, age)
        return removed

    async def _remove_image(self, definition: Definition, version: Version) -> None:
        tag = f"{definition.repository}:{version.number}"
        await self._engine.call(lambda client: _remove(client, tag))


def _parts(image: str) -> tuple[str, int | None]:
    """What is kept of an image: its id, and the version asked for."""
    name, _, version = image.partition("@")
    return name, int(version) if version.isdigit() else None


def _is_called(definition: Definition, name: str) -> bool:
    scope, _, last = name.rpartition("/")
    if name == definition.id:
        return True
    if last != definition.name:
        return False
    if not definition.team:
        return scope in ("", "site")
    return scope in (definition.team, definition.team_name)


def _remove(client: APIClient, tag: str) -> None:
    """Take a version's name away, and the image where nothing runs of it."""
    import docker.errors

    try:
        client.remove_image(tag)
    except docker.errors.ImageNotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
        untag(client, tag)


def _prune(client: APIClient, label: str, before: float) -> int:
    """Remove images without a name that builds left, each with what it alone stands on."""
    import docker.errors

    removed = 0
    rows = client.images(filters={"dangling": True, "label": label})
    for row in rows:
        if row["Created"] >= before:
            continue
        try:
            client.remove_image(row["Id"])
            removed += 1
        except docker.errors.ImageNotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:  # a container is made of it, or another image stands on it
                raise
    return removed
