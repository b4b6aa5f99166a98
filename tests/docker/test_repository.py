"""A Git repository as a build context, from a real `git daemon` beside what fetches."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudide.errors import InvalidInput
from cloudide.images.builder import Builder, BuildFailed, Limits, Telling
from cloudide.images.contexts import ContextLimits, Contexts
from cloudide.images.repository import fetch
from cloudide.images.stock import StockImages
from cloudide.secrets.redaction import Redactor
from cloudide.workspaces.engine import Engine

pytest_plugins = ["engine"]

MIB = 1024 * 1024
SERVE = """
set -e
export HOME=/tmp GIT_CONFIG_COUNT=2
export GIT_CONFIG_KEY_0=user.email GIT_CONFIG_VALUE_0=a@example.org
export GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=A
mkdir -p /tmp/srv/p && cd /tmp/srv/p && git init -q -b main .
mkdir image && printf 'FROM scratch\\n' > image/Dockerfile && printf x > outside
git add . && git commit -qm one && git tag v1
ln -s /etc/passwd image/out && git add . && git commit -qm two
exec git daemon --base-path=/tmp/srv --export-all --reuseaddr
"""


class Beside(Builder):
    """Its containers are in the network of the daemon, not in one of their own."""

    network = ""

    @asynccontextmanager
    async def fenced(self, build: str, tell: Telling) -> AsyncIterator[str]:
        yield self.network


@pytest.fixture
async def builder(engine: Engine, stock: StockImages, instance: str) -> AsyncIterator[Beside]:
    name = f"cloudide-{instance}-git"
    image = await stock.ensure("base")

    def serve(client: Any) -> None:
        client.create_network(name, driver="bridge")
        config = client.create_host_config(network_mode=name)
        command = ["sh", "-c", SERVE]
        health = {"test": ["CMD", "git", "ls-remote", "git://localhost/p"], "interval": 500_000_000}
        container = client.create_container(
            image, command, name=name, hostname="daemon", host_config=config, healthcheck=health
        )
        events = client.events(filters={"container": container["Id"]}, decode=True)
        client.start(container)
        for event in events:
            if event["status"] == "health_status: healthy":
                break
        events.close()

    def remove(client: Any) -> None:
        client.remove_container(name, force=True)
        client.remove_network(name)

    made = Beside(
        engine,
        instance=instance,
        network_pool="10.214.0.0/20",
        limits=Limits(memory=512 * MIB, disk=512 * MIB, reserve=0, cpus=1.0),
        ca_bundle=None,
    )
    made.network = name
    await engine.call(serve)
    yield made
    await engine.call(remove)


async def test_a_folder_of_a_repository(
    builder: Beside, stock: StockImages, tmp_path: Path
) -> None:
    contexts = Contexts(tmp_path / "contexts", ContextLimits(size=MIB, entries=100))
    host = builder.network

    def telling() -> tuple[Telling, Callable[[], str]]:
        said = bytearray()
        return Telling(said.extend, Redactor({})), lambda: said.decode()

    async def fetched(ref: str, path: str = "p") -> Path:
        tell, said = telling()
        tell.steps.begin("Fetch")
        commit, archive = await fetch(
            builder,
            stock,
            build=f"bld_{secrets.token_hex(8)}",
            url=f"git://{host}/{path}",
            ref=ref,
            secrets={"GIT_TOKEN": b"never-printed"},
            ca_bundle=None,
            folder=contexts.folder,
            tell=tell,
        )
        assert len(commit) == 40
        assert "never-printed" not in said()
        return archive

    digest = contexts.add(await fetched("v1"), below="src/image")
    assert contexts.names(digest) == ["Dockerfile"]
    # The newest has a link that leads out of what is fetched.
    with pytest.raises(InvalidInput, match="leads out"):
        contexts.add(await fetched(""), below="src/image")
    with pytest.raises(BuildFailed, match=r"Fetch.* ended with exit code 128"):
        await fetched("missing")
