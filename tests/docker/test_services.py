"""Services beside a workspace, on a real engine: reached by name, kept, restarted, cleaned up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from containers import belongings
from server import WAIT_SECONDS, Server, serving

from cloudide.workspaces.engine import Engine

pytest_plugins = ["engine"]

SERVE = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
FILE = f"""
[services.web]
image = "python"
command = ["python3", "-u", "-c", "{SERVE}"]
env = {{ GREETING = "hello" }}
ports = [8000]
volume = "/data"
health = {{ command = ["python3", "-c", "import socket; socket.create_connection(('web', 8000))"], interval = 1 }}
resources = {{ memory = "96m" }}

[services.after]
image = "python"
command = "sh -c 'echo started; sleep infinity'"
depends_on = ["web"]
"""  # noqa: E501
PROBE = """
import http.client, sys
try:
    connection = http.client.HTTPConnection(sys.argv[1], 8000, timeout=2)
    connection.request("GET", "/")
    print("reached", connection.getresponse().status)
except OSError as error:
    print("closed", type(error).__name__)
"""


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that may be killed."""
    async with serving(tmp_path_factory.mktemp("services") / "data") as server:
        yield server


@pytest.fixture(scope="module")
async def workspace(own: Server) -> str:
    id = await own.api.create("with services", image="python")
    # What the file says at its start would be applied by itself.
    await own.api.post(f"/api/v1/workspaces/{id}/services")
    await own.api.write(id, "cloudide.toml", FILE)
    await own.api.write(id, "probe.py", PROBE)
    return id


async def told(
    server: Server, workspace: str, is_it: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait until what is told of the services is so."""
    async with asyncio.timeout(WAIT_SECONDS), aclosing(server.api.events(workspace)) as events:
        await anext(events)  # from here on nothing is missed
        view = await server.api.get(f"/api/v1/workspaces/{workspace}/services")
        while not is_it(view):
            async for name, body in events:
                if name == "services":
                    view = body
                    break
        return view


async def until(server: Server, workspace: str, **states: str) -> dict[str, Any]:
    """Wait until services are in these states."""
    return await told(
        server,
        workspace,
        lambda view: {each["name"]: each["state"] for each in view["services"]} == states,
    )


async def probe(server: Server, workspace: str, host: str = "web") -> str:
    _, output = await server.api.run(workspace, "python3", "/workspace/probe.py", host)
    return output.strip()


async def test_they_run_beside_the_workspace_once_somebody_asks(
    own: Server, workspace: str, engine: Engine
) -> None:
    """Writing the file runs nothing; it is told that there is something to apply."""
    base = f"/api/v1/workspaces/{workspace}/services"
    assert (await told(own, workspace, lambda view: view["outdated"]))["services"] == []

    await own.api.post(base)
    view = await until(own, workspace, web="healthy", after="running")
    assert not view["outdated"]
    assert await probe(own, workspace) == "reached 200"
    assert "started" in (await own.api.get(f"{base}/after/log"))["log"]

    instance = (own.data_dir / "instance").read_text().strip()
    name = f"cloudide-{instance}-{workspace}-service-web"
    found = await engine.call(lambda client: client.inspect_container(name))
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 96 << 20
    assert found["Config"]["User"] == "1000:1000"
    assert [mount["Destination"] for mount in found["Mounts"]] == ["/data"]
    assert not host["Privileged"]


async def test_what_is_written_to_its_volume_outlives_its_container(
    own: Server, workspace: str, engine: Engine
) -> None:
    instance = (own.data_dir / "instance").read_text().strip()
    name = f"cloudide-{instance}-{workspace}-service-web"

    def write(client: Any) -> int:
        id = client.exec_create(name, ["sh", "-c", "echo kept > /data/file"])["Id"]
        client.exec_start(id)
        return client.exec_inspect(id)["ExitCode"]

    assert await engine.call(write) == 0
    former = await engine.call(lambda client: client.inspect_container(name)["Id"])
    await own.api.post(f"/api/v1/workspaces/{workspace}/services/web/restart")
    await told(own, workspace, lambda view: view["services"][0]["state"] != "healthy")
    await until(own, workspace, web="healthy", after="running")

    def read(client: Any) -> str:
        return client.exec_start(client.exec_create(name, ["cat", "/data/file"])["Id"]).decode()

    assert await engine.call(read) == "kept\n"
    assert await engine.call(lambda client: client.inspect_container(name)["Id"]) != former


async def test_others_do_not_reach_them(own: Server, workspace: str, engine: Engine) -> None:
    """Neither by name nor by address, and they do not reach the server."""
    instance = (own.data_dir / "instance").read_text().strip()
    name = f"cloudide-{instance}-{workspace}-service-web"
    networks = (await engine.call(lambda client: client.inspect_container(name)))["NetworkSettings"]
    [network] = networks["Networks"].values()
    other = await own.api.create("another", image="python")
    await own.api.write(other, "probe.py", PROBE)
    assert (await probe(own, other)).startswith("closed")
    assert (await probe(own, other, network["IPAddress"])).startswith("closed")
    await own.api.remove(other)

    def knock(client: Any) -> int:
        code = f"import socket; socket.create_connection(('{network['Gateway']}', {own.port}), 2)"
        id = client.exec_create(name, ["python3", "-c", code])["Id"]
        client.exec_start(id)
        return client.exec_inspect(id)["ExitCode"]

    assert await engine.call(knock) == 1


async def test_a_killed_server_finds_them_and_one_that_ended_is_started_again(
    own: Server, workspace: str, engine: Engine
) -> None:
    instance = (own.data_dir / "instance").read_text().strip()
    name = f"cloudide-{instance}-{workspace}-service-"

    def ids(client: Any) -> dict[str, str]:
        rows = client.containers(filters={"name": name})
        return {row["Labels"]["cloudide.service"]: row["Id"] for row in rows}

    former = await engine.call(ids)
    await own.kill()
    await own.start()
    await until(own, workspace, web="healthy", after="running")
    assert await engine.call(ids) == former

    await engine.call(lambda client: client.kill(f"{name}after"))
    async with asyncio.timeout(WAIT_SECONDS):
        while (await engine.call(ids)).get("after", former["after"]) == former["after"]:  # noqa: ASYNC110 - told in no order
            await asyncio.sleep(0.05)
    await until(own, workspace, web="healthy", after="running")
    assert (await engine.call(ids))["web"] == former["web"]


async def test_mistakes_are_told_with_their_place_and_cost_the_others_nothing(
    own: Server, workspace: str
) -> None:
    wrong = (
        '[services.a]\nimage = "python"\ndepends_on = ["b"]\n'
        '[services.b]\nimage = "python"\ndepends_on = ["a"]\n'
        '[services.evil]\nimage = "evil/miner"\n'
        '[services.ends]\nimage = "python"\ncommand = "false"\n'
    )
    await own.api.write(workspace, "cloudide.toml", wrong)
    view = await own.api.post(f"/api/v1/workspaces/{workspace}/services")
    places = [(each["line"], each["column"]) for each in view["problems"]]
    assert places == [(3, 15), (6, 15)]
    assert "it depends on itself: a → b → a" in view["problems"][0]["message"]
    view = await until(own, workspace, evil="failed", ends="failed")
    evil, ends = (each["error"] for each in view["services"])
    assert "evil/miner is not among those that services may run" in evil
    assert "It ended with 1, 3 times within a minute" in ends


async def test_they_stop_with_the_workspace_and_go_with_it(
    own: Server, workspace: str, engine: Engine
) -> None:
    instance = (own.data_dir / "instance").read_text().strip()
    await own.api.write(workspace, "cloudide.toml", FILE)
    await own.api.post(f"/api/v1/workspaces/{workspace}/stop")
    await own.api.until(workspace, "stopped")
    await until(own, workspace, evil="stopped", ends="stopped")
    left = await belongings(engine, instance)
    assert [each for each in left if "-service-" in each] == [
        f"cloudide-{instance}-{workspace}-service-web"  # the volume
    ]

    # At its start what the file says now holds.
    await own.api.post(f"/api/v1/workspaces/{workspace}/start")
    await until(own, workspace, web="healthy", after="running")
    await own.api.remove(workspace)
    assert await belongings(engine, instance) == []
