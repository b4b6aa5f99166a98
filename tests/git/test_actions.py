"""Fetch, pull and push in a container, as the person who asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from git_host import CREDENTIALS, IDENTITY, GitHost, credential_for, git
from server import Api


async def act(api: Api, workspace: str, **order: Any) -> dict[str, Any]:
    """Have something done; returns the action when it has ended."""
    address = f"/api/v1/workspaces/{workspace}/git/actions"
    begun = await api.post(address, json={"remote": "origin", **order})
    async with asyncio.timeout(60), api.socket("/api/v1/events") as socket:
        await socket.send(f'{{"type": "watch", "workspace": "{workspace}"}}')
        while True:
            found = (await api.get(address))["actions"]
            action = next(each for each in found if each["id"] == begun["id"])
            if action["state"] != "running":
                return action
            await socket.recv()


@pytest.fixture(scope="module")
async def credentials(ada: Api, host: GitHost) -> None:
    await credential_for(ada, host, "ada")


async def commit(api: Api, workspace: str, text: str) -> str:
    await api.write(workspace, "README", text)
    line = f"git {' '.join(IDENTITY)} commit --quiet --all --message x && git rev-parse HEAD"
    exit, output = await api.run(workspace, "sh", "-c", line)
    assert exit == {"code": 0}, output
    return output.strip()


@pytest.mark.usefixtures("credentials")
async def test_pushing_pulling_and_what_is_refused(ada: Api, host: GitHost) -> None:
    url = await host.add("shared")
    workspace = await ada.create("mine", git={"url": url})
    id = await commit(ada, workspace, "two\n")
    push = {"kind": "push", "url": url, "branch": "main", "commit": id}
    done = await act(ada, workspace, **push)
    assert (done["state"], done["error"]) == ("done", "")
    assert done["person"]["name"] == "Ada"
    assert await host.head("shared") == id

    # Somebody else pushes; what is not forward is not pushed, and is pulled.
    work = host.folder / "shared.work"
    await git("pull", "--quiet", "origin", "main", cwd=work)
    await git(*IDENTITY, "commit", "--quiet", "--allow-empty", "--message", "theirs", cwd=work)
    await git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    pulled = await act(ada, workspace, kind="pull", url=url, branch="main")
    assert pulled["state"] == "done"
    _, head = await ada.run(workspace, "git", "rev-parse", "HEAD")
    assert head.strip() == await host.head("shared")
    refused = await act(ada, workspace, **push)
    assert refused["state"] == "failed"
    assert "rejected" in refused["error"]

    # The address of another repository, as a workspace might say a moment later.
    other = await host.add("other")
    elsewhere = await act(ada, workspace, kind="fetch", url=other)
    assert "another address than when you looked" in elsewhere["error"]
    log = "git remote set-url origin " + other
    await ada.run(workspace, "sh", "-c", log)
    elsewhere = await act(ada, workspace, **push)
    assert "another address than when you looked" in elsewhere["error"]

    for wrong in (
        {"branch": "a b"},
        {"branch": "--force"},
        {"commit": "main"},
        {"remote": "--upload-pack=x"},
        {"remote": "../x"},
        {"directory": "../x"},
        {"kind": "gc"},
    ):
        answer = await ada.request(
            "POST",
            f"/api/v1/workspaces/{workspace}/git/actions",
            json={"remote": "origin", **push, **wrong},
        )
        assert answer.status_code == 400, wrong


async def test_without_credentials_and_by_a_token(ada: Api, host: GitHost) -> None:
    """A repository that anybody may read is fetched by the container itself, if it can."""
    url = await host.add("closed")
    workspace = await ada.create("plain")
    line = f"git init --quiet && git remote add origin {url}"
    await ada.run(workspace, "sh", "-c", line)
    body = {"name": "robot", "scopes": ["exec"], "workspace": workspace}
    token = (await ada.post("/api/v1/tokens", json=body))["token"]
    robot = Api(str(ada.http.base_url), headers={"Authorization": f"Bearer {token}"})
    before = len(host.asked)
    try:
        failed = await act(robot, workspace, kind="fetch", url=url)
    finally:
        await robot.close()
    assert failed["state"] == "failed"
    assert len(host.asked) == before  # the container cannot reach it, and nobody did for it
    for each in (await ada.get(CREDENTIALS))["credentials"]:
        await ada.delete(f"{CREDENTIALS}/{each['id']}")
    failed = await act(ada, workspace, kind="fetch", url=url)
    assert failed["state"] == "failed"
    assert len(host.asked) == before
