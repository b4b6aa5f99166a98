"""Workspaces over REST: what is refused, what a Git address leads to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from server import WAIT_SECONDS, Server


async def refused(server: Server, **body: object) -> dict[str, Any]:
    """The problem document that answers a request to create a workspace."""
    response = await server.api.request(
        "POST", "/api/v1/workspaces", json={"name": "refused", "image": "base", **body}
    )
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 65, "a\nb", "a\x00b", "a\x1b[31mb", "a\u202eb", "\u200b", 7, None]
)
async def test_bad_names(server: Server, name: object) -> None:
    before = await server.api.get("/api/v1/workspaces")
    assert (await refused(server, name=name))["status"] == 400
    assert await server.api.get("/api/v1/workspaces") == before


@pytest.mark.parametrize("image", ["missing", "../base", "docker.io/library/debian", "base "])
async def test_unknown_images(server: Server, image: str) -> None:
    problem = await refused(server, image=image)
    assert problem["status"] == 404
    assert problem["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "./here",
        "ext::sh -c 'touch /tmp/x'",
        "ext::sh",
        "fd::17",
        "--upload-pack=touch",
        "-u",
        "https://user:secret@example.org/a.git",
        "https:///a.git",
        "ftp://example.org/a.git",
        "http://example.org/a b",
        "http://example.org/\n",
        "javascript:alert(1)",
        "helper::http://example.org",
        "http://exa\u202emple.org/a.git\x07",
    ],
)
async def test_git_addresses_that_are_refused(server: Server, url: str) -> None:
    if url.strip() != url:
        url = f"{url} x"
    assert (await refused(server, git={"url": url}))["status"] == 400


@pytest.mark.parametrize("ref", ["-x", "a..b", "a b", "a\nb", "$(x)", "x" * 251])
async def test_git_refs_that_are_refused(server: Server, ref: str) -> None:
    git = {"url": "https://example.org/a.git", "ref": ref}
    assert (await refused(server, git=git))["status"] == 400


async def failed(server: Server, workspace: str) -> str:
    """Wait until it has stopped with an error; returns that."""
    async with asyncio.timeout(WAIT_SECONDS), aclosing(server.api.events(workspace)) as events:
        async for event, body in events:
            if event == "state" and body["workspace"]["state"] == "stopped":
                assert body["workspace"]["desired_state"] == "stopped"
                return body["workspace"]["error"]
    raise AssertionError("The events ended.")


async def test_an_unreachable_git_address(server: Server) -> None:
    """It says what git said, and the workspace can be started again or thrown away."""
    body = {"name": "x", "image": "base", "git": {"url": "http://127.0.0.1:9/a.git"}}
    workspace = (await server.api.post("/api/v1/workspaces", json=body))["id"]
    error = await failed(server, workspace)
    assert "127.0.0.1" in error
    assert "fatal" in error
    await server.api.post(f"/api/v1/workspaces/{workspace}/start")
    assert "fatal" in await failed(server, workspace)
    await server.api.remove(workspace)
