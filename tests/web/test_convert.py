"""Files that open read-only, converted on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from peer import Peer
from server import ADMIN_TOKEN, Server

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    workspace = await server.api.create("convert")
    yield workspace
    await server.api.remove(workspace)


def peer(server: Server, workspace: str, path: str) -> Peer:
    url = f"{server.url}/api/v1/workspaces/{workspace}/collab/{path}"
    return Peer(url, additional_headers=HEADERS)


@pytest.mark.parametrize(
    ("content", "done"),
    [
        (b"gr\xfc\xdfe aus k\xf6ln\n", {"encoding": "windows-1252", "eol": "\n", "lines": 1}),
        (b"one\r\ntwo\nthree\n", {"encoding": "utf-8", "eol": "\n", "lines": 3}),
    ],
)
async def test_a_converted_file_opens_for_editing(
    server: Server, workspace: str, content: bytes, done: dict[str, object]
) -> None:
    path = f"{done['encoding']}.txt"
    await server.api.write(workspace, path, content)
    async with peer(server, workspace, path) as client:
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 4415
    root = f"/api/v1/workspaces/{workspace}"
    body = {"path": path}
    answer = await server.api.post(f"{root}/convert", json=body)
    assert answer.pop("hash")
    assert answer == done
    async with peer(server, workspace, path) as client:
        await client.until(lambda: str(client))
        await client.append("more\n")
        await client.saved()
    text = content.decode("cp1252").replace("\r", "") + "more\n"
    assert (await server.api.read(workspace, path)).decode() == text


async def test_the_line_ends_of_an_open_file_are_converted_in_place(
    server: Server, workspace: str
) -> None:
    await server.api.write(workspace, "open.txt", "one\ntwo\n")
    async with peer(server, workspace, "open.txt") as client:
        await client.until(lambda: str(client) == "one\ntwo\n")
        root = f"/api/v1/workspaces/{workspace}"
        await server.api.post(f"{root}/convert", json={"path": "open.txt", "eol": "\r\n"})
        assert await server.api.read(workspace, "open.txt") == b"one\r\ntwo\r\n"
        assert (str(client), client.close_code) == ("one\ntwo\n", None)
    _, output = await server.api.run(workspace, "od", "-An", "-c", "/workspace/open.txt")
    assert output.count("\\r") == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("binary", {}, 415),
        ("missing", {}, 404),
        ("../up", {}, 400),
        ("", {}, 400),
        ("old.txt", {"encoding": "nonsense"}, 400),
        ("old.txt", {"eol": "\r"}, 400),
    ],
)
async def test_what_cannot_be_converted_says_why(
    server: Server, workspace: str, path: str, body: dict[str, str], status: int
) -> None:
    await server.api.write(workspace, "binary", b"\0\1\2")
    await server.api.write(workspace, "old.txt", b"\xff")
    url = f"/api/v1/workspaces/{workspace}/convert"
    answer = await server.api.request("POST", url, json={"path": path, **body})
    assert answer.status_code == status, answer.text
    assert len(answer.json()["detail"]) > 10
    assert await server.api.read(workspace, "old.txt") == b"\xff"
