"""What tests of images share: contexts, and waiting for builds."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from server import Api

BUILD_SECONDS = 90.0
OVER = ("succeeded", "failed", "cancelled", "interrupted")


def packed(files: Mapping[str, str | bytes], *, mode: str = "w:gz") -> bytes:
    """An archive of some files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as tar:  # pyright: ignore[reportCallIssue,reportArgumentType]
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


async def define(api: Api, name: str, *, team: str = "", **source: Any) -> str:
    """An image that is built from a Dockerfile; its id."""
    body = {"name": name, "kind": "dockerfile", "team": team, "source": source}
    return (await api.post("/api/v1/images", json=body))["id"]


async def upload(api: Api, image: str, dockerfile: str, **files: str) -> dict[str, Any]:
    content = packed({"Dockerfile": dockerfile, **files})
    return await api.put(f"/api/v1/images/{image}/context", content=content)


async def begin(api: Api, image: str, **body: Any) -> dict[str, Any]:
    return await api.post(f"/api/v1/images/{image}/builds", json=body)


async def ended(api: Api, build: str) -> dict[str, Any]:
    """Follow a build to its end."""
    async with asyncio.timeout(BUILD_SECONDS), aclosing(follow(api, build)) as events:
        async for event, data, _ in events:
            if event == "build" and data["state"] in OVER:
                return data
    raise AssertionError("The events ended before the build had.")


async def built(api: Api, image: str, dockerfile: str, **files: str) -> dict[str, Any]:
    """Upload, build, and wait; the build, which succeeded."""
    await upload(api, image, dockerfile, **files)
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "succeeded", build["error"]
    return build


async def log_of(api: Api, build: str) -> str:
    response = await api.request("GET", f"/api/v1/builds/{build}/log")
    assert response.status_code == 200
    return response.text


async def follow(api: Api, build: str, **headers: str) -> AsyncGenerator[tuple[str, Any, str]]:
    """The server-sent events of a build: name, decoded data, id."""
    path = f"/api/v1/builds/{build}/log"
    headers = {"Accept": "text/event-stream", **headers}
    name = id = ""
    async with api.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("id: "):
                id = line.removeprefix("id: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: ")), id
