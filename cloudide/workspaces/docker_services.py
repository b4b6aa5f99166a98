"""Containers of services beside a workspace, on a Docker Engine; `runtime.py` says what for.

They are confined as workspaces are. What an image would do as root it does as another user here,
who owns its volume; nothing gets a capability. They carry the workspace's labels with the role
`service`, and what they were made as, so that everything about them is found by asking the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cloudide.errors import NotFound
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.foreign import (
    DEFAULT_OWNER,
    HOME,
    OWNER_LABEL,
    furnish,
    parse_owner,
)
from cloudide.workspaces.runtime import ObservedService, ServiceSpec

if TYPE_CHECKING:
    from docker.api.client import APIClient

Result = TypeVar("Result")

NANOSECONDS = 10**9
HEALTH_TIMEOUT = 10  # seconds one check may take
LOG_LINES = 1000
LOG_LIMIT = 256 * 1024  # bytes


class DockerServices:
    """`instance` as of `DockerRuntime`; the network is made with the workspace's own container."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance

    async def list(self, workspace_id: str) -> list[ObservedService]:
        rows = await self._rows(workspace_id)

        def inspect(client: APIClient) -> list[ObservedService]:
            found = (_if_there(lambda row=row: client.inspect_container(row["Id"])) for row in rows)
            return [_observed(each) for each in found if each]

        return await self._engine.call(inspect)

    async def workspaces(self) -> set[str]:
        """The workspaces that have any."""
        return {row["Labels"]["cloudide.workspace"] for row in await self._rows()}

    async def start(self, spec: ServiceSpec) -> None:
        await self._engine.call(lambda client: self._start(client, spec))

    async def remove(self, workspace_id: str, service: str, timeout: float) -> None:
        name = self._name(workspace_id, service)

        def remove(client: APIClient) -> None:
            # Databases want to be asked; a container that is not there, or not running, is fine.
            _if_there(lambda: client.stop(name, timeout=round(timeout)))
            _if_there(lambda: client.remove_container(name, v=True, force=True))

        await self._engine.call(remove)

    async def destroy(self, workspace_id: str) -> None:
        """Remove all, with their volumes."""
        try:
            rows = await self._rows(workspace_id)
        except NotFound:
            return  # the engine knows of nothing
        labels = self._filter(workspace_id)

        def destroy(client: APIClient) -> None:
            for row in rows:
                _if_there(lambda row=row: client.remove_container(row["Id"], v=True, force=True))
            for volume in client.volumes(filters={"label": labels})["Volumes"] or []:
                _if_there(lambda volume=volume: client.remove_volume(volume["Name"]))

        await self._engine.call(destroy)

    async def log(self, workspace_id: str, service: str) -> str:
        """The end of what it printed. Raises: NotFound: there is no such container."""
        name = self._name(workspace_id, service)
        output = await self._engine.call(
            lambda client: _if_there(lambda: client.logs(name, tail=LOG_LINES))
        )
        if output is None:
            raise NotFound("This service has no container now.")
        return output[-LOG_LIMIT:].decode(errors="replace")

    # ── these run in threads of the engine's pool ───────────────────────────────────────────────

    async def _rows(self, workspace_id: str = "") -> list[dict[str, Any]]:
        filters = {"label": self._filter(workspace_id)}
        return await self._engine.call(lambda client: client.containers(all=True, filters=filters))

    def _filter(self, workspace_id: str) -> list[str]:
        labels = {"cloudide.instance": self._instance, "cloudide.role": "service"}
        if workspace_id:
            labels["cloudide.workspace"] = workspace_id
        return [f"{name}={value}" for name, value in labels.items()]

    def _name(self, workspace_id: str, service: str) -> str:
        return f"cloudide-{self._instance}-{workspace_id}-service-{service}"

    def _start(self, client: APIClient, spec: ServiceSpec) -> None:
        name = self._name(spec.workspace_id, spec.service)
        labels = {
            "cloudide.instance": self._instance,
            "cloudide.role": "service",
            "cloudide.workspace": spec.workspace_id,
            "cloudide.service": spec.service,
        }
        if _if_there(lambda: client.inspect_container(name)) is None:
            image = _if_there(lambda: client.inspect_image(spec.image))
            if image is None:
                raise NotFound(f"The image {spec.image} is not on the container engine.")
            config = image.get("Config") or {}
            owner = parse_owner((config.get("Labels") or {}).get(OWNER_LABEL, ""))
            user = str(config.get("User") or "")
            if owner is None and user.partition(":")[0] in ("", "0", "root"):
                owner = DEFAULT_OWNER
            if spec.volume and _if_there(lambda: client.inspect_volume(name)) is None:
                client.create_volume(name, labels=labels)
            made = {**labels, "cloudide.version": spec.version}
            options = self._config(
                client, spec, name, f"{owner[0]}:{owner[1]}" if owner else user, made
            )
            container = client.create_container_from_config(options, name=name)["Id"]
            # The volume of an image with a user of its own has what the image says of that folder.
            if owner:
                furnish(client, container, owner, workspace=spec.volume or HOME, home=HOME)
        client.start(name)

    def _config(
        self, client: APIClient, spec: ServiceSpec, name: str, user: str, labels: dict[str, str]
    ) -> dict[str, Any]:
        from docker.types import LogConfig, Mount

        network = f"cloudide-{self._instance}-{spec.workspace_id}"
        health: dict[str, Any] = {"test": ["NONE"]}
        if spec.health is not None:
            check = spec.health.command
            health = {
                "test": ["CMD-SHELL", check] if isinstance(check, str) else ["CMD", *check],
                "interval": round(spec.health.interval * NANOSECONDS),
                "timeout": HEALTH_TIMEOUT * NANOSECONDS,
                "retries": spec.health.retries,
            }
        mounts = [Mount(spec.volume, name, type="volume")] if spec.volume else []
        return client.create_container_config(
            spec.image,
            command=spec.command,
            user=user,
            hostname=spec.service,
            environment=spec.environment,
            labels=labels,
            healthcheck=health,
            networking_config=client.create_networking_config(
                {network: client.create_endpoint_config(aliases=[spec.service])}
            ),
            host_config=client.create_host_config(
                mounts=mounts,
                network_mode=network,
                init=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                nano_cpus=round(spec.limits.cpus * NANOSECONDS),
                mem_limit=spec.limits.memory,
                memswap_limit=spec.limits.memory,
                pids_limit=spec.limits.processes,
                ipc_mode="private",
                restart_policy={"Name": "no"},
                log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
            ),
        )


def _observed(container: dict[str, Any]) -> ObservedService:
    state, labels = container["State"], container["Config"]["Labels"]
    return ObservedService(
        service=labels["cloudide.service"],
        version=labels["cloudide.version"],
        running=state["Status"] in ("running", "paused", "restarting"),
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
    )


def _if_there(function: Callable[[], Result]) -> Result | None:
    import docker.errors

    try:
        return function()
    except docker.errors.NotFound:
        return None
