"""Two people type, the file changes under them, the server is killed: in any order, nothing is lost
and nothing doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from peer import Peer
from server import ADMIN_TOKEN, Server, serving
from websockets.exceptions import WebSocketException

FILES = 5  # interleavings that one kill ends at once, each at another moment of its own
ROUNDS = 6  # steps of each writer in one interleaving
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@pytest.fixture(scope="module")
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that may be killed."""
    async with serving(tmp_path_factory.mktemp("killed") / "data") as server:
        yield server


class Story:
    """What happens to one file while its server is killed: two who type, and `sed -i`. Who does
    what when is decided by the seed."""

    def __init__(self, server: Server, workspace: str, path: str, peers: list[Peer]) -> None:
        self.server = server
        self.workspace = workspace
        self.path = path
        self.peers = peers
        self.expected = {"first", "last"}

    def begin(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a replayable order, not a secret
        self.seed = seed
        self.typed: list[str] = []
        self.by_disk: list[str] = []

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
            command = ["sed", "-i", expression, f"/workspace/{self.path}"]
            try:
                exit, _ = await self.server.api.run(self.workspace, *command)
            except (httpx.TransportError, WebSocketException, OSError, AssertionError):
                return  # the server was killed meanwhile; whether it ran is not known
            assert exit == {"code": 0}
            self.by_disk.append(token)

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
        async with asyncio.TaskGroup() as group:
            for name, peer in zip("ab", self.peers, strict=True):
                group.create_task(self.type(peer, name))
            group.create_task(self.sed())

    async def settle(self) -> None:
        """Wait until nothing moves any more: edits saved, disk written."""
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

    def check(self, on_disk: str) -> None:
        """Everything that was written is there once, for everybody and on the disk."""
        self.expected.update(self.typed, self.by_disk)
        text = str(self.peers[0])
        # A token that sed was to write when the server died may be there, but never twice.
        lines = [line for line in text.split("\n") if line]
        assert len(lines) == len(set(lines)), f"seed {self.seed}: something is doubled"
        lost = self.expected - set(lines)
        assert not lost, f"seed {self.seed}: lost {lost}"
        assert on_disk == text, f"seed {self.seed}"

    def __str__(self) -> str:
        seen = [(str(peer), peer.disk, peer.close_code) for peer in self.peers]
        return f"interleaving {self.seed}: {self.by_disk} {seen}"


async def killed(server: Server, after: float) -> None:
    await asyncio.sleep(after)
    await server.kill()
    await server.start()


async def ended(server: Server, workspace: str) -> None:
    """Wait until no command writes any more."""
    await server.api.until(workspace, "running")
    terminals = f"/api/v1/workspaces/{workspace}/terminals"
    for terminal in (await server.api.get(terminals))["terminals"]:
        await server.api.delete(f"{terminals}/{terminal['id']}")


@pytest.mark.timeout(900)
async def test_fifty_random_interleavings(
    own_server: Server, soak: Callable[[int, int], int]
) -> None:
    server = own_server
    workspace = await server.api.create("interleavings")
    api = f"{server.url}/api/v1/workspaces/{workspace}/collab"
    async with AsyncExitStack() as stack:
        stories: list[Story] = []
        for number in range(FILES):
            path = f"src/notes-{number}.txt"
            await server.api.write(workspace, path, "first\nlast\n")
            pair = [Peer(f"{api}/{path}", additional_headers=HEADERS) for _ in range(2)]
            stories.append(Story(server, workspace, path, pair))
            for peer in pair:
                await stack.enter_async_context(peer)
                await peer.until(lambda peer=peer: "last" in str(peer))
                keeper = asyncio.create_task(stories[-1].stay_connected(peer))
                stack.callback(keeper.cancel)
        for kill in range(soak(50, 10)):
            for number, story in enumerate(stories):
                story.begin(kill * FILES + number)
            after = random.Random(kill).uniform(0, 0.5)  # noqa: S311 - replayable, too
            try:
                async with asyncio.TaskGroup() as group:
                    for story in stories:
                        group.create_task(story.run())
                    group.create_task(killed(server, after))
                await ended(server, workspace)
                for story in stories:
                    await story.settle()
            except BaseException as error:
                error.add_note("\n".join([*map(str, stories), f"see {server.log}"]))
                raise
            # The bytes as a program sees them: copies that no room knows.
            await server.api.run(workspace, "cp", "-rT", "/workspace/src", "/workspace/copy")
            for story in stories:
                copy = story.path.replace("src", "copy")
                story.check((await server.api.read(workspace, copy)).decode())
