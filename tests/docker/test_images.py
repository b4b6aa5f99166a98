"""Stock images and the agent's volume, built by a real engine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from containers import execute, python

from cloudide.errors import NotFound, Unavailable
from cloudide.images.catalogue import StockImage
from cloudide.images.stock import Progress, StockImages
from cloudide.workspaces.docker import DockerRuntime
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import ContainerSpec

pytest_plugins = ["engine"]

MakeSpec = Callable[..., ContainerSpec]


@pytest.fixture
async def own_stock(
    engine: Engine, stock: StockImages, ca_bundle: Any
) -> AsyncIterator[StockImages]:
    """Stock images whose versions nobody else has; what was built of them goes afterwards."""
    own = StockImages(engine, ca_bundle=ca_bundle)
    mark = secrets.token_hex(6)
    own.agent = changed(own.agent, mark, **{"cloudide/mark.py": f"MARK = {mark!r}\n".encode()})
    yield own

    def remove(client: Any) -> None:
        # `latest` had moved along, and would keep the image.
        client.tag(stock.agent.tag, stock.agent.repository, "latest", force=True)
        name = f"cloudide-agent-{mark}"
        for row in client.containers(all=True, filters={"name": name}):
            client.remove_container(row["Id"])
        if any(v["Name"] == name for v in client.volumes()["Volumes"]):
            client.remove_volume(name)
        for image in client.images():
            for tag in image["RepoTags"] or []:
                if tag.endswith(f":{mark}"):
                    client.remove_image(tag)

    await engine.call(remove)


def changed(image: StockImage, version: str, **files: bytes) -> StockImage:
    return StockImage(
        id=image.id,
        title=image.title,
        description=image.description,
        parent=image.parent,
        version=version,
        files={**image.files, **files},
    )


async def test_nothing_is_built_twice(stock: StockImages) -> None:
    reports: list[Progress] = []
    await stock.prepare(reports.append)
    assert reports == []
    ahead = [image.id for image in stock.images.values() if not image.on_demand]
    assert ahead == ["base", "python", "polyglot"]
    assert set(ahead) <= {image.id for image in await stock.list() if image.ready}


async def test_unknown_image_names_the_known(stock: StockImages) -> None:
    with pytest.raises(NotFound) as error:
        await stock.ensure("cobol")
    assert "'cobol'" in error.value.message
    assert ", ".join(stock.images) in error.value.message


async def test_python_image_is_ready_for_a_person(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """A fresh volume belongs to the user, tools are on PATH, and text is UTF-8."""
    container = await runtime.create(make_spec())
    await runtime.start("one")
    for probe in (
        "touch /workspace/file ~/file",
        "python --version && pip --version && ruff --version && pytest --version",
        "basedpyright --version",
        "git --version && rg --version && make --version && curl --version",
        "test \"$(python -c 'import sys; print(sys.stdout.encoding)')\" = utf-8",
        "python -m venv /tmp/venv && /tmp/venv/bin/pip --version",
        'test "$(id -un)" = dev',
    ):
        status, output = await execute(engine, container, "bash", "-c", probe)
        assert status == 0, output


async def test_ca_bundle_is_not_in_the_images(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, stock: StockImages
) -> None:
    """The build needed it for pip (whose packages are there); the image shows no trace of it."""
    container = await runtime.create(make_spec())
    await runtime.start("one")
    look = "find / -xdev -name bundle.pem -o -xdev -path /build 2>/dev/null; true"
    assert await execute(engine, container, "bash", "-c", look) == (0, "")
    for image in (*stock.images.values(), stock.agent):
        history = await engine.call(lambda client, image=image: client.history(image.tag))
        assert not [layer for layer in history if ".ca" in layer["CreatedBy"]]


async def test_agent_volume_is_whole_however_many_ask(
    own_stock: StockImages, engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    reports: list[Progress] = []
    names = await asyncio.gather(*(own_stock.ensure_agent_volume(reports.append) for _ in range(5)))
    assert len(set(names)) == 1
    assert [p.step for p in reports if p.done] == ["agent"]
    container = await runtime.create(make_spec(agent_volume=names[0]))
    await runtime.start("one")
    modules = "cloudide.mark, cloudide.protocol.agent, msgspec, websockets, watchfiles, ssl, ctypes"
    assert await python(engine, container, f"import {modules}; print('whole')") == "whole"


async def test_half_filled_agent_volume_is_made_again(
    own_stock: StockImages, engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """A server that died at the wrong moment leaves a volume that is there, but empty or cut."""
    name = f"cloudide-agent-{own_stock.agent.version}"
    await engine.call(lambda client: client.create_volume(name))
    assert await own_stock.ensure_agent_volume() == name
    container = await runtime.create(make_spec(agent_volume=name))
    await runtime.start("one")
    assert await python(engine, container, "import cloudide.mark; print('whole')") == "whole"


async def test_used_agent_volume_survives_the_loss_of_its_mark(
    own_stock: StockImages, engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """`docker container prune` takes the container that says "complete"; workspaces use it on."""
    name = await own_stock.ensure_agent_volume()
    container = await runtime.create(make_spec(agent_volume=name))
    await engine.call(lambda client: client.remove_container(name))
    assert await own_stock.ensure_agent_volume() == name
    await runtime.start("one")
    assert await python(engine, container, "import cloudide.mark; print('whole')") == "whole"


async def test_failed_build_is_reported(own_stock: StockImages) -> None:
    dockerfile = b"ARG PARENT\nFROM ${PARENT}\nRUN echo no such luck >&2; exit 7\n"
    mark = own_stock.agent.version
    own_stock.images["base"] = changed(own_stock.images["base"], mark, Dockerfile=dockerfile)
    with pytest.raises(Unavailable) as error:
        await own_stock.ensure("base")
    assert "Debian could not be built" in error.value.message
    ready = {image.id: image.ready for image in await own_stock.list()}
    assert not ready["base"]
    assert ready["python"]  # made of the former one, which is there
