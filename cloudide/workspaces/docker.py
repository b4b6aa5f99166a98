"""The runtime on a Docker Engine; `runtime.py` says what it guarantees.

Everything of a workspace carries the labels `cloudide.instance`, `cloudide.workspace` and
`cloudide.role`, so that several servers can share an engine and an operator can see what belongs to
what. Names are made of the instance and the workspace's id; a container also says its generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from cloudide.errors import CloudIDEError, Conflict, EngineUnavailable, NotFound
from cloudide.workspaces import firewall
from cloudide.workspaces.copies import copy_volumes, end_copy
from cloudide.workspaces.docker_services import DockerServices
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.events import follow
from cloudide.workspaces.foreign import (
    DEFAULT_OWNER,
    HOME,
    OWNER_LABEL,
    furnish,
    parse_owner,
)
from cloudide.workspaces.networks import Networks
from cloudide.workspaces.runtime import (
    SEEDS,
    Consumption,
    ContainerSpec,
    EngineInfo,
    Limits,
    Observed,
    RuntimeEvent,
)

if TYPE_CHECKING:
    from docker.api.client import APIClient

Result = TypeVar("Result")

log = structlog.get_logger()

WORKSPACE = "/workspace"
LINK = "/run/cloudide"
BUNDLE = "/opt/cloudide"
CA_BUNDLE = "/etc/cloudide/ca.pem"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
)

# No shell, no environment: see images/agent/Dockerfile.
AGENT_COMMAND = [
    f"{BUNDLE}/lib/ld.so",
    "--library-path",
    f"{BUNDLE}/lib",
    f"{BUNDLE}/bin/python3",
    *("-I", "-S", "-B", "-X", "utf8"),
    *("-m", "cloudide.agent"),
]


class DockerRuntime:
    """Workspaces as containers of one Docker Engine.

    Args:
        engine: the connection; it is the caller's and stays open.
        instance: names this server among those that share the engine: `[a-z0-9-]`, short.
        network_pool: the subnet that workspace networks are cut from.
    """

    def __init__(self, engine: Engine, *, instance: str, network_pool: str) -> None:
        self._engine = engine
        self._instance = instance
        self._networks = Networks(network_pool)
        self.services = DockerServices(engine, instance)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[Any]] = set()

    async def ping(self) -> None:
        await self._engine.call(lambda client: client.ping())

    async def check(self) -> EngineInfo:
        version, info = await _together(
            self._engine.call(lambda client: client.version()),
            self._engine.call(lambda client: client.info()),
        )
        warnings = await asyncio.to_thread(firewall.apply, self._engine.host)
        for name, what in (
            ("MemoryLimit", "memory"),
            ("SwapLimit", "swap"),
            ("CpuCfsQuota", "CPU time"),
            ("PidsLimit", "the number of processes"),
        ):
            if not info.get(name, True):
                warnings.append(f"The engine's kernel cannot limit {what} of a workspace.")
        if not any("seccomp" in option for option in info.get("SecurityOptions") or []):
            warnings.append("The engine runs containers without a seccomp profile.")
        for warning in warnings:
            log.warning("engine.weakness", detail=warning)
        return EngineInfo(
            version=version["Version"],
            storage_driver=info["Driver"],
            cgroup_version=int(info.get("CgroupVersion", 1)),
            cpus=info["NCPU"],
            memory=info["MemTotal"],
            warnings=warnings,
        )

    async def create(self, spec: ContainerSpec) -> str:
        return await self._exclusively(spec.workspace_id, lambda: self._create(spec))

    async def start(self, workspace_id: str) -> None:
        await self._exclusively(workspace_id, lambda: self._start(workspace_id))

    async def limit(self, workspace_id: str, limits: Limits) -> None:
        name = self._name(workspace_id)
        # The SDK's own call knows neither NanoCpus nor PidsLimit.
        body = {
            "NanoCpus": round(limits.cpus * 1e9),
            "Memory": limits.memory,
            "MemorySwap": limits.memory,
            "PidsLimit": limits.processes,
        }

        def update(client: Any) -> None:
            url = client._url("/containers/{0}/update", name)
            client._result(client._post_json(url, data=body), True)

        await self._exclusively(workspace_id, lambda: self._engine.call(update))

    async def stop(self, workspace_id: str, timeout: float) -> None:
        name = self._name(workspace_id)

        def stop(client: APIClient) -> None:
            _ignoring_missing(lambda: client.stop(name, timeout=round(timeout)))

        await self._exclusively(workspace_id, lambda: self._engine.call(stop))

    async def remove(self, workspace_id: str) -> None:
        await self._exclusively(workspace_id, lambda: self._remove(workspace_id))

    async def retire(self, workspace_id: str, timeout: float) -> None:
        await self.stop(workspace_id, timeout)
        name = self._name(workspace_id)

        async def retire() -> None:
            await self._remove(workspace_id)
            await self._engine.call(
                lambda client: _ignoring_missing(lambda: client.remove_network(name))
            )

        await self._exclusively(workspace_id, retire)

    async def copy(self, source: str, target: str, image: str, timeout: float) -> None:
        from_, to = self._name(source), self._name(target)
        labels = {**self._labels(target), "cloudide.role": "copy"}
        await self._exclusively(
            target,
            lambda: self._engine.call(
                lambda client: copy_volumes(client, from_, to, image, labels, timeout)
            ),
        )

    async def destroy(self, workspace_id: str) -> None:
        await self._exclusively(workspace_id, lambda: self._destroy(workspace_id))

    async def release(self, workspace_id: str) -> bool:
        names = [f"{self._name(workspace_id)}-{purpose}" for purpose in ("workspace", "home")]

        def others(client: APIClient) -> bool:
            filters = {"volume": names}
            rows = client.containers(all=True, filters=filters)
            return any(row["Labels"].get("cloudide.workspace") != workspace_id for row in rows)

        if await self._engine.call(others):
            return False
        await self.destroy(workspace_id)
        return True

    async def inspect(self, workspace_id: str) -> Observed | None:
        name = self._name(workspace_id)
        found = await self._engine.call(
            lambda client: _none_if_missing(lambda: client.inspect_container(name))
        )
        return _observed(found) if found else None

    async def consumption(self, workspace_id: str) -> Consumption:
        name = self._name(workspace_id)
        # Without `one_shot` the engine waits a second or two for another sample.
        said = await self._engine.call(
            lambda client: client.stats(name, stream=False, one_shot=True)
        )
        return _consumption(said)

    async def list(self) -> list[Observed]:
        labels = [f"{name}={value}" for name, value in self._labels().items()]
        rows = await self._engine.call(
            lambda client: client.containers(all=True, filters={"label": labels})
        )
        found = await asyncio.gather(
            *(self.inspect(row["Labels"]["cloudide.workspace"]) for row in rows)
        )
        return [observed for observed in found if observed]

    async def events(self) -> AsyncGenerator[RuntimeEvent]:
        label = f"cloudide.instance={self._instance}"
        async with aclosing(follow(self._engine, [label])) as stream:
            async for event in stream:
                yield event

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)

    # ── one workspace at a time ─────────────────────────────────────────────────────────────────

    async def _exclusively(
        self, workspace_id: str, work: Callable[[], Coroutine[Any, Any, Result]]
    ) -> Result:
        """Run after what was begun for this workspace, and to the end even if the caller leaves:
        a call to the engine cannot be taken back, so its consequences have to be seen through."""
        lock = self._locks.setdefault(workspace_id, asyncio.Lock())

        async def locked() -> Result:
            async with lock:
                return await work()

        task = asyncio.create_task(locked())
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # Marks the error as seen: its caller may have left.
            log.debug("runtime.failed", error=repr(error))

    async def _create(self, spec: ContainerSpec) -> str:
        existing = await self.inspect(spec.workspace_id)
        if existing and existing.generation == spec.generation:
            return existing.container_id
        if existing and existing.generation > spec.generation:
            raise Conflict("The workspace has been changed meanwhile; reload it.")
        if existing:
            await self._remove(spec.workspace_id)

        made: list[Callable[[APIClient], object]] = []  # how to take back each thing made
        try:
            seeds = f"{self._name(spec.seeds)}-workspace" if spec.seeds else ""
            if seeds and not await self._engine.call(lambda client: _has_volume(client, seeds)):
                seeds = ""
            image, *_ = await _together(
                self._engine.call(lambda client: _image(client, spec.image)),
                self._engine.call(lambda client: _expect_volume(client, spec.agent_volume)),
                self._engine.call(lambda client: self._make_network(client, spec, made)),
                self._engine.call(
                    lambda client: self._make_volume(client, spec, "workspace", made)
                ),
                self._engine.call(lambda client: self._make_volume(client, spec, "home", made)),
            )
            return await self._engine.call(
                lambda client: self._make_container(client, spec, image, made, seeds)
            )
        except CloudIDEError as failure:
            log.warning("runtime.create_failed", workspace=spec.workspace_id, error=str(failure))
            for undo in reversed(made):
                try:
                    await self._engine.call(
                        lambda client, undo=undo: _ignoring_missing(undo, client)
                    )
                except EngineUnavailable as error:
                    # Labels let the supervisor's `destroy` find it later; the cause matters more.
                    log.warning("runtime.undo_failed", error=str(error))
            raise

    async def _start(self, workspace_id: str) -> None:
        name = self._name(workspace_id)
        try:
            await self._engine.call(lambda client: client.start(name))
        except NotFound:
            # The engine says the same when the container's network is gone (`network prune`).
            if await self.inspect(workspace_id) is None:
                raise NotFound("The workspace has no container to start.") from None
            labels = self._labels(workspace_id)
            await self._engine.call(lambda client: self._networks.ensure(client, name, labels))
            await self._engine.call(lambda client: client.start(name))

    async def _remove(self, workspace_id: str) -> None:
        name = self._name(workspace_id)

        def remove(client: APIClient) -> None:
            # v: anonymous volumes, which an image may ask for; named ones stay.
            _ignoring_missing(lambda: client.remove_container(name, v=True, force=True))

        await self._engine.call(remove)

    async def _destroy(self, workspace_id: str) -> None:
        name = self._name(workspace_id)
        await self._remove(workspace_id)
        await self.services.destroy(workspace_id)
        await self._engine.call(lambda client: end_copy(client, name))

        def forget(remove: Callable[[APIClient], object]) -> Coroutine[Any, Any, None]:
            return self._engine.call(lambda client: _ignoring_missing(remove, client))

        await _together(
            forget(lambda client: client.remove_network(name)),
            forget(lambda client: client.remove_volume(f"{name}-workspace")),
            forget(lambda client: client.remove_volume(f"{name}-home")),
        )

    # ── parts of a workspace (these run in threads of the engine's pool) ────────────────────────

    def _name(self, workspace_id: str) -> str:
        return f"cloudide-{self._instance}-{workspace_id}"

    def _labels(self, workspace_id: str = "") -> dict[str, str]:
        labels = {"cloudide.instance": self._instance, "cloudide.role": "workspace"}
        return {**labels, "cloudide.workspace": workspace_id} if workspace_id else labels

    def _make_network(self, client: APIClient, spec: ContainerSpec, made: list[Any]) -> None:
        name = self._name(spec.workspace_id)
        if self._networks.ensure(client, name, self._labels(spec.workspace_id)):
            made.append(lambda client: client.remove_network(name))

    def _make_volume(
        self, client: APIClient, spec: ContainerSpec, purpose: str, made: list[Any]
    ) -> None:
        name = f"{self._name(spec.workspace_id)}-{purpose}"
        if _none_if_missing(lambda: client.inspect_volume(name)) is None:
            client.create_volume(name, labels=self._labels(spec.workspace_id))
            made.append(lambda client: client.remove_volume(name))

    def _make_container(
        self,
        client: APIClient,
        spec: ContainerSpec,
        image: dict[str, Any],
        made: list[Any],
        seeds: str,
    ) -> str:
        config = image.get("Config") or {}
        label = (config.get("Labels") or {}).get(OWNER_LABEL, "")
        owner = parse_owner(label) or DEFAULT_OWNER
        name = self._name(spec.workspace_id)
        container = client.create_container_from_config(
            _container_config(
                client,
                spec,
                name=name,
                seeds=seeds,
                owner=owner,
                labels={
                    **self._labels(spec.workspace_id),
                    "cloudide.generation": str(spec.generation),
                },
                image_variables=_variables(config.get("Env") or []),
            ),
            name=name,
        )["Id"]
        made.append(lambda client: client.remove_container(container, v=True, force=True))
        if not label:
            furnish(client, container, owner, workspace=WORKSPACE, home=HOME)
        return container


def _container_config(
    client: APIClient,
    spec: ContainerSpec,
    *,
    name: str,
    seeds: str,
    owner: tuple[int, int],
    labels: dict[str, str],
    image_variables: dict[str, str],
) -> dict[str, Any]:
    from docker.types import LogConfig, Mount

    mounts = [
        Mount(WORKSPACE, f"{name}-workspace", type="volume"),
        Mount(HOME, f"{name}-home", type="volume"),
        Mount(BUNDLE, spec.agent_volume, type="volume", read_only=True, no_copy=True),
        Mount(LINK, str(spec.link_directory), type="bind", read_only=True),
    ]
    environment = {
        "HOME": HOME,
        "CLOUDIDE_ROOT": WORKSPACE,
        "CLOUDIDE_LINK": LINK,
        **({} if "LANG" in image_variables else {"LANG": "C.UTF-8"}),
    }
    if seeds:
        mounts.append(Mount(SEEDS, seeds, type="volume", read_only=True, no_copy=True))
    if spec.ca_bundle:
        mounts.append(Mount(CA_BUNDLE, str(spec.ca_bundle), type="bind", read_only=True))
        environment |= dict.fromkeys(CA_VARIABLES, CA_BUNDLE)
    return client.create_container_config(
        spec.image,
        entrypoint=AGENT_COMMAND,
        command=[],
        user=f"{owner[0]}:{owner[1]}",
        working_dir=WORKSPACE,
        hostname="workspace",
        environment={**environment, **spec.environment, **_joined(spec, image_variables)},
        labels=labels,
        stop_signal="SIGTERM",
        healthcheck={"test": ["NONE"]},  # the image's own says nothing about the agent
        host_config=client.create_host_config(
            mounts=mounts,
            network_mode=name,
            init=True,
            cap_drop=["ALL"],
            cap_add=spec.grants.capabilities or None,
            privileged=spec.grants.privileged,
            binds=spec.grants.binds or None,
            security_opt=["no-new-privileges", *spec.grants.security_options],
            nano_cpus=round(spec.limits.cpus * 1e9),
            mem_limit=spec.limits.memory,
            memswap_limit=spec.limits.memory,
            pids_limit=spec.limits.processes,
            ipc_mode="private",
            restart_policy={"Name": "no"},
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
        ),
    )


def _variables(lines: list[str]) -> dict[str, str]:
    """The variables of an image (OCI image-spec, config, `Env`)."""
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _joined(spec: ContainerSpec, image_variables: dict[str, str]) -> dict[str, str]:
    return {
        name: f"{value},{image_variables.get(name) or default}"
        for name, (value, default) in spec.preceding.items()
    }


def _image(client: APIClient, reference: str) -> dict[str, Any]:
    image = _none_if_missing(lambda: client.inspect_image(reference))
    if image is None:
        raise NotFound(f"The image {reference} is not on the container engine.")
    return image


def _has_volume(client: APIClient, name: str) -> bool:
    return _none_if_missing(lambda: client.inspect_volume(name)) is not None


def _expect_volume(client: APIClient, name: str) -> None:
    """The engine would silently make an empty volume instead of a missing one."""
    if _none_if_missing(lambda: client.inspect_volume(name)) is None:
        raise NotFound(f"The agent's volume {name} is not on the container engine.")


def _consumption(said: Any) -> Consumption:
    """Raises: NotFound: it does not run, so that nothing is counted."""
    memory = said.get("memory_stats") or {}
    if "usage" not in memory:
        raise NotFound("The workspace does not run.")
    counted = memory.get("stats") or {}
    # As `docker stats` has it: "inactive_file" with cgroup v2, "total_inactive_file" with v1.
    cache = counted.get("total_inactive_file", counted.get("inactive_file", 0))
    return Consumption(
        cpu=said["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory=max(0, memory["usage"] - cache),
        memory_limit=memory.get("limit", 0),
        processes=(said.get("pids_stats") or {}).get("current", 0),
    )


def _observed(container: dict[str, Any]) -> Observed:
    state, labels = container["State"], container["Config"]["Labels"]
    status = "dead" if state["Status"] == "removing" else state["Status"]
    ended = status in ("exited", "dead")
    return Observed(
        workspace_id=labels["cloudide.workspace"],
        generation=int(labels["cloudide.generation"]),
        container_id=container["Id"],
        image=container["Config"]["Image"],
        status=status,
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=state["OOMKilled"],
        # The engine writes year 1 for "never".
        started_at=None
        if state["StartedAt"].startswith("0001-")
        else datetime.fromisoformat(state["StartedAt"]),
    )


def _none_if_missing(function: Callable[[], Result]) -> Result | None:
    import docker.errors

    try:
        return function()
    except docker.errors.NotFound:
        return None


def _ignoring_missing(function: Callable[..., object], *arguments: object) -> None:
    _none_if_missing(lambda: function(*arguments))


async def _together(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """Results of calls that run side by side; when one fails the others are still waited for, so
    that whoever undoes them finds all that was made."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
