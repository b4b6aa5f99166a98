"""Promise 1: `kill -9` of the server at any moment loses nothing that was acknowledged.

People type unique tokens, the server is killed, and a client that knows nothing joins before they
come back: what was acknowledged is there by the journal alone. Then those who typed return, and in
the end every token is exactly once in the room and in the file.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from peer import Peer
from record import record
from uncontained import Uncontained, uncontained

WRITERS = 3
KILLS_PER_FILE = 25  # a text that only grows would measure itself
TOKEN = re.compile(r"\[[^\]]*\]")


@pytest.fixture(scope="module")
async def killable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("killed")) as server:
        yield server


class Writer:
    """Types tokens; knows which of them were acknowledged on the connection of the time."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer = peer
        self.name = name
        self.typed: list[str] = []
        self.acknowledged: set[str] = set()
        self._waiting: list[tuple[int, str]] = []

    async def type(self, choose: random.Random) -> None:
        """Until the connection ends."""
        peer = self.peer
        while peer.close_code is None:
            ends = [match.end() for match in TOKEN.finditer(str(peer))]
            token = f"[{self.name}{len(self.typed)}{choose.choice(('', 'é', '😀', '汉'))}]"
            self.typed.append(token)
            before = peer.sent
            await peer.insert(choose.choice([0, *ends]), token)
            if peer.sent > before:  # else the connection had ended
                self._waiting.append((peer.sent, token))
            self.settle()
            await asyncio.sleep(choose.choice((0, 0, 0.001, 0.005)))

    def settle(self) -> None:
        """Take note of what was acknowledged by now."""
        done = [token for sent, token in self._waiting if sent <= self.peer.acknowledged]
        self.acknowledged.update(done)
        self._waiting = self._waiting[len(done) :]

    def disconnected(self) -> None:
        self.settle()
        self._waiting.clear()


async def one_kill(
    server: Uncontained, path: str, writers: list[Writer], choose: random.Random
) -> int:
    """One round; returns how many tokens were acknowledged when the server died."""
    before = sum(len(writer.acknowledged) for writer in writers)
    async with asyncio.TaskGroup() as typing:
        for writer in writers:
            typing.create_task(writer.type(choose))
        await asyncio.sleep(choose.uniform(0, 0.4))
        await server.kill()
    for writer in writers:
        writer.disconnected()
    await server.start()
    if choose.random() < 0.2:
        # Once more while it comes up: loading, the first look at the file, the left-over write.
        await asyncio.sleep(choose.uniform(0, 0.1))
        await server.kill()
        await server.start()
    stranger = await server.joined(path)
    await stranger.until(lambda: stranger.hello and str(stranger))
    there = Counter(TOKEN.findall(str(stranger)))
    for writer in writers:
        lost = [token for token in writer.acknowledged if there[token] != 1]
        assert not lost, f"acknowledged by {writer.name}, and lost or doubled: {lost}"
    for writer in writers:
        await server.join(writer.peer)
    for writer in writers:
        await writer.peer.saved()
    everything = Counter(token for writer in writers for token in writer.typed)

    def agreed() -> bool:
        texts = {str(peer) for peer in (stranger, *(writer.peer for writer in writers))}
        return len(texts) == 1 and Counter(TOKEN.findall(texts.pop())) == everything

    for peer in (stranger, *(writer.peer for writer in writers)):
        await peer.until(agreed)
        await peer.until(lambda peer=peer: peer.disk.get("state") == "clean")
    assert (server.root / path).read_text() == str(stranger)
    await stranger.close()
    return sum(len(writer.acknowledged) for writer in writers) - before


async def test_no_kill_loses_what_was_acknowledged(
    killable: Uncontained, soak: Callable[[int, int], int]
) -> None:
    kills = soak(1000, 10)
    acknowledged = 0
    writers: list[Writer] = []
    for number in range(kills):
        path = f"{number // KILLS_PER_FILE}.txt"
        if number % KILLS_PER_FILE == 0:
            for writer in writers:
                await writer.peer.close()
            (killable.root / path).write_text("[first]")
            writers = [Writer(killable.peer(path), name) for name in "abcdefg"[:WRITERS]]
            writers[0].typed.append("[first]")
            for writer in writers:
                await killable.join(writer.peer)
                await writer.peer.until(lambda writer=writer: str(writer.peer))
        try:
            acknowledged += await one_kill(killable, path, writers, random.Random(number))  # noqa: S311
        except BaseException as error:
            error.add_note(f"kill {number} of {path}; see {killable.log}")
            raise
    for writer in writers:
        await writer.peer.close()
    assert acknowledged
    record(1, f"{kills:,} kills, {acknowledged:,} acknowledged edits, 0 lost, 0 doubled.")
