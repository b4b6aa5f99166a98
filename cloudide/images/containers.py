"""Containers and networks of builds: commands that the server runs itself, and what ends them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cloudide.images import dockerfile

if TYPE_CHECKING:
    from docker.api.client import APIClient

CHUNK = 256 * 1024
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108
SECRETS = "/run/secrets"
SHELL = ["/bin/sh", "-c"]
PROCESSES = 4096


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A command to be run in a container of its own."""

    image: str
    command: str
    binds: list[str]
    network: str
    memory: int
    cpus: float
    labels: Mapping[str, str]
    words: list[str] = []  # $0, $1, …; then the command is a script of /bin/sh
    environment: Mapping[str, str] = {}
    user: str = ""  # "": the image's

    def create(self, client: APIClient) -> Ran:
        from docker.types import LogConfig

        config = client.inspect_image(self.image).get("Config") or {}
        if self.words:
            command = ["/bin/sh", "-c", self.command, *self.words]
        else:
            command = _with_environment(
                dockerfile.command_of(self.command, config.get("Shell") or SHELL)
            )
        made = client.create_container_from_config(
            client.create_container_config(
                self.image,
                command=command,
                entrypoint=[],
                labels=dict(self.labels),
                user=self.user or None,
                environment=dict(self.environment),
                host_config=client.create_host_config(
                    binds=self.binds,
                    network_mode=self.network,
                    mem_limit=self.memory,
                    memswap_limit=self.memory,
                    nano_cpus=round(self.cpus * 1e9),
                    pids_limit=PROCESSES,
                    log_config=LogConfig(type=LogConfig.types.NONE),
                ),
            )
        )
        return Ran(made["Id"], config)


class Ran:
    """A container of a command: its exit status once it has ended."""

    def __init__(self, container: str, config: Mapping[str, Any]) -> None:
        self.status = 0
        self._container = container
        self._config = config

    def attend(self, client: APIClient, output: Callable[[bytes], object]) -> Ran:
        """Start it, pass on what it says, and wait for its end; blocks."""
        from docker.utils.socket import frames_iter

        # Attached before it starts, so that nothing has to be kept of what it says.
        parameters = {"stdout": 1, "stderr": 1, "stream": 1}
        stream = client.attach_socket(self._container, params=parameters)
        try:
            client.start(self._container)
            for _, chunk in frames_iter(stream, tty=False):
                output(chunk)
        finally:
            getattr(stream, "_response").close()  # noqa: B009
            stream.close()
        self.status = client.wait(self._container)["StatusCode"]
        return self

    def file(self, client: APIClient, path: str) -> bytes:
        chunks, _ = client.get_archive(self._container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member else None
            return file.read(4096) if file else b""

    def save(self, client: APIClient, path: str, to: Path) -> None:
        chunks, _ = client.get_archive(self._container, path, chunk_size=CHUNK)
        with to.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def commit(self, client: APIClient, tag: str) -> None:
        """Make an image of it, which starts what its ground starts, and remove it."""
        changes = [
            f"CMD {json.dumps(self._config.get('Cmd') or [])}",
            f"ENTRYPOINT {json.dumps(self._config.get('Entrypoint') or [])}",
        ]
        repository, _, name = tag.rpartition(":")
        client.commit(self._container, repository, name, changes=changes)
        self.remove(client)

    def remove(self, client: APIClient) -> None:
        ignoring_missing(lambda: client.remove_container(self._container, v=True, force=True))


def _with_environment(command: list[str]) -> list[str]:
    """A shell's command reads its build arguments first; another program has none."""
    if len(command) == 3 and command[1] == "-c":
        return [*command[:2], f". {SECRETS}/.environment\n{command[2]}"]
    return command


class InMemory:
    """A folder in memory, gone at the end; nobody but root may look into it."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._path = Path()

    def __enter__(self) -> Path:
        where = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self._path = Path(tempfile.mkdtemp(prefix=f"cloudide-{self._instance}-", dir=where))
        (self._path / "secrets").mkdir(mode=0o755)
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o444)  # in the container, whoever runs the step; outside, the folder is closed


# ── questions and orders to the engine ──────────────────────────────────────────────────────────


def ignoring_missing(work: Callable[[], object]) -> None:
    import docker.errors

    try:
        work()
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != 409:  # being removed already
            raise


def untag(client: APIClient, tag: str) -> None:
    ignoring_missing(lambda: client.remove_image(tag, noprune=True))


def remove_network(client: APIClient, name: str) -> None:
    """Remove a build's network with whatever still runs in it."""
    import docker.errors

    try:
        found = client.inspect_network(name)
    except docker.errors.NotFound:
        return
    listed = client.containers(all=True, filters={"network": found["Id"]})
    for row in listed:
        ignoring_missing(lambda row=row: client.remove_container(row["Id"], v=True, force=True))
    for container in found.get("Containers") or {}:
        ignoring_missing(
            lambda container=container: client.remove_container(container, v=True, force=True)
        )
    ignoring_missing(lambda: client.remove_network(found["Id"]))


def end_if_over(client: APIClient, network: str, disk: int, reserve: int) -> bool:
    """Kill the containers of a build that wrote more than they may; whether any did."""
    rows = client.containers(size=True, filters={"network": network})
    try:
        root = client.info().get("DockerRootDir") or "/"
        short = shutil.disk_usage(root).free < reserve
    except OSError:
        short = False  # the engine is on another machine
    over = [row for row in rows if short or int(row.get("SizeRw") or 0) > disk]
    for row in over:
        ignoring_missing(lambda row=row: client.kill(row["Id"]))
    return bool(over)
