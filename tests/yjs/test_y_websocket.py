"""The unmodified npm `y-websocket` client and Yjs in a room of the real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from peer import WAIT_SECONDS, Peer
from server import ADMIN_TOKEN, Server

HERE = Path(__file__).parent
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


class Yjs:
    """A Node process with one document and one provider."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.text = ""
        self.statuses: list[str] = []
        self.synced = False
        self.own = 0
        self.states: dict[str, Any] = {}
        self.closed: dict[str, Any] | None = None
        self._process = process
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def do(self, what: str, **values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")
        await self._process.stdin.drain()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    async def end(self) -> None:
        await self.do("end")
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            match json.loads(line):
                case {"event": "text", "text": text}:
                    self.text = text
                case {"event": "status", "status": status}:
                    self.statuses.append(status)
                case {"event": "sync", "synced": synced}:
                    self.synced = synced
                case {"event": "awareness", "own": own, "states": states}:
                    self.own, self.states = own, states
                case {"event": "closed"} as closed:
                    self.closed = closed
            async with self._changed:
                self._changed.notify_all()


@asynccontextmanager
async def yjs(url: str, headers: dict[str, str] = HEADERS, **params: str) -> AsyncIterator[Yjs]:
    assert (HERE / "node_modules").is_dir(), "Run `make test`: it installs the npm packages."
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; `make test` sees to that."
    process = await asyncio.create_subprocess_exec(
        *(node, str(HERE / "client.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    client = Yjs(process)
    await client.do("connect", url=url.replace("http", "ws", 1), headers=headers, params=params)
    try:
        yield client
    finally:
        await client.end()


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    workspace = await server.api.create("yjs")
    yield workspace
    await server.api.remove(workspace)


def collab(server: Server, workspace: str, path: str) -> str:
    return f"{server.url}/api/v1/workspaces/{workspace}/collab/{path}"


async def test_npm_clients_and_ours_edit_one_file(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "src/a.txt", "the first line\n")
    url = collab(server, workspace, "src/a.txt")
    async with yjs(url) as one, yjs(url) as other, Peer(url, additional_headers=HEADERS) as ours:
        for client in (one, other):
            await client.until(lambda client=client: client.synced)
            assert client.text == "the first line\n"
        await ours.until(lambda: str(ours) == "the first line\n")
        for number in range(30):
            await one.do("insert", index=0, text=f"one-{number} é 👩‍💻\n")
            await other.do("insert", index=10**6, text=f"other-{number}\n")
            await ours.insert(len("the first line\n"), f"<ours-{number}>\n")
        tokens = [
            token
            for number in range(30)
            for token in (f"one-{number} é 👩‍💻\n", f"other-{number}\n", f"<ours-{number}>")
        ]
        await ours.until(lambda: all(token in str(ours) for token in tokens))
        await one.until(lambda: one.text == str(ours))
        before = len(one.text)
        await one.do("delete", index=0, length=4)
        await one.until(lambda: len(one.text) < before)
        text = one.text
        await ours.until(lambda: str(ours) == text)
        await other.until(lambda: other.text == text)
        await ours.saved()
        await ours.until(lambda: ours.disk.get("state") == "clean")
    exit, output = await server.api.run(workspace, "cat", "/workspace/src/a.txt")
    assert exit == {"code": 0}
    assert output.replace("\r\n", "\n") == text


async def test_names_are_the_servers_and_people_go(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "b.txt", "text\n")
    url = collab(server, workspace, "b.txt")
    async with yjs(url) as one:
        async with yjs(url) as other:
            await other.do("awareness", state={"user": {"name": "root"}, "cursor": {"at": 1}})
            await one.until(lambda: any("cursor" in state for state in one.states.values()))
            (seen,) = [state for state in one.states.values() if "cursor" in state]
            assert seen["user"]["name"] == "Automation"
            assert seen["cursor"] == {"at": 1}
            await other.until(lambda: other.own)
            gone = str(other.own)
            assert gone in one.states
        await one.until(lambda: gone not in one.states)


async def test_a_client_that_was_cut_off_catches_up(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "c.txt", "text\n")
    url = collab(server, workspace, "c.txt")
    async with yjs(url) as one, Peer(url, additional_headers=HEADERS) as ours:
        await one.until(lambda: one.text == "text\n")
        await one.do("drop")
        await one.until(lambda: "disconnected" in one.statuses)
        await one.do("insert", index=0, text="offline ")
        await ours.append("meanwhile\n")
        await ours.until(lambda: "offline" in str(ours))
        await one.until(lambda: one.text == str(ours) == "offline text\nmeanwhile\n")
        await ours.saved()


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("d.txt", {"epoch": "another"}, 4409),
        ("missing.txt", {}, 4404),
        ("binary", {}, 4415),
    ],
)
async def test_a_final_refusal_ends_the_clients_tries(
    server: Server, workspace: str, path: str, params: dict[str, str], code: int
) -> None:
    await server.api.write(workspace, "d.txt", "text\n")
    await server.api.write(workspace, "binary", b"\0\1")
    url = collab(server, workspace, path)
    async with yjs(url, HEADERS, **params) as client:
        await client.until(lambda: client.closed)
        assert client.closed is not None
        assert client.closed["code"] == code
        assert client.closed["reason"]
        assert client.text == ""


async def test_a_wrong_token_ends_the_clients_tries(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "d.txt", "text\n")
    wrong = {"Authorization": "Bearer wrong"}
    async with yjs(collab(server, workspace, "d.txt"), wrong) as client:
        await client.until(lambda: client.closed)
        assert client.closed is not None
        assert client.closed["code"] == 4401


async def test_a_viewers_npm_client_reads_and_is_closed_when_it_edits(
    server: Server, workspace: str
) -> None:
    await server.api.write(workspace, "e.txt", "text\n")
    invite = await server.api.post(
        "/api/v1/invites", json={"workspace": workspace, "role": "viewer"}
    )
    token = invite["url"].partition("#")[2]
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url}) as guest:
        body = {"token": token, "name": "Vera"}
        assert (await guest.post("/api/v1/invites/accept", json=body)).status_code == 200
        cookie = "; ".join(f"{name}={value}" for name, value in guest.cookies.items())
    url = collab(server, workspace, "e.txt")
    async with yjs(url, {"Cookie": cookie, "Origin": server.url}) as viewer:
        await viewer.until(lambda: viewer.text == "text\n")
        await viewer.do("insert", index=0, text="not allowed\n")
        await viewer.until(lambda: viewer.closed)
        assert viewer.closed is not None
        assert viewer.closed["code"] == 4403
    assert await server.api.read(workspace, "e.txt") == b"text\n"
