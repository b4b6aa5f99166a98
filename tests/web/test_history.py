"""History over REST: versions, restoring one and undoing that, blame, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from peer import Peer
from server import ADMIN_TOKEN, Server

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    workspace = await server.api.create("history")
    yield workspace
    await server.api.remove(workspace)


@pytest.fixture
def root(workspace: str) -> str:
    return f"/api/v1/workspaces/{workspace}"


@pytest.fixture
def join(server: Server, root: str) -> Callable[[str], Peer]:
    url = f"{server.url}{root}/collab/"
    return lambda path: Peer(url + quote(path), additional_headers=HEADERS)


async def history(server: Server, root: str, path: str, **query: Any) -> dict[str, Any]:
    options = "".join(f"&{name}={value}" for name, value in query.items())
    return await server.api.get(f"{root}/history?path={quote(path)}{options}")


async def version(server: Server, root: str, path: str, name: str) -> dict[str, Any]:
    return await server.api.get(f"{root}/history/{name}?path={quote(path)}")


async def restore(server: Server, root: str, path: str, name: str) -> dict[str, Any]:
    return await server.api.post(f"{root}/restore", json={"path": path, "version": name})


async def test_a_version_its_changes_and_blame(
    server: Server, workspace: str, root: str, join: Callable[[str], Peer]
) -> None:
    await server.api.write(workspace, "a.txt", "één\ntwo\n")
    async with join("a.txt") as peer:
        await peer.until(lambda: str(peer) == "één\ntwo\n")
        await peer.insert(4, "😀 ")
        await peer.saved()
        found = await history(server, root, "a.txt")
        # A minute may have passed in between.
        latest = found["versions"][0]
        shown = await version(server, root, "a.txt", latest["version"])
        me = {"id": "automation", "name": "Automation"}
        assert (shown["text"], shown["complete"]) == ("één\n😀 two\n", True)
        assert shown["time"] == latest["time"]
        assert shown["authors"] == latest["authors"]
        change = shown["changes"][-1]
        assert {key: change["author"][key] for key in me} == me
        assert (change["start"], change["deleted"], change["inserted"]) == (4, "", "😀 ")
        assert datetime.fromisoformat(change["time"]) >= datetime.fromisoformat(shown["time"])
        disk = {"id": "disk", "name": "Workspace", "color": ""}
        blame = (await server.api.get(f"{root}/blame?path=a.txt"))["lines"]
        runs = [(run["from"], run["to"], run["author"]["id"]) for run in blame]
        assert runs == [(1, 1, "disk"), (2, 2, "automation"), (3, 3, "disk")]
        assert blame[0]["author"] == disk


async def test_a_restore_is_an_edit_and_can_be_undone(
    server: Server, workspace: str, root: str, join: Callable[[str], Peer]
) -> None:
    await server.api.write(workspace, "b.txt", "one\ntwo\nthree\n")
    async with join("b.txt") as peer:
        await peer.until(lambda: str(peer) == "one\ntwo\nthree\n")
        await peer.insert(4, "typed\n")
        await peer.saved()
        after = str(peer)
        name = (await history(server, root, "b.txt"))["versions"][-1]["version"]
        first = await version(server, root, "b.txt", name)
        epoch = peer.hello["epoch"]
        restored = await restore(server, root, "b.txt", name)
        await peer.until(lambda: str(peer) == first["text"])
        got = await server.api.request("GET", f"{root}/files/b.txt")
        assert got.headers["etag"] == f'"{restored["hash"]}"'
        assert await server.api.read(workspace, "b.txt") == first["text"].encode()
        undone = await restore(server, root, "b.txt", restored["undo"])
        await peer.until(lambda: str(peer) == after)
        again = await version(server, root, "b.txt", undone["undo"])
        assert again["text"] == first["text"]
        # The document is the same one, and nobody was cut off.
        assert (peer.close_code, peer.hello["epoch"]) == (None, epoch)


async def test_a_deleted_file_comes_back(
    server: Server, workspace: str, root: str, join: Callable[[str], Peer]
) -> None:
    await server.api.write(workspace, "deep/c.txt", "lost\r\nand found\r\n")
    async with join("deep/c.txt") as peer:
        await peer.until(lambda: str(peer) == "lost\nand found\n")
    name = (await history(server, root, "deep/c.txt"))["versions"][0]["version"]
    await server.api.delete(f"{root}/files/deep?recursive=true")
    restored = await restore(server, root, "deep/c.txt", name)
    content = b"lost\r\nand found\r\n"
    assert await server.api.read(workspace, "deep/c.txt") == content
    exit, output = await server.api.run(workspace, "cat", "/workspace/deep/c.txt")
    assert (exit["code"], output.replace("\r", "")) == (0, "lost\nand found\n")
    assert (await version(server, root, "deep/c.txt", restored["undo"])) is not None
    # Both rooms that had the path are listed.
    listed = (await history(server, root, "deep/c.txt"))["versions"]
    assert name in [each["version"] for each in listed]


async def test_what_is_not_there_and_what_is_no_version(
    server: Server, workspace: str, root: str, join: Callable[[str], Peer]
) -> None:
    await server.api.write(workspace, "d.txt", "secret")
    await server.api.write(workspace, "e.txt", "other")
    async with join("d.txt") as peer, join("e.txt") as other:
        await peer.until(lambda: str(peer) == "secret")
        await other.until(lambda: str(other) == "other")
    name = (await history(server, root, "d.txt"))["versions"][0]["version"]
    elsewhere = await server.api.create("elsewhere too")
    ask = server.api.request
    for base, path in ((root, "e.txt"), (f"/api/v1/workspaces/{elsewhere}", "d.txt")):
        got = await ask("GET", f"{base}/history/{name}?path={path}")
        assert got.status_code == 404
        assert got.headers["content-type"] == "application/problem+json"
        body = {"path": path, "version": name}
        assert (await ask("POST", f"{base}/restore", json=body)).status_code == 404
    await server.api.remove(elsewhere)
    assert (await history(server, root, "never.txt")) == {"versions": [], "more": False}
    assert (await ask("GET", f"{root}/blame?path=never.txt")).status_code == 404
    for wrong in (
        "history",
        "history?path=",
        "history?path=../d.txt",
        "history?path=d.txt&limit=0",
        "history?path=d.txt&limit=1000",
        "history?path=d.txt&before=x",
        "history/x?path=d.txt",
        f"history/{name}",
        "blame",
    ):
        assert (await ask("GET", f"{root}/{wrong}")).status_code == 400, wrong
    # Without a version it is the text of who has the file open, and here nobody has.
    assert (await ask("POST", f"{root}/restore", json={"path": "none.txt"})).status_code == 404
    for body in (
        {"path": "d.txt", "version": "x"},
        {"path": "", "version": name},
    ):
        assert (await ask("POST", f"{root}/restore", json=body)).status_code == 400


async def test_in_a_stopped_workspace(server: Server, join: Callable[[str], Peer]) -> None:
    """What the journal has can be restored; what it has not needs the workspace."""
    workspace = await server.api.create("stopped with history")
    root = f"/api/v1/workspaces/{workspace}"
    await server.api.write(workspace, "f.txt", "kept")
    await server.api.write(workspace, "g.txt", "gone")
    url = f"{server.url}{root}/collab/"
    async with (
        Peer(f"{url}f.txt", additional_headers=HEADERS) as peer,
        Peer(f"{url}g.txt", additional_headers=HEADERS) as other,
    ):
        await peer.until(lambda: str(peer) == "kept")
        await other.until(lambda: str(other) == "gone")
        await peer.insert(4, " and typed")
        await peer.saved()
        seq = (await restore(server, root, "f.txt", await _newest(server, root, "f.txt")))["undo"]
    await server.api.post(f"{root}/stop")
    await server.api.until(workspace, "stopped")
    begun = "-".join([*seq.split("-")[:2], "1"])
    undo = (await restore(server, root, "f.txt", begun))["undo"]
    assert (await version(server, root, "f.txt", undo))["text"] == "kept and typed"
    await server.api.post(f"{root}/start")
    await server.api.until(workspace, "running")
    async with Peer(f"{url}f.txt", additional_headers=HEADERS) as peer:
        await peer.until(lambda: str(peer) == "kept")
    await server.api.remove(workspace)


async def _newest(server: Server, root: str, path: str) -> str:
    return (await history(server, root, path))["versions"][0]["version"]


async def test_what_changed_since_a_moment(
    server: Server, workspace: str, root: str, join: Callable[[str], Peer]
) -> None:
    """Files that somebody changed, and nothing that was only opened."""
    for name in ("changed.txt", "opened.txt"):
        await server.api.write(workspace, name, "text")
    async with join("changed.txt") as peer, join("opened.txt") as opened:
        await opened.until(lambda: str(opened) == "text")
        await peer.until(lambda: str(peer) == "text")
        await peer.insert(0, "more ")
        await peer.saved()
    found = await server.api.get(f"{root}/changes?since=2026-01-01T00:00:00Z")
    files = {each["path"]: each for each in found["files"]}
    assert "opened.txt" not in files
    assert "automation" in {each["author"]["id"] for each in files["changed.txt"]["authors"]}
    assert files["changed.txt"]["before"] is None
    assert (await server.api.get(f"{root}/changes?since=9000-01-01T00:00:00Z"))["files"] == []
    for wrong in ("", "yesterday", "2026-01-01T00:00:00"):
        assert (await server.api.request("GET", f"{root}/changes?since={wrong}")).status_code == 400
