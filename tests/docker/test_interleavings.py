"""Two people type, the file changes under them, the server is killed: in any order, nothing is lost
and nothing doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from peer import Peer
from server import ADMIN_TOKEN, Server, serving
from websockets.exceptions import WebSocketException

INTERLEAVINGS = 50
ROUNDS = 6  # steps of each writer in one interleaving
PATH = "src/notes.txt"
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture(scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that may be killed."""
    async with serving(tmp_path_factory.mktemp("killed") / "data") as server:
        yield server


class Story:
    """One interleaving: who does what when is decided by the seed."""

    def __init__(self, server: Server, workspace: str, peers: list[Peer], seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a replayable order, not a secret
        self.server = server
        self.workspace = workspace
        self.peers = peers
        self.seed = seed
        self.typed: list[str] = []
        self.by_disk: list[str] = []
        self.terminals = f"/api/v1/workspaces/{workspace}/terminals"

    async def pause(self) -> None:
        """Let a little time pass, so that steps fall into different moments of a write-back."""
        await asyncio.sleep(self.random.choice((0, 0, 0.005, 0.03, 0.1, 0.2)))

    async def type(self, peer: Peer, name: str) -> None:
        for step in range(ROUNDS):
            token = f"{name}-{self.seed}-{step}"
            lines = str(peer).split("\n")
            line = self.random.randrange(len(lines))
            index = sum(len(each) + 1 for each in lines[:line])
            self.typed.append(token)
            await peer.insert(index, token + "\n")
            await self.pause()

    async def sed(self) -> None:
        for step in range(2):
            await self.pause()
            token = f"disk-{self.seed}-{step}"
            expression = self.random.choice((f"1i {token}", f"$a {token}"))
            command = ["sed", "-i", expression, f"/workspace/{PATH}"]
            try:
                exit, _ = await self.server.api.run(self.workspace, *command)
            except (httpx.TransportError, WebSocketException, OSError, AssertionError):
                return  # the server was killed meanwhile; whether it ran is not known
            assert exit == {"code": 0}
            self.by_disk.append(token)

    async def kill(self) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.5))
        await self.server.kill()
        await self.server.start()

    async def stay_connected(self, peer: Peer) -> None:
        """Come back whenever the connection ends, as a browser does."""
        while True:
            async with peer.changed:
                await peer.changed.wait_for(lambda: peer.close_code is not None)
            while peer.close_code is not None:
                try:
                    await peer.connect()
                except (OSError, WebSocketException):
                    await asyncio.sleep(0.02)

    async def run(self) -> None:
        keepers = [asyncio.create_task(self.stay_connected(peer)) for peer in self.peers]
        try:
            async with asyncio.TaskGroup() as group:
                for name, peer in zip("ab", self.peers, strict=True):
                    group.create_task(self.type(peer, name))
                group.create_task(self.sed())
                group.create_task(self.kill())
            await self.settle()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until nothing moves any more: commands ended, edits saved, disk written."""
        await self.server.api.until(self.workspace, "running")
        for terminal in (await self.server.api.get(self.terminals))["terminals"]:
            await self.server.api.delete(f"{self.terminals}/{terminal['id']}")
        for peer in self.peers:
            await peer.until(lambda peer=peer: peer.close_code is None and peer.hello)
            await peer.saved()
        for peer in self.peers:
            await peer.until(self.agreed)

    def agreed(self) -> bool:
        one, other = map(str, self.peers)
        return (
            one == other
            and all(token in one for token in self.by_disk)
            and all(peer.disk.get("state") == "clean" for peer in self.peers)
        )


async def on_disk(server: Server, workspace: str) -> str:
    """The file's bytes as a program in the workspace sees them: a copy that no room knows."""
    await server.api.run(workspace, "cp", f"/workspace/{PATH}", "/workspace/copy.txt")
    return (await server.api.read(workspace, "copy.txt")).decode()


@pytest.mark.timeout(900)
async def test_fifty_random_interleavings(own_server: Server) -> None:
    server = own_server
    workspace = await server.api.create("interleavings")
    await server.api.write(workspace, PATH, "first\nlast\n")
    url = f"{server.url}/api/v1/workspaces/{workspace}/collab/{PATH}"
    expected: set[str] = {"first", "last"}
    async with (
        Peer(url, additional_headers=HEADERS) as one,
        Peer(url, additional_headers=HEADERS) as other,
    ):
        for peer in (one, other):
            await peer.until(lambda peer=peer: "last" in str(peer))
        for seed in range(INTERLEAVINGS):
            story = Story(server, workspace, [one, other], seed)
            try:
                await story.run()
            except BaseException as error:
                seen = [(str(peer), peer.disk, peer.close_code) for peer in (one, other)]
                error.add_note(f"interleaving {seed}: {story.by_disk} {seen}; see {server.log}")
                raise
            expected.update(story.typed, story.by_disk)
            text = str(one)
            # A token that sed was to write when the server died may be there, but never twice.
            lines = [line for line in text.split("\n") if line]
            assert len(lines) == len(set(lines)), f"seed {seed}: something is doubled"
            assert expected <= set(lines), f"seed {seed}: lost {expected - set(lines)}"
            assert await on_disk(server, workspace) == text, f"seed {seed}"
