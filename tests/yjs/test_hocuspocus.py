"""The unmodified npm `@hocuspocus/provider`: many documents of a workspace on one socket."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from peer import WAIT_SECONDS, Peer
from server import ADMIN_TOKEN, Server
from websockets.asyncio.client import connect

from cloudide.protocol.varint import write_text

HERE = Path(__file__).parent
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


class Seen:
    """What one document's provider has told."""

    def __init__(self) -> None:
        self.text = ""
        self.synced = 0
        self.unsynced = -1
        self.scope = ""
        self.denied = ""
        self.states: list[dict[str, Any]] = []
        self.stateless: list[dict[str, Any]] = []


class Hocuspocus:
    """A Node process with one socket and a provider for each document."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.documents: defaultdict[str, Seen] = defaultdict(Seen)
        self.statuses: list[str] = []
        self._process = process
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def do(self, what: str, **values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")
        await self._process.stdin.drain()

    async def open(self, name: str) -> Seen:
        await self.do("open", name=name)
        return self.documents[name]

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
            message = json.loads(line)
            seen = self.documents[message["name"]] if "name" in message else Seen()
            match message:
                case {"event": "text", "text": text}:
                    seen.text = text
                case {"event": "synced"}:
                    seen.synced += 1
                case {"event": "unsynced", "number": number}:
                    seen.unsynced = number
                case {"event": "admitted", "scope": scope}:
                    seen.scope = scope
                case {"event": "denied", "reason": reason}:
                    seen.denied = reason
                case {"event": "awareness", "states": states}:
                    seen.states = states
                case {"event": "stateless", "payload": payload}:
                    seen.stateless.append(json.loads(payload))
                case {"event": "status", "status": status}:
                    self.statuses.append(status)
            async with self._changed:
                self._changed.notify_all()


@asynccontextmanager
async def hocuspocus(
    server: Server, workspace: str, headers: dict[str, str] = HEADERS
) -> AsyncIterator[Hocuspocus]:
    assert (HERE / "node_modules").is_dir(), "Run `make test`: it installs the npm packages."
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; `make test` sees to that."
    process = await asyncio.create_subprocess_exec(
        *(node, str(HERE / "hocuspocus.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    client = Hocuspocus(process)
    await client.do("connect", url=address(server, workspace), headers=headers)
    try:
        yield client
    finally:
        await client.end()


def address(server: Server, workspace: str) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/api/v1/workspaces/{workspace}/collab"


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    workspace = await server.api.create("hocuspocus")
    yield workspace
    await server.api.remove(workspace)


async def test_many_documents_on_one_socket(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "src/a.txt", "of a\n")
    await server.api.write(workspace, "b.txt", "of b\n")
    url = f"{server.url}/api/v1/workspaces/{workspace}/collab/src/a.txt"
    async with (
        hocuspocus(server, workspace) as client,
        Peer(url, additional_headers=HEADERS) as ours,
    ):
        a, b = await client.open("src/a.txt"), await client.open("b.txt")
        await client.until(lambda: (a.text, b.text) == ("of a\n", "of b\n"))
        await client.until(lambda: a.synced and b.synced)
        assert a.scope == "read-write"
        assert [message["type"] for message in a.stateless[:2]] == ["hello", "disk"]
        await client.do("insert", name="src/a.txt", index=0, text="typed in ")
        await client.do("insert", name="b.txt", index=0, text="typed in ")
        await ours.until(lambda: str(ours) == "typed in of a\n")
        await ours.append("and more\n")
        await client.until(lambda: a.text == "typed in of a\nand more\n")
        # The client counts down its changes as they become durable.
        await client.until(lambda: a.unsynced == b.unsynced == 0)
        await client.do("awareness", name="src/a.txt", state={"user": {"name": "forged"}})
        await ours.until(lambda: any(state for state in ours.awareness.values()))
        (state,) = (state for state in ours.awareness.values() if state)
        assert state["user"]["name"] != "forged"
        await client.do("let_go", name="src/a.txt")
        await ours.until(lambda: not any(ours.awareness.values()))
        await client.do("insert", name="b.txt", index=0, text="still ")
        await client.until(lambda: b.text == "still typed in of b\n")
        await client.until(lambda: b.unsynced == 0)
    assert await server.api.read(workspace, "b.txt") == b"still typed in of b\n"


async def test_what_cannot_be_opened_is_denied_and_the_socket_stays(
    server: Server, workspace: str
) -> None:
    await server.api.write(workspace, "there.txt", "text\n")
    await server.api.write(workspace, "binary", b"\0\1")
    async with hocuspocus(server, workspace) as client:
        for name, reason in (("missing.txt", "not exist"), ("../up", "path"), ("binary", "binary")):
            seen = await client.open(name)
            await client.until(lambda seen=seen: seen.denied)
            assert reason in seen.denied
        there = await client.open("there.txt")
        await client.until(lambda: there.text == "text\n")
        assert client.statuses.count("connecting") == 1


async def test_a_client_that_was_cut_off_catches_up(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "cut.txt", "one\n")
    url = f"{server.url}/api/v1/workspaces/{workspace}/collab/cut.txt"
    async with (
        hocuspocus(server, workspace) as client,
        Peer(url, additional_headers=HEADERS) as ours,
    ):
        seen = await client.open("cut.txt")
        await client.until(lambda: seen.text == "one\n")
        await client.do("drop")
        await client.do("insert", name="cut.txt", index=0, text="offline ")
        await ours.append("two\n")
        await client.until(lambda: seen.text == "offline one\ntwo\n")
        await client.until(lambda: seen.unsynced == 0)
        await ours.until(lambda: str(ours) == "offline one\ntwo\n")


async def test_a_viewer_reads_and_is_told_when_it_edits(
    server: Server, workspace: str, viewer: dict[str, str]
) -> None:
    await server.api.write(workspace, "seen.txt", "look\n")
    async with hocuspocus(server, workspace, viewer) as client:
        seen = await client.open("seen.txt")
        await client.until(lambda: seen.text == "look\n")
        assert seen.scope == "readonly"
        await client.do("insert", name="seen.txt", index=0, text="not ")
        await client.until(lambda: seen.denied)
        assert "read-only" in seen.denied
    assert await server.api.read(workspace, "seen.txt") == b"look\n"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x05a.txt",  # no message
        b"\x00\x03",  # no name
        b"\x05a.txt\x09",  # a kind that only servers among themselves would use
        b"\x05a.txt\x02\x02\x00",  # "you are admitted" is the server's to say
        b"\xff\xff\xff\xff\x0fa.txt\x03",
    ],
)
async def test_a_malformed_frame_closes_its_sender(
    server: Server, workspace: str, frame: bytes
) -> None:
    async with connect(address(server, workspace), additional_headers=HEADERS) as socket:
        await socket.send(frame)
        await socket.wait_closed()
        assert socket.close_code == 4400


async def test_too_many_documents_are_denied(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "many.txt", "one of many\n")
    token = b"\x02\x00\x00"
    async with connect(address(server, workspace), additional_headers=HEADERS) as socket:
        # The same document, for many editors of one client.
        for number in range(65):
            await socket.send(write_text(f"many.txt\0{number}") + token)
        denied = write_text("many.txt\0" + "64") + b"\x02\x01"
        async for frame in socket:
            assert isinstance(frame, bytes)
            if frame.startswith(denied):
                assert b"the limit" in frame
                break


@pytest.fixture(scope="module")
async def viewer(server: Server, workspace: str) -> dict[str, str]:
    """Headers of somebody who may only look."""
    invite = await server.api.post(
        "/api/v1/invites", json={"workspace": workspace, "role": "viewer"}
    )
    token = invite["url"].partition("#")[2]
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url}) as http:
        answer = await http.post("/api/v1/invites/accept", json={"token": token, "name": "Looker"})
        assert answer.is_success, answer.text
        cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
    return {"Cookie": cookie, "Origin": server.url}
