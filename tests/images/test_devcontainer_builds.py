"""Development containers on a real engine: from devcontainer.json to a workspace."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from imagery import begin, ended, log_of, packed
from server import Api, Server, serving

from cloudide.images.devcontainer import development
from cloudide.workspaces.engine import Engine

FILE = ".devcontainer/devcontainer.json"
DOCKERFILE = """ARG WORD=default
FROM cloudide/base AS wanted
ARG WORD
USER root
RUN useradd --uid 1234 --create-home --shell /bin/bash coder \\
    && echo 'kept' > /home/coder/.profile-of-coder && echo $WORD > /word
COPY kept /kept
FROM wanted
RUN exit 7
"""
FEATURE = {
    "id": "tool",
    "version": "1.0.0",
    "options": {"greeting": {"type": "string", "default": "hi"}, "loud": {"type": "boolean"}},
    "containerEnv": {"TOOL_PATH": "/opt/tool:${PATH}"},
}
INSTALL = """#!/bin/sh
printf '%s' "$GREETING $LOUD $_REMOTE_USER $_REMOTE_USER_HOME $(id -u)" > /tool
"""


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder: Path = tmp_path_factory.mktemp("devcontainers") / "data"
    allowed = "site:capAdd=SYS_PTRACE, crew:privileged"
    async with serving(folder, devcontainer_allow=allowed) as server:
        yield server


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def api(site: Server) -> Api:
    return site.api


async def define(api: Api, configuration: object, *, team: str = "", **files: str) -> str:
    """An image of an uploaded configuration; its id."""
    name = "dev-" + secrets.token_hex(4)
    body = {"name": name, "kind": "devcontainer", "team": team, "source": {}}
    image = (await api.post("/api/v1/images", json=body))["id"]
    content = packed({FILE: json.dumps(configuration), **files})
    await api.put(f"/api/v1/images/{image}/context", content=content)
    return image


async def failed(api: Api, image: str) -> str:
    """Build it; why that failed."""
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "failed", build
    return build["error"]


async def test_from_a_configuration_to_a_workspace(api: Api, engine: Engine) -> None:
    configuration: dict[str, Any] = {
        "name": "Whole",
        "build": {
            "dockerfile": "Dockerfile",
            "context": "..",
            "target": "wanted",
            "args": {"WORD": "given"},
        },
        "features": {"./tool": {"greeting": "it's $HOME", "loud": True}},
        "containerEnv": {"QUOTED": 'a "b" $c \\d'},
        "remoteEnv": {"PATH": "${containerEnv:PATH}:/extra"},
        "remoteUser": "coder",
        "workspaceFolder": "/workspaces/whole",
        "capAdd": ["SYS_PTRACE"],
        "forwardPorts": [3000],
        "shutdownAction": "none",
    }
    image = await define(
        api,
        configuration,
        **{
            ".devcontainer/Dockerfile": DOCKERFILE,
            ".devcontainer/tool/devcontainer-feature.json": json.dumps(FEATURE),
            ".devcontainer/tool/install.sh": INSTALL,
            ".dockerignore": ".*\nleft\n",
            "kept": "text",
            "left": "out",
        },
    )
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "succeeded", build["error"]
    assert "Without effect: shutdownAction" in await log_of(api, build["id"])
    versions = (await api.get(f"/api/v1/images/{image}/versions"))["versions"]
    plan = versions[0]["made_from"]["devcontainer"]
    assert (plan["user"], plan["ports"]) == ("coder", [{"port": 3000}])
    assert plan["merged"]["capAdd"] == ["SYS_PTRACE"]
    again = await ended(api, (await begin(api, image))["id"])
    assert (again["state"], again["reused"], again["version"]) == ("succeeded", True, 1)

    view = await api.post(f"/api/v1/images/{image}/versions/1/promote", json={})
    workspace = await api.create("developed", image=view["reference"])
    try:
        said = await api.run(
            workspace,
            "sh",
            "-c",
            'id -un; cat /word /kept; echo; cat /tool; echo; echo "$QUOTED"; echo "$TOOL_PATH"; '
            'echo "$PATH"; readlink /workspaces/whole; cat ~/.profile-of-coder; '
            "touch /workspaces/whole/mine; stat -c %U /workspace/mine ~",
        )
        user, word, kept, tool, quoted, tool_path, path, *rest = said[1].splitlines()
        assert (user, word, kept) == ("coder", "given", "text")
        assert tool == "it's $HOME true coder /home/coder 0"
        assert quoted == 'a "b" $c \\d'
        assert tool_path.startswith("/opt/tool:/home/dev")
        assert path.endswith("/bin:/extra")
        assert rest == ["/workspace", "kept", "coder", "coder"]
        label = f"cloudide.workspace={workspace}"
        [row] = await engine.call(lambda client: client.containers(filters={"label": label}))
        found = await engine.call(lambda client: client.inspect_container(row["Id"]))
        assert found["HostConfig"]["CapAdd"] == ["SYS_PTRACE"]
        assert found["HostConfig"]["Privileged"] is False
    finally:
        await api.remove(workspace)


async def test_what_is_not_allowed_is_not_built(api: Api, engine: Engine) -> None:
    image = await define(
        api,
        {"image": "cloudide/base", "initializeCommand": "make", "runArgs": ["--pid=host"]},
    )
    error = await failed(api, image)
    assert "initializeCommand (make) by devcontainer.json" in error
    assert "runArgs (--pid=host)" in error
    # An image may ask for it too, in its label.
    name = f"labelled-{secrets.token_hex(4)}"
    says = json.dumps([{"privileged": True}]).replace('"', '\\"')

    def label(client: Any) -> None:
        made = client.create_container("cloudide/base", ["never started"])["Id"]
        changes = [f'LABEL devcontainer.metadata="{says}"']
        client.commit(made, name, "1", changes=changes)
        client.remove_container(made)

    await engine.call(label)
    try:
        image = await define(api, {"image": f"{name}:1"})
        assert f"privileged (true) by the image {name}:1" in await failed(api, image)
    finally:
        await engine.call(lambda client: client.remove_image(f"{name}:1"))


async def test_a_team_may_not_have_what_its_name_is_allowed(api: Api) -> None:
    """Anybody may call a team what a rule says; rules are for ids."""
    for name, property, value in (("site", "capAdd", ["SYS_PTRACE"]), ("crew", "privileged", True)):
        team = (await api.post("/api/v1/teams", json={"name": name}))["id"]
        image = await define(api, {"image": "cloudide/base", property: value}, team=team)
        error = await failed(api, image)
        assert property in error
        assert f"devcontainer_allow, for {team}" in error


async def test_no_more_of_an_image_is_read_than_its_users(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its /etc/passwd may be a folder with all that it has, or grow without end."""
    read = 0

    def users(client: Any, mode: int, whole: list[bytes] | None) -> str:
        def archive(_container: str, path: str, **_: Any) -> tuple[Iterator[bytes], dict[str, int]]:
            def chunks() -> Iterator[bytes]:
                nonlocal read
                for chunk in whole or itertools.repeat(bytes(64 * 1024), 1000):
                    read += len(chunk)
                    yield chunk

            return chunks(), {"mode": mode, "size": 10}

        monkeypatch.setattr(client, "get_archive", archive)
        try:
            return development._passwd(client, "cloudide/base")
        finally:
            monkeypatch.undo()

    line = "dev:x:1000:1000::/home/dev:/bin/sh\n"
    content = [packed({"passwd": line}, mode="w")]
    assert "\ndev:x:" in await engine.call(
        lambda client: development._passwd(client, "cloudide/base")
    )
    assert await engine.call(lambda client: users(client, 0o644, content)) == line
    for kind in (1 << 31 | 0o755, 1 << 27 | 0o777, 1 << 25 | 0o644):
        assert await engine.call(lambda client, kind=kind: users(client, kind, content)) == ""
    read = 0
    assert await engine.call(lambda client: users(client, 0o644, None)) == ""
    assert read < 2 * development.PASSWD_LIMIT


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"image": f"gone.invalid/x@sha256:{'0' * 64}"}, "could not be pulled"),
        ({"image": "cloudide/base", "features": {"ghcr.invalid/a/b:1": {}}}, "feature_registries"),
        ({"image": "cloudide/base", "remoteUser": "nobody-here"}, "no user 'nobody-here'"),
        ({"image": "cloudide/base", "hostRequirements": {"cpus": 64}}, "has 2 CPUs"),
    ],
    ids=["vanished", "feature", "user", "cpus"],
)
async def test_what_cannot_be_built(api: Api, configuration: object, said: str) -> None:
    image = await define(api, configuration)
    assert said in await failed(api, image)


async def test_a_mistake_is_told_with_its_place(api: Api) -> None:
    image = await define(api, {})
    content = packed({FILE: '{\n  "image": "cloudide/base",\n  "forwardPorts": "3000"\n}'})
    await api.put(f"/api/v1/images/{image}/context", content=content)
    assert f"{FILE}:3:19: forwardPorts" in await failed(api, image)


async def test_lifecycle_commands(site: Server, api: Api) -> None:
    """In order, once or at each start; what fails stops the rest until it is run again."""

    def said(word: str) -> str:
        return f"echo {word} >> order"

    image = await define(
        api,
        {
            "image": "cloudide/base",
            "onCreateCommand": said("created") + "; mkfifo pipe",
            "updateContentCommand": ["sh", "-c", said("updated"), "it's one word"],
            "postCreateCommand": {
                "one": "pwd; test -e good && echo post >> order",
                # Only side by side do these two end.
                "two": "echo hello > pipe",
                "three": "cat pipe",
            },
            "postStartCommand": said("started"),
            "postAttachCommand": said("attached"),
            "waitFor": "onCreateCommand",
            "workspaceFolder": "/workspaces/life",
            "portsAttributes": {"3000": {"label": "Web", "onAutoForward": "openPreview"}},
        },
    )
    assert (await ended(api, (await begin(api, image))["id"]))["state"] == "succeeded"
    view = await api.post(f"/api/v1/images/{image}/versions/1/promote", json={})
    workspace = await api.create("alive", image=view["reference"])
    path = f"/api/v1/workspaces/{workspace}"

    async def until(state: str) -> dict[str, Any]:
        async with aclosing(api.events(workspace)) as events:
            async for event, data in events:
                setup = (data.get("workspace") or {}).get("setup") if event == "state" else None
                if setup and setup["state"] == state:
                    return setup
        raise AssertionError

    async with asyncio.timeout(60):
        assert await until("failed") == {
            "state": "failed",
            "ready": True,
            "hook": "postCreateCommand",
        }
        runs = (await api.get(f"{path}/setup"))["runs"]
        assert [(run["hook"], run["name"], run["state"]) for run in runs] == [
            ("onCreateCommand", "", "done"),
            ("updateContentCommand", "", "done"),
            ("postCreateCommand", "one", "failed"),
            ("postCreateCommand", "two", "done"),
            ("postCreateCommand", "three", "done"),
            ("postStartCommand", "", "skipped"),
            ("postAttachCommand", "", "skipped"),
        ]
        assert (runs[2]["exit"], runs[2]["output"]) == (1, "/workspaces/life\n")
        assert runs[4]["output"] == "hello\n"
        ports = (await api.get(f"{path}/ports"))["ports"]
        assert [(each["port"], each["label"], each["on_open"]) for each in ports] == [
            (3000, "Web", "preview")
        ]

        await api.write(workspace, "good", "")
        await api.write(workspace, "go.mod", "module example.org/life\n")
        assert (await api.get(f"{path}/guess"))["image"] == "go"
        await api.post(f"{path}/setup", json={})
        await until("done")
        assert (await api.read(workspace, "order")).split() == [
            *(b"created", b"updated", b"post", b"started")
        ]
        assert (await api.request("POST", f"{path}/setup", json={})).status_code == 409
        # A server that is started anew runs nothing again.
        await site.kill()
        await site.start()
        await api.until(workspace, "running")
        assert await until("done")
        async with api.socket("/api/v1/events") as socket:
            await socket.send(json.dumps({"type": "watch", "workspace": workspace}))
            async for message in socket:
                about = json.loads(message).get("workspace")
                setup = about.get("setup") if isinstance(about, dict) else None
                if setup and setup["hook"] == "postAttachCommand":
                    break
        await until("done")
        assert (await api.read(workspace, "order")).split()[4:] == [b"attached"]
        await api.post(f"{path}/restart")
        await api.until(workspace, "creating")
        await api.until(workspace, "running")
        await until("done")
        assert (await api.read(workspace, "order")).split()[5:] == [b"started"]
    # Made of a stock image, it is set up no more, and nothing of the former image is left.
    assert (await api.request("PATCH", path, json={"image": "base"})).is_success
    await api.until(workspace, "creating")
    await api.until(workspace, "running")
    assert (await api.get(f"{path}/setup"))["runs"] == []
    assert (await api.get(f"{path}/ports"))["ports"] == []
    assert (await api.read(workspace, "order")).split()[6:] == []
    await api.remove(workspace)
