"""Prebuilds on a real engine: what new workspaces begin with, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import sqlite3
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from containers import belongings
from git_daemon import ADDRESS, IDENTITY, git_daemon, repository, run
from imagery import built, define
from server import WAIT_SECONDS, Server, serving

from cloudide.workspaces.engine import Engine

pytest_plugins = ["engine"]

PREBUILDS = "/api/v1/prebuilds"
SETUP = '[prebuild]\ncommand = "sh setup.sh"\n'
TAKES_NOTE = "id > built.txt; env > ~/environment; echo $RANDOM >> once\n"


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that may be killed."""
    data = tmp_path_factory.mktemp("prebuilds") / "data"
    async with serving(data, pip_index=f"http://{ADDRESS}:8000/simple") as server:
        yield server


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `demo.git` and a clone of it, `work`."""
    return await repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
async def git_url(folder: Path) -> AsyncIterator[str]:
    async with git_daemon(folder) as url:
        yield url


async def commit(folder: Path, name: str, text: str) -> None:
    work = folder / "work"
    (work / name).write_text(text)
    await run("git", "add", name, cwd=work)
    await run("git", *IDENTITY, "commit", "--allow-empty", "--quiet", "--message", name, cwd=work)
    await run("git", "push", "--quiet", "origin", "HEAD:main", cwd=work)


async def until(server: Server, id: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := await server.api.get(f"{PREBUILDS}/{id}"))["state"] not in states:  # noqa: ASYNC110 - nobody's
            await asyncio.sleep(0.1)
    return found


async def left(server: Server, engine: Engine, count: int) -> list[str]:
    """Wait until there is no more than this in the engine, and say what."""
    instance = (server.data_dir / "instance").read_text().strip()
    async with asyncio.timeout(WAIT_SECONDS):
        while len(found := await belongings(engine, instance)) > count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return found


async def test_a_workspace_begins_with_what_was_set_up_and_has_what_is_newest(
    own: Server, git_url: str, folder: Path, engine: Engine
) -> None:
    """The command has run once, ahead; no secret and no token of the prebuild is there."""
    await commit(folder, "cloudide.toml", SETUP)
    await commit(folder, "setup.sh", TAKES_NOTE)
    body = {"image": "base", "git": {"url": git_url}}
    prebuild = await own.api.post(PREBUILDS, json=body)
    ready = await until(own, prebuild["id"], "ready", "failed")
    assert (ready["state"], ready["error"]) == ("ready", "")
    assert ready["seconds"] > 0
    [home, files] = await left(own, engine, 2)  # the two volumes of the seed, and nothing else
    assert home.endswith("-home")
    assert files.endswith("-workspace")

    await commit(folder, "new.txt", "pushed later\n")
    first = await own.api.create("first", git={"url": git_url})
    second = await own.api.create("second", git={"url": git_url, "ref": "v1"})
    once = await own.api.read(first, "once")
    assert once == await own.api.read(second, "once")
    assert await own.api.read(first, "new.txt") == b"pushed later\n"
    assert await own.api.read(second, "a.txt") == b"one\n"
    owner = (await own.api.run(first, "stat", "-c", "%U", "/workspace/built.txt"))[1].strip()
    assert owner == "dev"
    _, environment = await own.api.run(first, "cat", "/home/dev/environment")
    token = (own.data_dir / "run" / first / "token").read_text()
    assert token not in environment
    assert f"CLOUDIDE_WORKSPACE={first}" not in environment
    assert (await own.api.run(first, "git", "-C", "/workspace", "status", "--short", "-uno"))[
        1
    ] == ""
    for workspace in (first, second):
        await own.api.remove(workspace)

    # Made anew, it takes the place of the former, whose volumes go; deleted, nothing is left.
    await own.api.post(f"{PREBUILDS}/{prebuild['id']}/runs")
    anew = await until(own, prebuild["id"], "ready")
    assert anew["commit"] != ready["commit"]
    assert set(await left(own, engine, 2)).isdisjoint({home, files})
    await own.api.delete(f"{PREBUILDS}/{prebuild['id']}")
    assert await left(own, engine, 0) == []


async def test_ready_ones_are_filled_with_the_newest_and_a_host_tells_of_pushes(
    own: Server, git_url: str, folder: Path, engine: Engine
) -> None:
    """A pushed commit has a new one made, whose workspaces take the place of the former's."""
    await commit(folder, "cloudide.toml", SETUP)
    await commit(folder, "setup.sh", "echo set up; id > built.txt; cp new2.txt was.txt || true\n")
    body = {"image": "base", "git": {"url": git_url}, "ready": 1}
    prebuild = await own.api.post(PREBUILDS, json=body)
    path = f"{PREBUILDS}/{prebuild['id']}"
    assert "set up" in await log_of(own, path)
    await pooled(own, prebuild["id"])

    hook = await own.api.post(f"{path}/hook-secret")
    assert hook["url"] == f"{own.url}{path}/hook"
    await commit(folder, "new2.txt", "pushed\n")
    message = b'{"ref": "refs/heads/main", "repository": {"default_branch": "main"}}'
    digest = hmac.new(hook["secret"].encode(), message, "sha256").hexdigest()
    for signature, status in (("0" * 64, 404), (digest, 202)):
        # As a Git host sends it: without any of the headers that our own clients have.
        async with httpx.AsyncClient() as host:
            answer = await host.post(
                hook["url"],
                content=message,
                headers={"X-Hub-Signature-256": f"sha256={signature}"},
            )
        assert answer.status_code == status, answer.text
    assert answer.json() == {"queued": True}
    former = prebuild["commit"]
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := await own.api.get(path))["commit"] == former or found["state"] != "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    [slot] = await pooled(own, prebuild["id"], seed=True)
    token = own.data_dir / "run" / slot / "token"
    before = token.read_text()

    await commit(folder, "later.txt", "after it was filled\n")
    made = await own.api.post("/api/v1/workspaces", json={"name": "x", "git": {"url": git_url}})
    assert made["id"] == slot
    await own.api.until(slot, "running")
    assert token.read_text() != before
    assert await own.api.read(slot, "was.txt") == b"pushed\n"
    assert await own.api.read(slot, "later.txt") == b"after it was filled\n"
    await own.api.delete(path)
    await own.api.remove(slot)
    assert await left(own, engine, 0) == []


async def log_of(server: Server, path: str) -> str:
    await until(server, path.rpartition("/")[2], "ready")
    return (await server.api.get(f"{path}/log"))["log"]


async def pooled(server: Server, prebuild: str, *, seed: bool = False) -> list[str]:
    """Wait until one is ready that this prebuild has filled, with its newest seed."""
    query = "select pool_slots.id from pool_slots join prebuilds using (seed)"
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            pools = (await server.api.get("/api/v1/pools"))["pools"]
            ready = [each["ready"] for each in pools if each["prebuild"] == prebuild]
            file = f"file:{server.data_dir / 'cloudide.sqlite'}?mode=ro"
            with contextlib.closing(sqlite3.connect(file, uri=True)) as db:
                slots = [id for (id,) in db.execute(query)]
            if ready == [1] and (slots or not seed):
                return slots
            await asyncio.sleep(0.1)


async def has_address(namespace: str) -> bool:
    """Whether it is the one of this process's Git daemon; others' tests have theirs in time."""
    command = ("ip", "-n", namespace, "address", "show", "to", ADDRESS)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return bool((await process.communicate())[0])


METADATA = "Metadata-Version: 2.1\nName: cloudide-demo\nVersion: 1.0\n"


def wheel(path: Path) -> None:
    """A package that has nothing but a module."""
    about = "cloudide_demo-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("cloudide_demo.py", "answer = 42\n")
        file.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: cloudide-demo\nVersion: 1.0\n"
        )
        file.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{about}/RECORD", "")


async def test_a_teams_workspaces_install_what_its_projects_use_without_a_network(
    own: Server, git_url: str, folder: Path, engine: Engine, tmp_path: Path
) -> None:
    """The packages come from the index, not from the container that ran the project's code."""
    index = tmp_path / "simple" / "cloudide-demo"
    index.mkdir(parents=True)
    name = "cloudide_demo-1.0-py3-none-any.whl"
    wheel(index / name)
    (index / "index.html").write_text(f'<a href="{name}">{name}</a>')
    installed = ".venv/lib/python3/site-packages/cloudide_demo-1.0.dist-info"
    await commit(folder, "cloudide.toml", f'[prebuild]\ncommand = "mkdir -p {installed}"\n')
    team = (await own.api.post("/api/v1/teams", json={"name": "Cached"}))["id"]
    # The index is on the machine of the repository.
    [namespace] = [name for name in os.listdir("/run/netns") if await has_address(name)]
    server = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net=/run/netns/{namespace}"),
        *(sys.executable, "-m", "http.server", "8000", "--directory", str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        body = {"image": "python", "git": {"url": git_url}, "team": team}
        prebuild = (await own.api.post(PREBUILDS, json=body))["id"]
        async with asyncio.timeout(WAIT_SECONDS):
            path = f"{PREBUILDS}/{prebuild}/log"
            while "Cache for pip: 1 of 1" not in (await own.api.get(path))["log"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        server.terminate()
        await server.wait()

    id = await own.api.create("offline", image="python", team=team, git={"url": git_url})
    bare = await own.api.create("of no project", image="python", team=team)
    other = await own.api.create("another's", image="python")
    instance = (own.data_dir / "instance").read_text().strip()
    network = f"cloudide-{instance}-{id}"
    await engine.call(lambda client: client.disconnect_container_from_network(network, network))
    script = (
        "python3 -m venv /tmp/v && /tmp/v/bin/pip install -q cloudide-demo && /tmp/v/bin/python"
    )
    exit, output = await own.api.run(
        id, "sh", "-c", f"{script} -c 'import cloudide_demo as d; print(d.answer)' 2>&1"
    )
    assert (exit, output.rstrip()[-2:]) == ({"code": 0}, "42"), output
    _, output = await own.api.run(id, "sh", "-c", "rm -rf /opt/cloudide-seeds/pip 2>&1; echo $?")
    assert "Read-only file system" in output
    # pip takes what it finds by its name alone, so that nothing of one project gets into another.
    _, output = await own.api.run(
        bare, "sh", "-c", "ls /opt/cloudide-seeds; echo [$PIP_FIND_LINKS]"
    )
    assert output.split() == ["pip", "[]"]
    _, output = await own.api.run(other, "sh", "-c", "ls /opt/cloudide-seeds 2>&1")
    assert "No such file" in output

    # What a workspace sees stays until that has gone, and not longer.
    await own.api.delete(f"{PREBUILDS}/{prebuild}")
    for workspace in (id, bare, other):
        await own.api.remove(workspace)
    await own.api.delete(f"/api/v1/teams/{team}")
    await own.api.post(PREBUILDS, json={"image": "base", "git": {"url": f"{git_url}-none"}})
    [last] = (await own.api.get(PREBUILDS))["prebuilds"]
    await own.api.delete(f"{PREBUILDS}/{last['id']}")
    assert await left(own, engine, 0) == []


async def test_one_that_fails_says_why_and_a_killed_server_leaves_nothing(
    own: Server, git_url: str, folder: Path, engine: Engine
) -> None:
    await commit(folder, "cloudide.toml", SETUP)
    await commit(folder, "setup.sh", "echo it is broken; exit 3\n")
    body = {"image": "base", "git": {"url": git_url}}
    prebuild = await own.api.post(PREBUILDS, json=body)
    failed = await until(own, prebuild["id"], "failed")
    assert "The prebuild's command failed (3)" in failed["error"]
    assert "it is broken" in failed["error"]
    assert failed["commit"] == ""
    assert await left(own, engine, 0) == []

    await commit(folder, "cloudide.toml", "[prebuild]\ncommand = 1\n")
    await own.api.post(f"{PREBUILDS}/{prebuild['id']}/runs")
    failed = await until(own, prebuild["id"], "failed")
    assert failed["error"].startswith("cloudide.toml:2:11: [prebuild]")

    await commit(folder, "cloudide.toml", f'[prebuild]\ncommand = "sleep {secrets.randbits(16)}"\n')
    await own.api.post(f"{PREBUILDS}/{prebuild['id']}/runs")
    await until(own, prebuild["id"], "building")
    await own.kill()
    await own.start()
    assert (await until(own, prebuild["id"], "queued", "building"))["commit"] == ""
    await until(own, prebuild["id"], "building")
    await own.api.delete(f"{PREBUILDS}/{prebuild['id']}")
    assert await left(own, engine, 0) == []
    assert (await own.api.get(PREBUILDS))["prebuilds"] == []


DECLARED = """
[workspace]
image = "python"
resources = { memory = "300m", cpus = 0.5 }
secrets = ["TEAM_TOKEN", "MISSING", "UNREADABLE"]
[ports.8000]
label = "Web app"
visibility = "members"
on_open = "preview"
[services.beside]
image = "site/tools"
command = ["sh", "-c", "echo beside; sleep infinity"]
"""


async def test_a_project_says_what_its_workspaces_are_like(
    own: Server, git_url: str, folder: Path, engine: Engine
) -> None:
    """Image, limits, secrets, ports, and services made from an image that is defined here."""
    image = await define(own.api, "tools")
    build = await built(own.api, image, "FROM cloudide/base\n")
    await own.api.post(f"/api/v1/images/{image}/versions/{build['version']}/promote", json={})

    work = folder / "work"
    await run("git", "switch", "--quiet", "--create", "declared", cwd=work)
    (work / "cloudide.toml").write_text(DECLARED)
    await run("git", "add", "cloudide.toml", cwd=work)
    await run("git", *IDENTITY, "commit", "--quiet", "--message", "declared", cwd=work)
    await run("git", "push", "--quiet", "origin", "declared", cwd=work)
    await run("git", "switch", "--quiet", "-", cwd=work)

    body = {"name": "declared", "git": {"url": git_url, "ref": "declared"}}
    id = (await own.api.post("/api/v1/workspaces", json=body))["id"]
    base = f"/api/v1/workspaces/{id}"
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := await own.api.get(f"{base}/services"))["services"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        while found["services"][0]["state"] != "running":
            assert found["services"][0]["state"] != "failed", found
            await asyncio.sleep(0.1)
            found = await own.api.get(f"{base}/services")
    assert (found["problems"], found["outdated"]) == ([], False)
    assert found["image"] == "python"
    assert (await own.api.get(base))["image"] == "python"
    assert (await own.api.run(id, "python3", "-c", "print(6 * 7)"))[1].strip() == "42"
    assert "beside" in (await own.api.get(f"{base}/services/beside/log"))["log"]

    instance = (own.data_dir / "instance").read_text().strip()
    name = f"cloudide-{instance}-{id}"
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            host = (await engine.call(lambda c: c.inspect_container(name)))["HostConfig"]
            if host["Memory"] != 4 << 30:
                break
            await asyncio.sleep(0.1)
    assert host["Memory"] == host["MemorySwap"] == 300 << 20
    assert host["NanoCpus"] == 500_000_000
    [port] = (await own.api.get(f"{base}/ports"))["ports"]
    assert (port["port"], port["label"], port["visibility"], port["on_open"], port["open"]) == (
        8000, "Web app", "members", "preview", False,
    )  # fmt: skip

    for name, programs in (("TEAM_TOKEN", True), ("UNREADABLE", False)):
        readers = [{"workspace": id, "programs": programs, "tasks": ["deploy"]}]
        secret = {"name": name, "value": "of-the-workspace", "workspace": id, "readers": readers}
        await own.api.post("/api/v1/secrets", json=secret)
    script = 'echo "${TEAM_TOKEN:-none} ${UNREADABLE:-none} ${MISSING:-none}" > given.txt'
    await own.api.post(f"{base}/terminals", json={"command": ["sh", "-c", script]})
    async with asyncio.timeout(WAIT_SECONDS):
        while (await own.api.request("GET", f"{base}/files/given.txt")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await own.api.read(id, "given.txt") == b"of-the-workspace none none\n"

    # Another image is another container of the same files.
    changed = await own.api.request("PATCH", base, json={"image": "base"})
    assert changed.json()["image"] == "base"
    await own.api.until(id, "running")
    assert await own.api.read(id, "given.txt") == b"of-the-workspace none none\n"
    await own.api.remove(id)
    await own.api.delete(f"/api/v1/images/{image}")


async def test_what_cannot_be(own: Server) -> None:
    for body, status in (
        ({"image": "base", "git": {"url": "/etc"}}, 400),
        ({"image": "missing", "git": {"url": "https://example.org/x"}}, 404),
        ({"image": "base", "git": {"url": "https://example.org/x"}, "every_hours": -1}, 400),
    ):
        answer = await own.api.request("POST", PREBUILDS, json=body)
        assert answer.status_code == status, answer.text
