"""Fixtures of the tests that use a real container engine. Whatever a test makes, it removes."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import MIB, belongings

from cloudide.images.stock import StockImages
from cloudide.workspaces import docker as docker_runtime
from cloudide.workspaces.docker import DockerRuntime
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import ContainerSpec, Limits

BUSYBOX = """
FROM cloudide/base:latest AS source
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends busybox-static
RUN mkdir --parents /image/bin && cp /bin/busybox /image/bin/ && ln -s busybox /image/bin/sh

FROM scratch
COPY --from=source /image /
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def ca_bundle() -> Path | None:
    """The CA bundle of this machine, where its network needs one."""
    path = os.environ.get("SSL_CERT_FILE")
    return Path(path) if path else None


@pytest.fixture(scope="session")
async def stock(engine: Engine, ca_bundle: Path | None) -> StockImages:
    stock = StockImages(engine, ca_bundle=ca_bundle)
    await stock.prepare()
    return stock


@pytest.fixture(scope="session")
async def busybox(engine: Engine, stock: StockImages) -> str:
    """An image that holds busybox and nothing else, not even /etc or /tmp."""
    import io

    tag = "cloudide-test/busybox:latest"

    def build(client: Any) -> None:
        dockerfile = io.BytesIO(BUSYBOX.encode())
        for item in client.build(fileobj=dockerfile, tag=tag, rm=True, decode=True):
            assert "error" not in item, item

    await engine.call(build)
    return tag


@pytest.fixture
def instance() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def waiting_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the agent, its interpreter waits: these tests are about the container."""
    wait = ["-c", "import signal; signal.pause()"]
    command = [*docker_runtime.AGENT_COMMAND[: -len(wait)], *wait]
    monkeypatch.setattr(docker_runtime, "AGENT_COMMAND", command)


@pytest.fixture
async def runtime(
    engine: Engine, instance: str, waiting_agent: None
) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(engine, instance=instance, network_pool="10.214.0.0/20")
    await runtime.check()
    yield runtime
    await runtime.close()
    for workspace_id in {name.split("-")[3] for name in await belongings(engine, instance)}:
        await runtime.destroy(workspace_id)
    assert await belongings(engine, instance) == []


@pytest.fixture
async def make_spec(stock: StockImages, tmp_path: Path) -> Callable[..., ContainerSpec]:
    volume = await stock.ensure_agent_volume()
    image = await stock.ensure("python")

    def make(workspace_id: str = "one", **changes: Any) -> ContainerSpec:
        values = {
            "workspace_id": workspace_id,
            "generation": 1,
            "image": image,
            "agent_volume": volume,
            "link_directory": tmp_path,
            "limits": Limits(cpus=1.5, memory=128 * MIB, processes=64),
        }
        return ContainerSpec(**{**values, **changes})

    return make
