"""Making workspaces' containers: what each looks like, and that none runs unfenced."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cloudide.agents.hub import Agents
from cloudide.settings import Settings
from cloudide.workspaces.dependencies import Seeds, go_proxies, variables
from cloudide.workspaces.runtime import ContainerSpec, Grants, Limits, Runtime


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

    async def grants(self, id: str, workspace: str) -> Grants:
        """What the container that is made of it next gets beyond others.

        Raises:
            Denied: it was built with more than is allowed now.
        """
        ...

    async def ensure_agent_volume(self, report: Callable[[Any], None] = ...) -> str:
        """The volume of the agent's bundle, made where it is missing."""
        ...


class Containers:
    """Makes containers of images as the settings say."""

    def __init__(
        self, runtime: Runtime, images: Images, agents: Agents, settings: Settings
    ) -> None:
        self._runtime = runtime
        self._images = images
        self._agents = agents
        self._settings = settings
        self.seeds: Seeds | None = None  # `app.py` says which
        self._fenced = asyncio.Event()
        self._limits = Limits(
            cpus=settings.workspace_cpus,
            memory=settings.workspace_memory,
            processes=settings.workspace_processes,
        )

    async def create(
        self,
        id: str,
        generation: int,
        image: str,
        report: Callable[[Any], None],
        team: str = "",
        git_url: str = "",
    ) -> None:
        """Make a workspace's container, not started, with all that is missing for it: see `draw`.

        Raises:
            NotFound, Unavailable, Conflict, EngineUnavailable: as `Images` and `Runtime`.
        """
        await self._runtime.create(await self.draw(id, generation, image, report, team, git_url))

    async def draw(
        self,
        id: str,
        generation: int,
        image: str,
        report: Callable[[Any], None],
        team: str = "",
        git_url: str = "",
    ) -> ContainerSpec:
        """How a workspace's container looks now; its image is built first if it is missing.

        `team`: whose it is, and whose dependency caches it sees. `git_url`: of which repository.

        Raises:
            NotFound, Unavailable, EngineUnavailable: as `Images`.
        """
        settings = self._settings
        seed = self.seeds.of(team) if self.seeds is not None else None
        bundle = settings.ca_bundle if settings.workspace_ca_bundle else ""
        return ContainerSpec(
            workspace_id=id,
            generation=generation,
            image=await self._images.ensure(image, report, id),
            agent_volume=await self._images.ensure_agent_volume(report),
            link_directory=await self._agents.listen(id),
            limits=self._limits,
            ca_bundle=Path(bundle) if bundle else None,
            seeds=seed.id if seed is not None else "",
            environment={
                "CLOUDIDE_WORKSPACE": id,
                **settings.preview_variables,
                **(variables(seed, git_url) if seed is not None else {}),
            },
            preceding=go_proxies(seed, settings.go_proxy) if seed is not None else {},
            grants=await self._images.grants(image, id),
        )

    async def limit(self, id: str, limits: Limits) -> None:
        """Hold a running container to other limits, without a restart.

        Raises:
            NotFound, EngineUnavailable: as `Runtime`.
        """
        await self._runtime.limit(id, limits)

    @staticmethod
    def version(spec: ContainerSpec) -> str:
        """What a container is made as, whichever workspace's it is: a digest."""
        of_nobody = msgspec.structs.replace(
            spec, workspace_id="", link_directory=Path(), environment={**spec.environment}
        )
        of_nobody.environment["CLOUDIDE_WORKSPACE"] = ""
        content = msgspec.json.encode(of_nobody, enc_hook=str)
        return hashlib.sha256(content).hexdigest()

    async def expect(self, image: str) -> None:
        """Raises: NotFound: there is no such image."""
        await self._images.is_ready(image)

    async def fence(self) -> None:
        """Make sure, once for each connection to the engine, that no container runs unfenced."""
        if not self._fenced.is_set():
            await self._runtime.check()
            self._fenced.set()

    def reconnected(self) -> None:
        """The engine may be a new one, with none of our fences."""
        self._fenced.clear()
