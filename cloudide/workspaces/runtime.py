"""What the supervisor needs of a container engine, in its own words.

One workspace is one container, two volumes (`/workspace` and the home, both outlive the container)
and one network. `Runtime` is the interface; `docker.py` implements it for a Docker Engine.

Rules that every implementation keeps:

* Only a definite "there is no such thing" means gone. `inspect` answers None for it; anything else
  that goes wrong (time-out, refused connection, error 500) raises `EngineUnavailable`, so that a
  sick engine is never read as a reason to remove something.
* Every operation may be repeated. Calls for one workspace run one after another.
* A cancelled caller leaves no half-made workspace: what was begun is finished or undone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from cloudide.project.schema import Health

SEEDS = "/opt/cloudide-seeds"  # where a workspace sees its dependency caches

Status = Literal["created", "running", "paused", "restarting", "exited", "dead"]
Action = Literal["start", "die", "oom", "pause", "unpause", "destroy", "health_status", "resync"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one workspace may use: CPUs, bytes of memory (swap included), processes and threads."""

    cpus: float
    memory: int
    processes: int


class Grants(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a workspace's container gets beyond others, because an administrator allows it.
    `binds`: folders of the engine's machine, as it takes them (`/from:/to[:ro]`)."""

    capabilities: list[str] = []
    security_options: list[str] = []
    privileged: bool = False
    binds: list[str] = []


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how a workspace's container looks.

    Attributes:
        generation: rises whenever the container has to be replaced.
        image: a reference or id that the engine has; nothing is pulled here.
        agent_volume: the volume of the agent's bundle, from `StockImages.ensure_agent_volume`.
        link_directory: folder on the engine's host with the agent's socket and token; mounted
            read-only at `/run/cloudide`.
        ca_bundle: file on the engine's host, mounted read-only and named to the usual tools.
        seeds: whose `/workspace` volume is mounted read-only at `SEEDS`; "": nobody's. One that the
            engine has not is left out.
        environment: more variables. User code sees them: nothing secret goes here.
        preceding: of a variable, what comes before the image's own value, and before what if the
            image has none; a comma is between.
        grants: what it gets beyond others.
    """

    workspace_id: str
    generation: int
    image: str
    agent_volume: str
    link_directory: Path
    limits: Limits
    ca_bundle: Path | None = None
    seeds: str = ""
    environment: dict[str, str] = {}
    preceding: dict[str, tuple[str, str]] = {}
    grants: Grants = Grants()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of a workspace's container. `exit_code` is set once it has ended."""

    workspace_id: str
    generation: int
    container_id: str
    image: str
    status: Status
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: datetime | None = None


class Consumption(msgspec.Struct, frozen=True, kw_only=True):
    """What a container uses, as its cgroup counts. `cpu`: seconds since it began; `memory`: bytes
    without the cache that the kernel would give up first."""

    cpu: float
    memory: int
    memory_limit: int
    processes: int


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how the container of a service beside a workspace looks.

    Attributes:
        version: a digest of all this; a container of another one has to be replaced.
        command: instead of the image's own, if there is one.
        volume: a folder that is kept for as long as the workspace is; "": none.
    """

    workspace_id: str
    service: str
    version: str
    image: str
    command: list[str] | None
    environment: dict[str, str]
    volume: str
    health: Health | None
    limits: Limits


class ObservedService(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of a service's container. `health`: "" without a check, else starting,
    healthy or unhealthy."""

    service: str
    version: str
    running: bool
    health: str
    exit_code: int
    oom_killed: bool


class RuntimeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a container. `resync`, without a workspace: events may have been
    missed, so look at everything again. `service`: it is one of the workspace's services."""

    action: Action
    workspace_id: str = ""
    service: str = ""
    generation: int = 0
    exit_code: int | None = None


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The engine; `warnings` says what about it weakens isolation or limits, a sentence each."""

    version: str
    storage_driver: str
    cgroup_version: int
    cpus: int
    memory: int
    warnings: list[str] = []


class ServiceRuntime(Protocol):
    """The engine operations for services, under the rules of `Runtime`. Volumes outlive containers
    and go with the workspace (`Runtime.destroy`)."""

    async def list(self, workspace_id: str) -> list[ObservedService]:
        """The services of a workspace that have a container."""
        ...

    async def start(self, spec: ServiceSpec) -> None:
        """Start its container, made first where there is none; one that runs already is fine.

        Raises:
            NotFound: the engine has no such image, or the workspace has no network.
        """
        ...

    async def remove(self, workspace_id: str, service: str, timeout: float) -> None:
        """Stop it, killed after `timeout` seconds, and remove it; fine when it is not there."""
        ...

    async def log(self, workspace_id: str, service: str) -> str:
        """The end of what it printed. Raises: NotFound: it has no container."""
        ...


class Runtime(Protocol):
    """The engine operations of the supervisor. All raise `EngineUnavailable` when it fails."""

    async def ping(self) -> None:
        """Return when the engine has answered."""
        ...

    async def check(self) -> EngineInfo:
        """Make sure the engine answers and that workspaces are fenced off from its host."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Make volumes, network and container, not started; answer the container's id.

        Idempotent by workspace and generation: an existing container of the same generation is
        answered as it is, one of an older generation is replaced. On failure whatever this call
        made is removed again, volumes included if they are new.

        Raises:
            NotFound: the image or the agent's volume does not exist.
            Conflict: a container of a later generation exists.
        """
        ...

    async def start(self, workspace_id: str) -> None:
        """Start the container; one that runs already is fine.

        Raises:
            NotFound: there is no container.
        """
        ...

    async def limit(self, workspace_id: str, limits: Limits) -> None:
        """Change what the container may use while it runs.

        Raises:
            NotFound: there is no container. EngineUnavailable: also when it uses more memory now.
        """
        ...

    async def stop(self, workspace_id: str, timeout: float) -> None:
        """Ask the container to end, kill it after `timeout` seconds; fine when there is none."""
        ...

    async def remove(self, workspace_id: str) -> None:
        """Remove the container and keep volumes and network; fine when it is not there."""
        ...

    async def consumption(self, workspace_id: str) -> Consumption:
        """What its container uses now.

        Raises:
            NotFound: there is no container, or it does not run.
        """
        ...

    async def retire(self, workspace_id: str, timeout: float) -> None:
        """Stop and remove the container, and the network with it; only volumes stay."""
        ...

    async def copy(self, source: str, target: str, image: str, timeout: float) -> None:
        """Copy the files of one workspace's volumes into another's, which has a container.

        `image` has `cp`; it sees the two and nothing else. May be repeated after a failure.

        Raises:
            Unavailable: it failed, or took longer than `timeout` seconds.
        """
        ...

    async def destroy(self, workspace_id: str) -> None:
        """Remove container, volumes and network; fine when any of them is not there."""
        ...

    async def release(self, workspace_id: str) -> bool:
        """As `destroy`, but False, with what is in use as it was, while others see its volumes."""
        ...

    async def inspect(self, workspace_id: str) -> Observed | None:
        """The container as it is now; None only when the engine says that there is none."""
        ...

    async def list(self) -> list[Observed]:
        """Every workspace container of this server."""
        ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Follow the engine for ever, reconnecting as needed.

        A `resync` event comes after each connection, the first included; events after it are
        complete until the next `resync`.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the engine; containers stay as they are."""
        ...
