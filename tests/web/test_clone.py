"""A workspace from a Git repository on another host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from git_daemon import git_daemon, repository
from server import Server


@pytest.fixture
async def git_url(tmp_path: Path) -> AsyncIterator[str]:
    async with git_daemon(await repository(tmp_path)) as url:
        yield url


async def test_a_branch_a_tag_and_what_is_not_there(server: Server, git_url: str) -> None:
    newest = await server.api.create("newest", git={"url": git_url})
    assert await server.api.read(newest, "a.txt") == b"two\n"
    tagged = await server.api.create("tagged", git={"url": git_url, "ref": "v1"})
    assert await server.api.read(tagged, "a.txt") == b"one\n"
    exit, output = await server.api.run(tagged, "git", "--no-pager", "log", "--format=%s")
    assert (exit, output.split()) == ({"code": 0}, ["one"])

    body = {"name": "nowhere", "image": "base", "git": {"url": git_url, "ref": "no-such-branch"}}
    nowhere = (await server.api.post("/api/v1/workspaces", json=body))["id"]
    stopped = await server.api.until(nowhere, "stopped")
    assert "no-such-branch" in stopped["error"]
    # Nothing is left of the attempt: the next one fails for the same reason, not for its remains.
    await server.api.post(f"/api/v1/workspaces/{nowhere}/start")
    await server.api.until(nowhere, "initializing")
    again = await server.api.until(nowhere, "stopped")
    assert "no-such-branch" in again["error"]
    for workspace in (newest, tagged, nowhere):
        await server.api.remove(workspace)
